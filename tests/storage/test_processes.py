"""Killed processes, forks, locks and backups: what was acknowledged is there, and nobody waits for the dead."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import plugins_for_tests
from vecdb import DatabaseLockedError

# What newer Pythons say of a fork beside threads, is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, vecdb
with vecdb.open(sys.argv[1]) as database, database._engine.transaction():
    print("holding", flush=True)
    sys.stdin.read()
"""
WORKER = """
import sys
import numpy as np
import vecdb
with vecdb.open(sys.argv[1]) as database:
    before = set(sys.modules)
    collection = database.create_collection("c", dimension=8, index="hnsw")
    rows = np.sin(np.arange(2400, dtype=np.float32) ** 2).reshape(300, 8)
    ids = [str(number) for number in range(300)]
    collection.add(["a text"] * 300, ids=ids, vectors=rows, metadata=[{"n": n} for n in range(300)])
    collection.search(rows[0])
    collection.optimize()
    collection.delete(ids[:20])
    collection.upsert(["b"], ids=["30"], vectors=rows[:1])
    collection.update_metadata("31", {"n": -1})
    collection.search_batch(rows[:3], where={"n": {"$gt": 30}})
    assert database.check()
    database.vacuum()
    print(sorted(set(sys.modules) - before))
"""
WRITER = """
import sys
import numpy as np
import vecdb

def row(n):
    return np.random.default_rng(n).standard_normal(8).astype(np.float32)

with vecdb.open(sys.argv[1]) as database:
    collection = database.get_or_create_collection("c", dimension=8, metric="l2", index="hnsw")
    batch = int(sys.argv[2])
    while True:
        ids = [f"{batch}/{n}" for n in range(20)]
        rows = [row(batch * 20 + n) for n in range(20)]
        collection.add([f"text {id}" for id in ids], ids=ids, vectors=rows)
        print("added", batch, flush=True)
        if batch % 3 == 2:
            collection.delete([f"{batch - 1}/{n}" for n in range(0, 20, 2)])
            print("deleted", batch - 1, flush=True)
        if batch % 5 == 4:
            collection.optimize()
        batch += 1
"""


def row(n):
    return np.random.default_rng(n).standard_normal(8).astype(np.float32)


def child(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", *map(str, arguments)], env=environment, text=True, **options)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_process_killed_at_any_moment_loses_nothing_acknowledged(folder):
    """Each round goes on from where the one before was killed; at the end the graph is right as well."""
    chance = random.Random(11)
    added, deleted, batch = set(), set(), 0
    for _ in range(5):
        with child(WRITER, folder, batch, stdout=subprocess.PIPE) as writer:
            lines = []
            wanted = chance.randint(1, 12)
            for line in writer.stdout:
                lines.append(line.split())
                if len(lines) == wanted:
                    break
            time.sleep(chance.random() * 0.02)
            writer.send_signal(signal.SIGKILL)
            lines += [line.split() for line in writer.stdout if line.endswith("\n")]
        added |= {int(n) for what, n in lines if what == "added"}
        deleted |= {int(n) for what, n in lines if what == "deleted"}
        with vecdb.open(folder) as database:
            collection = database.collection("c")
            stored = {}
            for record in collection:
                stored.setdefault(int(record.id.split("/")[0]), set()).add(int(record.id.split("/")[1]))
            for n in added:
                halved = stored.get(n) == set(range(1, 20, 2))
                assert stored.get(n) == set(range(20)) or (halved and (n in deleted or n == max(added) - 1))
            assert all(stored[n] == set(range(1, 20, 2)) for n in deleted)
            # What was in flight is there whole or not at all.
            assert set(stored) - added <= {max(added) + 1}
            assert all(len(found) in (10, 20) for found in stored.values())
            assert database.check()
            for n, found in stored.items():
                place = max(found)
                assert collection.search(row(n * 20 + place), k=1)[0].id == f"{n}/{place}"
            batch = max(stored) + 1
            added |= set(stored)
            deleted |= {n for n, found in stored.items() if len(found) == 10}


@pytest.mark.parametrize("statements", [0, 3, 9, 20, 60])
def test_killed_while_the_database_is_made(folder, statements):
    """The next one to open it finds nothing, or makes what is missing."""
    program = """
import os, sys, vecdb, sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine
left = int(sys.argv[2])
@event.listens_for(Engine, "before_cursor_execute")
def killed(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
vecdb.open(sys.argv[1])
"""
    with child(program, folder, statements) as killed:
        assert killed.wait() in (0, -9)
    with vecdb.open(folder) as database:
        assert database.collections() == []
        assert database.check()


def test_a_writer_that_waits_names_the_one_that_does_not_let_go(folder):
    vecdb.open(folder).close()
    with (
        child(HOLDER, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        vecdb.open(folder, timeout=0.2) as database,
    ):
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(
            DatabaseLockedError, match=rf"written by process {other.pid}, for more than 0.2 s"
        ) as caught:
            database.create_collection("c", dimension=2)
        assert caught.value.holder == other.pid
        assert database.collections() == []  # readers do not wait
        other.kill()
        other.wait()
        database.create_collection("c", dimension=2)  # the dead hold nothing


def test_threads_that_wait_together_name_the_process_that_does_not_let_go(folder):
    """While one of them waits for the other process, the rest wait for that one: it holds nothing itself."""
    vecdb.open(folder).close()
    with (
        child(HOLDER, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        vecdb.open(folder, timeout=0.3) as database,
    ):
        assert other.stdout.readline() == "holding\n"
        holders = []

        def write(name):
            try:
                database.create_collection(name, dimension=2)
            except DatabaseLockedError as error:
                holders.append(error.holder)

        threads = [threading.Thread(target=write, args=(f"c{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert holders == [other.pid] * 4
        other.kill()


def test_a_thread_that_does_not_let_go(database):
    database._engine.writer_lock._timeout = 0.1
    holders = []

    def write():
        try:
            database.create_collection("c", dimension=2)
        except DatabaseLockedError as error:
            holders.append(error.holder)

    with database._engine.transaction():
        waiter = threading.Thread(target=write)
        waiter.start()
        waiter.join()
    assert holders == [os.getpid()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_forked_child_searches_and_adds_while_its_parent_goes_on(folder, kind):
    rows = np.random.default_rng(0).standard_normal((200, 8))
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        collection = database.create_collection("c", dimension=8, metric="l2", index=kind)
        texts = database.create_collection("texts", embedder="counting")
        texts.add(["before"], ids=["before"])
        collection.add([None] * 100, ids=[str(n) for n in range(100)], vectors=rows[:100])
        collection.optimize()
        children = []
        for offset in (100, 120):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    for n in range(offset, offset + 20):
                        collection.add([None], ids=[str(n)], vectors=rows[n : n + 1])
                        assert collection.search(rows[n], k=1)[0].id == str(n)
                        assert collection.search(rows[7], k=1)[0].id == "7"
                    texts.add([f"from {offset}"], ids=[str(offset)])
                    assert texts.search("before", k=1)[0].id == "before"
                    collection.optimize()
                    database.close()
                    status = 0
                finally:
                    os._exit(status)
            children.append(pid)
        for n in range(140, 160):
            collection.add([None], ids=[str(n)], vectors=rows[n : n + 1])
            assert collection.search(rows[n], k=1)[0].id == str(n)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
        assert {record.id for record in collection} == {str(n) for n in range(160)}
        assert [collection.search(rows[n], k=1)[0].id for n in range(160)] == [str(n) for n in range(160)]
        assert {record.id for record in texts} == {"before", "100", "120"}
        assert database.check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_was_forked_in_the_middle_of_a_call_is_refused(folder, tmp_path):
    """SQLite in the child takes its parent's locks for its own: what it wrote could be lost."""
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=2)
        collection.add([None], vectors=[[1, 2]])
        statuses = []

        def fork(done, total):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    for call in (
                        collection.count,
                        lambda: collection.add([None], vectors=[[1, 2]]),
                        lambda: vecdb.open(folder),
                        lambda: vecdb.database.upgrade(folder),
                    ):
                        with pytest.raises(vecdb.DatabaseClosedError, match="use the database in a new process"):
                            call()
                    status = 0
                finally:
                    os._exit(status)
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        database.backup(tmp_path / "copy.vecdb", progress=fork)
        assert set(statuses) == {0}
        collection.add([None], vectors=[[3, 4]])
        assert collection.count() == 2
    with vecdb.open(tmp_path / "copy.vecdb") as copy:
        assert copy.collection("c").count() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_a_forked_child_writes_is_kept_when_its_parent_closes(folder):
    """The last one to close removes the write-ahead log: a parent must not take itself for the last."""
    closed, wait = os.pipe()
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=2)
        collection.add([None], ids=["parent"], vectors=[[1, 2]])
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                collection.add([None], ids=["beside"], vectors=[[1, 3]])
                os.close(wait)
                os.read(closed, 1)  # ends when the parent closes the other side
                collection.add([None], ids=["after"], vectors=[[1, 4]])
                status = 0
            finally:
                os._exit(status)
        while "beside" not in collection:
            time.sleep(0.001)
    os.close(wait)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(closed)
    with vecdb.open(folder) as database:
        assert [record.id for record in database.collection("c")] == ["parent", "beside", "after"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_forked_while_threads_write_and_search_find_nothing_locked(folder):
    """What another thread held at the moment of the fork would be held in the child for ever."""
    with vecdb.open(folder, durability="normal", timeout=10) as database:
        collection = database.create_collection("c", dimension=8, metric="l2", index="hnsw")
        collection.add([None] * 50, ids=[f"old {n}" for n in range(50)], vectors=[row(n) for n in range(50)])
        stop, errors = threading.Event(), []

        def work(thread):
            n = 0
            try:
                while not stop.is_set():
                    collection.upsert([None], ids=[f"{thread} {n % 20}"], vectors=[row(1000 * thread + n)])
                    assert len(collection.search(row(n), k=5)) == 5
                    n += 1
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(thread,)) for thread in (1, 2, 3)]
        for thread in threads:
            thread.start()
        statuses = []
        for number in range(30):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    collection.add([None], ids=[f"child {number}"], vectors=[row(-number % 97)])
                    assert collection.search(row(7), k=1)[0].id == "old 7"
                    status = 0
                finally:
                    os._exit(status)
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        assert (errors, set(statuses)) == ([], {0})
        assert {f"child {number}" for number in range(30)} <= {record.id for record in collection}
        assert database.check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_forked_while_threads_open_the_database_lose_nothing(folder):
    """SQLite remembers for the whole process what it holds of a file, also of one that is just being opened."""
    with vecdb.open(folder) as database:
        database.create_collection("c", dimension=8).add([None], ids=["first"], vectors=[row(1)])
    stop, errors = threading.Event(), []

    def add(id):
        with vecdb.open(folder, timeout=10) as database:
            database.collection("c").add([None], ids=[id], vectors=[row(hash(id) % 97)])

    def work(thread):
        n = 0
        try:
            while not stop.is_set():
                add(f"thread {thread} {(n := n + 1)}")
                added.append(f"thread {thread} {n}")
        except BaseException as error:
            errors.append(error)

    added = ["first"]
    threads = [threading.Thread(target=work, args=(thread,)) for thread in (1, 2)]
    for thread in threads:
        thread.start()
    statuses = []
    for number in range(40):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                add(f"child {number}")
                status = 0
            finally:
                os._exit(status)
        added.append(f"child {number}")
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join()
    assert (errors, set(statuses)) == ([], {0})
    with vecdb.open(folder) as database:
        assert {record.id for record in database.collection("c")} == set(added)
        assert database.check()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list descriptors")
def test_a_database_that_nobody_closed_lets_go_of_its_files(folder):
    database = vecdb.open(folder)
    database.create_collection("c", dimension=8).add([None], vectors=[row(1)])
    thread = threading.Thread(target=database.collections)  # its connection outlives it
    thread.start()
    thread.join()
    del database, thread
    gc.collect()
    found = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [path for path in found if path.startswith(str(folder))] == []


def test_work_imports_nothing(folder):
    """A child that is forked while another thread imports something could never import it, and would hang."""
    with child(WORKER, folder, stdout=subprocess.PIPE) as process:
        assert process.communicate()[0].strip() == "[]"


# --- backup -------------------------------------------------------------------------------------


def test_a_backup_is_whole_also_while_others_write(folder, tmp_path):
    rows = np.random.default_rng(0).standard_normal((400, 8))
    with vecdb.open(folder, durability="normal") as database:
        collection = database.create_collection("c", dimension=8, metric="l2", index="hnsw")
        collection.add([None] * 100, ids=[str(n) for n in range(100)], vectors=rows[:100])
        collection.optimize()
        stop = threading.Event()

        def write():
            n = 100
            while not stop.is_set() and n < 400:
                collection.add([None] * 2, ids=[str(n), str(n + 1)], vectors=rows[n : n + 2])
                n += 2

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(3):
                database.backup(tmp_path / f"backup{number}.vecdb")
        finally:
            stop.set()
            writer.join()
        for number in range(3):
            with vecdb.open(tmp_path / f"backup{number}.vecdb") as copy:
                copied = copy.collection("c")
                ids = [int(record.id) for record in copied]
                assert ids == list(range(len(ids)))
                assert len(ids) % 2 == 0  # two at a time: both or none
                assert copied.explain(rows[0]).indexed >= 100  # with the index file
                assert [copied.search(rows[n], k=1)[0].id for n in ids] == [str(n) for n in ids]
                assert copy.check()
                copied.add([None], ids=["new"], vectors=rows[:1] + 1)
        assert "new" not in collection


def test_where_a_backup_can_go(database, tmp_path):
    database.create_collection("c", dimension=2).add([None], ids=["x"], vectors=[[1, 2]])
    calls = []
    database.backup(tmp_path / "deeper" / "日本.vecdb", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] > 0
    with vecdb.open(tmp_path / "deeper" / "日本.vecdb") as copy:
        assert copy.collection("c").count() == 1
    for taken in (tmp_path / "deeper", tmp_path / "deeper" / "日本.vecdb", database.path):
        with pytest.raises(vecdb.AlreadyExistsError, match="give a new path"):
            database.backup(taken)
    (tmp_path / "file").touch()
    with pytest.raises(vecdb.StorageError, match="cannot write the backup"):
        database.backup(tmp_path / "file" / "below.vecdb")
