"""The lock file of a database, where the operating system refuses something."""

from __future__ import annotations

import errno
import os

import pytest

import vecdb

fcntl = pytest.importorskip("fcntl")


@pytest.fixture
def full(database):
    """A database with a record, and nothing in flight."""
    database.create_collection("texts", embedder="counting").add(["a text"], ids=["a"])
    return database


def refusing(number):
    def refuse(*given):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_lock_that_cannot_be_had_is_an_error_of_vecdb_and_the_handle_goes_on(full, monkeypatch, number):
    """Network file systems answer so; it was once a bare OSError."""
    texts = full.collection("texts")
    with monkeypatch.context() as patch:
        patch.setattr("vecdb.storage.lock.fcntl.flock", refusing(number))
        with pytest.raises(vecdb.StorageError, match=f"{os.strerror(number)}; a database needs a file system"):
            texts.add(["another"], ids=["b"])
        assert "a" in texts
        assert "b" not in texts
    texts.add(["another"], ids=["b"])
    assert "b" in texts


def test_closing_without_a_lock_loses_nothing(full, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vecdb.storage.lock.fcntl.flock", refusing(errno.ENOLCK))
        full.close()
    with vecdb.open(full.path, plugins=full.plugins) as again:
        assert "a" in again.collection("texts")


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EACCES, vecdb.ReadOnlyError, "make the folder writable"),
        (errno.EROFS, vecdb.ReadOnlyError, "read_only=True"),
        (errno.ENOSPC, vecdb.DiskFullError, "free some space"),
        (errno.EMFILE, vecdb.StorageError, "close files"),
    ],
)
def test_a_lock_file_that_cannot_be_made_says_why(folder, plugins, monkeypatch, number, kind, advice):
    opened = os.open

    def refuse(path, *given, **named):
        if str(path).endswith("writer.lock"):
            raise OSError(number, os.strerror(number))
        return opened(path, *given, **named)

    monkeypatch.setattr("vecdb.storage.lock.os.open", refuse)
    with pytest.raises(vecdb.StorageError, match=advice) as found:
        vecdb.open(folder, plugins=plugins)
    assert type(found.value) is kind
