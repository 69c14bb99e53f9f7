"""Places that cannot be written: all that was acknowledged is read there, also what is in the log only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import vecdb
from vecdb import CorruptDatabaseError, DatabaseLockedError, ReadOnlyError, StorageError

FILE = "vecdb.sqlite3"
BIG = 300  # records; more than fit the pages that are in the file already

# Acknowledges every record, then dies with its log not written back.
KILLED = """
import os, signal, sys
import vecdb
database = vecdb.open(sys.argv[1])
collection = database.get_or_create_collection("c", dimension=2)
if sys.argv[2] == "checkpointed":
    collection.add(["old"], ids=["old"], vectors=[[1, 0]])
    database._engine.checkpoint()
collection.add([f"text {n}" for n in range(int(sys.argv[3]))], ids=[str(n) for n in range(int(sys.argv[3]))],
               vectors=[[n, 1] for n in range(int(sys.argv[3]))])
os.kill(os.getpid(), signal.SIGKILL)
"""

# Everything that reads, in a place where nothing can be written; as another user, if one is given.
READER = """
import os, sys, tempfile, warnings
import vecdb
from vecdb.database import upgrade
with tempfile.TemporaryDirectory() as warm, vecdb.open(warm + "/a") as database:  # imports everything, while it may
    database.create_collection("c", dimension=2).add([None], vectors=[[1, 2]])
    database.collection("c").search([1, 2]), database.check()
if sys.argv[2]:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
warnings.simplefilter("error")
folder = sys.argv[1]
with vecdb.open(folder, read_only=True) as database:
    collection = database.collection("c")
    ids = [record.id for record in collection]
    assert sorted(hit.id for hit in collection.search([1, 0], k=len(ids) + 1)) == sorted(ids)
    assert collection.count() == len(ids)
    print(len(ids), ids[0], ids[-1], bool(database.check()))
    with tempfile.TemporaryDirectory() as target:
        database.backup(target + "/copy")
        with vecdb.open(target + "/copy") as copy:
            assert [record.id for record in copy.collection("c")] == ids
for attempt in (vecdb.open, upgrade):
    try:
        attempt(folder)
        print("opened for writing")
    except vecdb.ReadOnlyError as error:
        print("ReadOnlyError", "read_only=True" in str(error))
"""

needs_root = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0, reason="needs root, to mount a folder or to become another user"
)


def killed_writer(folder, kind="checkpointed", count=BIG):
    """A database as a killed writer leaves it: what it acknowledged last is in the log."""
    done = subprocess.run([sys.executable, "-c", KILLED, folder, kind, str(count)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (folder / f"{FILE}-wal").stat().st_size > 0
    return folder


def read_in_child(folder, user=""):
    done = subprocess.run(
        [sys.executable, "-c", READER, folder, str(user)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def mounted(tmp_path):
    """Mounts a folder read-only, as a medium that cannot be written."""
    points = []

    def mount(folder):
        point = tmp_path / "mounted"
        point.mkdir()
        for command in (["mount", "--bind", folder, point], ["mount", "-o", "remount,ro,bind", point]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"this machine does not allow mounting: {done.stderr.strip()}")
            if command[1] == "--bind":
                points.append(point)
        return point

    yield mount
    for point in points:
        subprocess.run(["umount", point], check=True)


WRITTEN = f"{BIG + 1} old {BIG - 1} True"
REFUSED = ["ReadOnlyError True"] * 2


@needs_root
@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("log", [True, False])
def test_a_read_only_mount(folder, mounted, log, shared_memory):
    """With the log that a killed writer left, all of it is read; without, what is in the file."""
    killed_writer(folder)
    if not log:
        (folder / f"{FILE}-wal").unlink()
    if not shared_memory:
        (folder / f"{FILE}-shm").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    lines = read_in_child(mounted(folder))
    assert lines == [WRITTEN if log else "1 old old True", *REFUSED]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@needs_root
def test_a_collection_that_is_in_the_log_altogether(folder, mounted):
    killed_writer(folder, "never checkpointed", 3)
    (folder / f"{FILE}-shm").unlink()
    assert read_in_child(mounted(folder)) == ["3 0 2 True", *REFUSED]


@pytest.fixture
def owned(folder):
    """A database that others may read and not write, below folders that they may enter."""

    def protect():
        for path in (folder, *folder.parents):
            if path.stat().st_uid == os.geteuid() and path.is_relative_to(tempfile.gettempdir()):
                path.chmod(path.stat().st_mode | 0o055)
        for path in folder.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        folder.chmod(0o555)
        return folder

    return protect


NOBODY = 65534


@needs_root
@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("log", [True, False])
def test_files_of_somebody_else(folder, owned, log, shared_memory):
    killed_writer(folder)
    if not log:
        (folder / f"{FILE}-wal").unlink()
    if not shared_memory:
        (folder / f"{FILE}-shm").unlink()
    assert read_in_child(owned(), NOBODY) == [WRITTEN if log else "1 old old True", *REFUSED]


@needs_root
def test_a_file_that_may_not_be_written_in_a_folder_that_may(folder, owned):
    killed_writer(folder)
    owned().chmod(0o777)
    assert read_in_child(folder, NOBODY) == [WRITTEN, *REFUSED]


@needs_root
@pytest.mark.parametrize("hidden", ["-wal", "-shm"])
def test_a_log_that_may_not_be_read_is_not_passed_over(folder, owned, hidden):
    """Without it, an old state of the database would be taken for the newest."""
    killed_writer(folder)
    owned()
    (folder / f"{FILE}{hidden}").chmod(0)
    script = f"""
import os, sys, vecdb, vecdb.database
os.setuid({NOBODY})
try:
    with vecdb.open(sys.argv[1], read_only=True) as database:
        print(database.collection("c").count())
except vecdb.StorageError as error:
    print("StorageError", error)
"""
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("StorageError") or done.stdout.strip() == str(BIG + 1), done.stdout


# --- without becoming another user --------------------------------------------------------------


@pytest.fixture
def unwritable(monkeypatch):
    """Folders seem unwritable to vecdb, as they are for a user without the right."""
    monkeypatch.setattr("vecdb.storage.engine.os.access", lambda path, mode: False)


def test_a_log_without_shared_memory_is_read_without_locks(folder, unwritable):
    killed_writer(folder)
    (folder / f"{FILE}-shm").unlink()
    with vecdb.open(folder, read_only=True) as database:
        assert database.collection("c").count() == BIG + 1
    assert {path.name for path in folder.iterdir()} == {FILE, f"{FILE}-wal", "index", "writer.lock"}


def test_what_the_owner_writes_meanwhile_is_seen_by_the_next_search(folder, unwritable, monkeypatch):
    killed_writer(folder)
    (folder / f"{FILE}-shm").unlink()
    with vecdb.open(folder, read_only=True) as reader:
        assert reader.collection("c").count() == BIG + 1
        write = (
            f"import vecdb\nwith vecdb.open({str(folder)!r}) as database:\n"
            "    database.collection('c').add(['new'], ids=['new'], vectors=[[0, 1]])\n"
        )
        subprocess.run([sys.executable, "-c", write], check=True)
        assert reader.collection("c").count() == BIG + 2
        assert "new" in reader.collection("c")


def test_what_the_owner_writes_in_the_middle_of_a_search_is_no_wrong_answer(folder, unwritable):
    killed_writer(folder)
    (folder / f"{FILE}-shm").unlink()
    with vecdb.open(folder, read_only=True) as reader:
        collection = reader.collection("c")
        def read_while_the_owner_writes():
            with reader._engine.snapshot() as snapshot:
                snapshot.rows("SELECT count(*) FROM records")
                subprocess.run([sys.executable, "-c", f"import vecdb\nvecdb.open({str(folder)!r}).close()"], check=True)

        with pytest.raises(DatabaseLockedError, match="try again"):
            read_while_the_owner_writes()
        assert collection.count() == BIG + 1


def test_links_in_a_database_folder_are_not_followed(folder, tmp_path):
    """A stranger's folder must not lead to files outside of it."""
    vecdb.open(folder).close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder / FILE, elsewhere / FILE)
    try:
        (folder / FILE).symlink_to(elsewhere / FILE)
    except OSError:
        pytest.skip("links cannot be made here")
    for read_only in (True, False):
        with pytest.raises(StorageError, match=r"is a link to another place; .*link the whole folder"):
            vecdb.open(folder, read_only=read_only)
    (folder / FILE).unlink()
    shutil.move(elsewhere / FILE, folder / FILE)
    linked = tmp_path / "linked.vecdb"
    linked.symlink_to(folder, target_is_directory=True)
    vecdb.open(linked).close()


def test_a_lock_file_that_leads_elsewhere_is_not_written(folder, tmp_path):
    vecdb.open(folder).close()
    victim = tmp_path / "victim"
    victim.write_text("the first bytes of a file that matters")
    (folder / "writer.lock").unlink(missing_ok=True)
    try:
        (folder / "writer.lock").symlink_to(victim)
    except OSError:
        pytest.skip("links cannot be made here")
    with vecdb.open(folder) as database, pytest.raises(StorageError, match="lock file"):
        database.create_collection("c", dimension=2)
    assert victim.read_text() == "the first bytes of a file that matters"


def test_a_log_that_leads_elsewhere_is_refused(folder, tmp_path):
    killed_writer(folder)
    log = folder / f"{FILE}-wal"
    shutil.move(log, tmp_path / "log")
    try:
        log.symlink_to(tmp_path / "log")
    except OSError:
        pytest.skip("links cannot be made here")
    with pytest.raises((StorageError, CorruptDatabaseError)):
        vecdb.open(folder).close()
    assert Path(tmp_path / "log").stat().st_size


def test_opening_for_writing_says_that_it_cannot(folder, monkeypatch):
    vecdb.open(folder).close()
    monkeypatch.setattr("vecdb.storage.schema.os.access", lambda path, mode: path != folder / FILE)
    with pytest.raises(ReadOnlyError, match=r"cannot be written; .*read_only=True"):
        vecdb.open(folder)
