"""Forks beside threads and open databases: parent and children lose nothing, and no child hangs."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import plugins_for_tests

# What newer Pythons say of a fork beside threads, is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

ROOT = Path(__file__).parents[2]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
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

def row(n):
    return np.random.default_rng(n).standard_normal(8).astype(np.float32)


def in_children(count, live):
    """Fork so many children, one after the other, each of which calls `live(number)`; their statuses."""
    statuses = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                live(number)
                status = 0
            finally:
                os._exit(status)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return statuses


@needs_fork
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


@needs_fork
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


@needs_fork
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


@needs_fork
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

        def live(number):
            collection.add([None], ids=[f"child {number}"], vectors=[row(-number % 97)])
            assert collection.search(row(7), k=1)[0].id == "old 7"

        statuses = in_children(30, live)
        stop.set()
        for thread in threads:
            thread.join()
        assert (errors, set(statuses)) == ([], {0})
        assert {f"child {number}" for number in range(30)} <= {record.id for record in collection}
        assert database.check()


@needs_fork
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
    statuses = in_children(40, lambda number: add(f"child {number}"))
    added.extend(f"child {number}" for number in range(40))
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

    def still_open():
        gc.collect()
        found = []
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                found.append(str(link.readlink()))
        return [path for path in found if path.startswith(str(folder))]

    deadline = time.monotonic() + 30  # the building thread may be at a step
    while still_open() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert still_open() == []


def test_work_imports_nothing(folder):
    """A child that is forked while another thread imports something could never import it, and would hang."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WORKER, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
