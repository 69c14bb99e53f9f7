"""A disk that does not answer: what cannot be seen is not taken for absent, and no bare OSError comes out."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path

import pytest

import vecdb
from vecdb.database import upgrade
from vecdb.storage.sqlite_errors import translated


@pytest.fixture
def stored(folder, plugins):
    """A database with a record, closed."""
    with vecdb.open(folder, plugins=plugins) as database:
        database.create_collection("texts", embedder="counting").add(["a text"], ids=["a"])
    return folder


@contextlib.contextmanager
def silent(monkeypatch, ending):
    """The disk does not answer for paths with this ending."""
    real = Path.stat

    def asked(path, **options):
        if str(path).endswith(ending):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", asked)
        yield


@pytest.mark.parametrize("ending", ["test.vecdb", "vecdb.sqlite3"])
@pytest.mark.parametrize("read_only", [False, True])
def test_opening_says_so_and_makes_nothing(stored, plugins, monkeypatch, ending, read_only):
    """A database whose file could not be seen was once "not there", and a new one was begun in its place."""
    with silent(monkeypatch, ending), pytest.raises(vecdb.StorageError, match="Input/output error; "):
        vecdb.open(stored, plugins=plugins, read_only=read_only).close()
    with vecdb.open(stored, plugins=plugins, read_only=read_only) as database:
        assert "a" in database.collection("texts")


@pytest.mark.parametrize("ending", ["test.vecdb", "vecdb.sqlite3"])
def test_upgrading_says_so(stored, monkeypatch, ending):
    with silent(monkeypatch, ending), pytest.raises(vecdb.StorageError, match="Input/output error; "):
        upgrade(stored)
    assert upgrade(stored) is None


def test_a_backup_says_so_and_does_not_blame_the_path(stored, plugins, tmp_path, monkeypatch):
    with vecdb.open(stored, plugins=plugins) as database:
        with silent(monkeypatch, "copy.vecdb"), pytest.raises(vecdb.StorageError, match="Input/output error; "):
            database.backup(tmp_path / "copy.vecdb")
        database.backup(tmp_path / "copy.vecdb")


def test_an_error_of_sqlite_is_told_also_where_the_folder_cannot_be_seen(stored, monkeypatch):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with silent(monkeypatch, "test.vecdb"):
        assert type(translated(error, stored)) is vecdb.StorageError
