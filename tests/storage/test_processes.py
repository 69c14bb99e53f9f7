"""Killed processes, forks, locks and backups: what was acknowledged is there, and nobody waits for the dead."""

from __future__ import annotations

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
