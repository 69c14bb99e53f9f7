"""A full disk: the call fails whole, what was acknowledged stays, and the handle goes on when there is room."""

from __future__ import annotations

import errno
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import vecdb
from vecdb import DiskFullError
from vecdb.storage.sqlite_errors import translated

ROOM = 2_000_000


class Disk:
    """Fills and empties the disk, as far as SQLite's writing connection sees it."""

    def __init__(self, database):
        self._driver = database._engine._writer.driver

    def fill(self):
        (pages,) = self._driver.execute("PRAGMA page_count").fetchone()
        self._driver.execute(f"PRAGMA max_page_count = {pages + 2}")

    def empty(self):
        self._driver.execute(f"PRAGMA max_page_count = {ROOM}")


@pytest.fixture
def collection(database):
    made = database.create_collection("c", dimension=256, metric="l2", index="hnsw")
    made.add(["kept"], ids=["kept"], metadata=[{"n": 0}], vectors=np.ones((1, 256)))
    return made


def test_nothing_of_the_call_is_stored_and_the_handle_goes_on(database, collection):
    disk = Disk(database)
    rows = np.random.default_rng(0).standard_normal((500, 256))
    ids = [str(n) for n in range(500)]
    disk.fill()
    for call in (
        lambda: collection.add(["text"] * 500, ids=ids, vectors=rows),
        lambda: collection.upsert(["changed", *["text"] * 499], ids=["kept", *ids[1:]], vectors=rows),
        lambda: collection.add(["x" * 1_000_000], ids=["long"], vectors=rows[:1]),
        lambda: collection.update_metadata("kept", {"long": "x" * 1_000_000}),
    ):
        with pytest.raises(DiskFullError, match="disk is full and nothing of this call was stored; free some space"):
            call()
        assert [(record.id, record.content, record.metadata) for record in collection] == [("kept", "kept", {"n": 0})]
        assert collection.search(np.ones(256))[0].id == "kept"
    disk.empty()
    collection.add(["text"] * 500, ids=ids, vectors=rows)
    assert len(collection) == 501
    assert collection.search(rows[7], k=1)[0].id == "7"
    assert database.check()


def test_batches_that_were_stored_before_stay(database, collection):
    disk = Disk(database)
    rows = np.random.default_rng(0).standard_normal((100, 256))

    def stream():
        for n in range(100):
            if n == 55:
                disk.fill()
            yield vecdb.Record(str(n), "text", {"long": "x" * 2000}, rows[n])

    with pytest.raises(DiskFullError):
        collection.ingest(stream(), batch_size=20)
    stored = len(collection) - 1
    assert stored in (20, 40, 60)  # what had room, in whole batches; the last one may have been on its way
    disk.empty()
    report = collection.ingest(
        (vecdb.Record(str(n), "text", {"long": "x" * 2000}, rows[n]) for n in range(100)), batch_size=20
    )
    assert (report.unchanged, report.added) == (stored, 100 - stored)


SMALL = """
import resource, signal, sys, numpy as np, vecdb
folder, limit = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with vecdb.open(folder) as database:
    collection = database.collection("c")
    rows = np.random.default_rng(0).standard_normal((4000, 256))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    done = 0
    try:
        for start in range(0, 4000, 100):
            part = range(start, start + 100)
            collection.add([None] * 100, ids=[str(n) for n in part], vectors=rows[part])
            done += 100
    except vecdb.StorageError as error:
        print(done, type(error).__name__)
    assert len(collection) == done + 1
    assert collection.search(rows[0], k=1)[0].id == "0"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    collection.add([None], ids=["after"], vectors=rows[-1:])
    print(len(collection))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system has no limit on file sizes")
def test_a_limit_on_the_size_of_files(database, collection, folder):
    """The operating system's own refusal, in a process of its own, while the parent has the database open too."""
    run = subprocess.run(
        [sys.executable, "-c", SMALL, folder, str(2_000_000)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    (done, kind), (left,) = (line.split() for line in run.stdout.splitlines())
    assert 0 < int(done) < 4000
    assert kind == "DiskFullError"
    assert int(left) == int(done) + 2 == len(collection)
    assert database.check()


def test_an_index_file_that_finds_no_room_costs_nothing(database, collection, monkeypatch):
    def no_room(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", no_room)
        with pytest.raises(DiskFullError, match="index file"):
            collection.optimize()
    assert list((database.path / "index").iterdir()) == []
    assert collection.search(np.ones(256))[0].id == "kept"
    collection.optimize()
    assert len(list((database.path / "index").iterdir())) == 1


def test_a_backup_that_finds_no_room_leaves_nothing(database, collection, tmp_path, monkeypatch):
    def no_room(*arguments, **options):
        raise OSError(28, "No space left on device")

    target = tmp_path / "backup.vecdb"
    collection.optimize()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", no_room)
        with pytest.raises(DiskFullError, match="cannot write the backup"):
            database.backup(target)
    assert not [path for path in tmp_path.iterdir() if "backup" in path.name]
    database.backup(target)
    with vecdb.open(target) as copy:
        assert copy.collection("c").search(np.ones(256))[0].id == "kept"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB, where we may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_really_full(small_disk):
    rows = np.random.default_rng(0).standard_normal((4000, 256))
    with vecdb.open(small_disk / "a.vecdb") as database:
        collection = database.create_collection("c", dimension=256, metric="l2")
        stream = (vecdb.Record(str(n), None, {}, rows[n]) for n in range(4000))
        with pytest.raises(DiskFullError):
            collection.ingest(stream, batch_size=100)
        done = len(collection)
        assert 0 < done < 4000
        assert done % 100 == 0
        assert collection.search(rows[0], k=1)[0].id == "0"
    with vecdb.open(small_disk / "a.vecdb") as database:
        assert len(database.collection("c")) == done
        assert database.check()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE])
@pytest.mark.parametrize("name", [".", "backup.vecdb"])
def test_what_sqlite_calls_an_input_output_error_is_a_full_disk_if_nothing_can_be_written(
    tmp_path, monkeypatch, code, name
):
    """A backup has no folder yet, and the shared-memory file is the first to have no room: both were missed once."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert type(translated(error, tmp_path / name)) is vecdb.StorageError  # there is room: the disk is dying

    class Full:
        def __init__(self, dir, buffering):
            assert dir == tmp_path

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    assert type(translated(error, tmp_path / name)) is DiskFullError
