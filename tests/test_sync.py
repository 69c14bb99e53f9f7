"""Index files are caches: lost, damaged, exchanged or behind, they cost time and never a wrong answer.

Any warning that is not expected is an error in these tests.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest

import vecdb
from vecdb import IndexRebuiltWarning

DIMENSION = 8
COUNT = 300


def vectors(count=COUNT, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def make(folder, count=COUNT, *, kind="hnsw"):
    """A closed database with one collection, whose graph is saved."""
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index=kind)
        collection.add([None] * count, ids=[str(n) for n in range(count)], vectors=vectors(count))
        collection.optimize()


def index_files(folder):
    return sorted((folder / "index").glob("*.hnsw"))


def manifest(folder):
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
        return connection.execute(
            "SELECT name, last_label, last_removal FROM index_files ORDER BY generation"
        ).fetchall()


def assert_right(collection, *, live=range(COUNT), rows=None):
    """The index has exactly the vectors of the rows, and finds each by itself."""
    rows = vectors() if rows is None else rows
    live = list(live)
    index = collection._space("default").index
    assert index.differences() == ([], [])
    found = collection.search_batch(rows[live], k=1, exact=True)
    assert [hits[0].id for hits in found] == [str(n) for n in live]
    found = collection.search_batch(rows[live], k=1, ef=300)
    assert [hits[0].id for hits in found] == [str(n) for n in live]
    assert len(collection.search(rows[0], k=10 * COUNT)) == collection.count()


# --- loading ------------------------------------------------------------------------------------


def test_a_saved_graph_is_loaded_and_not_built_again(folder):
    make(folder)
    (file,) = index_files(folder)
    before = file.read_bytes()
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        plan = collection.explain(vectors()[0])
        assert (plan.strategy, plan.indexed) == ("graph", COUNT)
        assert_right(collection)
    assert index_files(folder) == [file]
    assert file.read_bytes() == before


def remove(file):
    file.unlink()


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def grow(file):
    with file.open("ab") as opened:
        opened.write(b"\0")


def exchange(file):
    other = file.parents[1].with_name("other.vecdb")
    with vecdb.open(other) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        collection.add([None] * COUNT, vectors=vectors(seed=9))
        collection.optimize()
    shutil.copyfile(index_files(other)[0], file)


def garbage(file):
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def link(file):
    target = file.with_suffix(".elsewhere")
    file.rename(target)
    file.symlink_to(target)


def directory(file):
    file.unlink()
    file.mkdir()


DAMAGES = [remove, truncate, empty, flip, grow, exchange, garbage, link, directory]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_file_costs_one_warning_and_is_rebuilt(folder, damage):
    make(folder)
    damage(index_files(folder)[0])
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        with pytest.warns(IndexRebuiltWarning, match="searches are exact and the index is rebuilt"):
            assert collection.search(vectors()[5], k=1)[0].id == "5"
        assert_right(collection)  # without another warning, which would be an error here
        collection.optimize()
        assert collection.explain(vectors()[0]).indexed == COUNT
        assert_right(collection)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        assert collection.explain(vectors()[0]).strategy == "graph"
        assert_right(collection)


@pytest.mark.parametrize(
    "lie",
    [
        "platform = 'abacus'", "dimension = 9", "metric = 'ip'", "count = count - 1", "size = size + 1", "M = 17",
        "sha256 = 'x'", "last_label = last_label + 1000", "name = '../vecdb.sqlite3'", "name = 'no such file'",
    ],
)  # fmt: skip
def test_a_manifest_row_that_does_not_fit_the_file_costs_one_warning(folder, lie):
    make(folder)
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        connection.execute(f"UPDATE index_files SET {lie}")
    with vecdb.open(folder) as database, pytest.warns(IndexRebuiltWarning):
        assert_right(database.collection("c"))


def test_the_generation_before_stands_in_for_a_damaged_file(folder):
    make(folder)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.add([None], ids=[str(COUNT)], vectors=vectors(COUNT + 1)[-1:])
        collection.optimize()
    newest = manifest(folder)[-1][0]
    assert len(index_files(folder)) == 2
    flip(folder / "index" / newest)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        assert collection.explain(vectors()[0]).indexed >= COUNT
        assert_right(collection, live=range(COUNT + 1), rows=vectors(COUNT + 1))


def test_two_generations_are_kept_and_strays_collected(folder):
    make(folder)
    index = folder / "index"
    stray, old, young = index / "1-stray.hnsw", index / "1-old.hnsw.tmp", index / "1-young.hnsw.tmp"
    for path in (stray, old, young):
        path.write_bytes(b"left by a killed process")
    os.utime(old, (time.time() - 7200,) * 2)
    rows = vectors(COUNT + 5)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        for n in range(COUNT, COUNT + 5):
            collection.add([None], ids=[str(n)], vectors=rows[n : n + 1])
            collection.optimize()
    names = {path.name for path in index.iterdir()}
    assert names == {name for name, _, _ in manifest(folder)} | {young.name}
    assert len(manifest(folder)) == 2


def test_files_of_a_deleted_collection_are_collected(folder):
    make(folder)
    with vecdb.open(folder) as database:
        database.delete_collection("c")
        collection = database.create_collection("d", dimension=2, index="hnsw")
        collection.add([None], vectors=[[1, 2]])
        collection.optimize()
    assert [path.name for path in index_files(folder)] == [name for name, _, _ in manifest(folder)]


# --- publishing ---------------------------------------------------------------------------------


def test_an_older_index_never_replaces_a_newer_one(folder):
    make(folder, 10)
    rows = vectors(20)
    with vecdb.open(folder) as slow, vecdb.open(folder) as fast:
        behind, ahead = slow.collection("c"), fast.collection("c")
        index = behind._space("default").index
        index.catch_up()
        ahead.add([None] * 10, ids=[str(n) for n in range(10, 20)], vectors=rows[10:])
        ahead.delete(["0"])
        ahead.optimize()
        newest = manifest(folder)
        index._publish()  # what a process that was suspended would do now
        assert manifest(folder) == newest
        assert_right(behind, live=range(1, 20), rows=rows)
    with vecdb.open(folder) as database:
        assert_right(database.collection("c"), live=range(1, 20), rows=rows)


def test_a_graph_is_saved_at_closing_only_if_it_is_worthwhile(folder, monkeypatch):
    rows = vectors(200)
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        collection.add([None] * 50, vectors=rows[:50])
    assert index_files(folder) == []
    monkeypatch.setattr("vecdb.sync._PUBLISH_AFTER", 100)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.add([None] * 150, vectors=rows[50:])
        deadline = time.monotonic() + 30
        while collection.explain(rows[0]).indexed < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(index_files(folder)) == 1


def test_a_read_only_handle_writes_no_index_file(folder):
    make(folder)
    index_files(folder)[0].unlink()
    with vecdb.open(folder, read_only=True) as database:
        collection = database.collection("c")
        with pytest.warns(IndexRebuiltWarning):
            assert_right(collection)
        collection.optimize()
        assert_right(collection)
    assert index_files(folder) == []


def test_an_index_folder_that_is_gone_is_made_again(folder):
    make(folder)
    shutil.rmtree(folder / "index")
    with vecdb.open(folder) as database:
        with pytest.warns(IndexRebuiltWarning):
            assert_right(database.collection("c"))
        database.collection("c").optimize()
    assert len(index_files(folder)) == 1


# --- several handles ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_two_handles_see_each_others_writes_at_once(folder, kind):
    make(folder, 5, kind=kind)
    rows = vectors(60)
    with vecdb.open(folder) as one, vecdb.open(folder) as two, vecdb.open(folder, read_only=True) as reader:
        handles = [database.collection("c") for database in (one, two, reader)]
        live = set(range(5))
        for n in range(5, 60):
            writer = handles[n % 2]
            writer.add([None], ids=[str(n)], vectors=rows[n : n + 1])
            live.add(n)
            if n % 3 == 0:
                gone = min(live)
                writer.delete([str(gone)])
                live.remove(gone)
            if n % 10 == 0:
                handles[(n + 1) % 2].optimize()
            for handle in handles:
                assert handle.search(rows[n], k=1)[0].id == str(n)
                assert {hit.id for hit in handle.search(rows[n], k=100)} == {str(m) for m in live}
        for handle in handles:
            assert_right(handle, live=sorted(live), rows=rows)


OTHER = """
import sys, numpy as np, vecdb
rows = np.load(sys.argv[2])
with vecdb.open(sys.argv[1]) as database:
    collection = database.collection("c")
    for line in sys.stdin:
        what, n = line.split()
        if what == "add":
            collection.add([None], ids=[n], vectors=rows[int(n) : int(n) + 1])
        elif what == "delete":
            collection.delete([n])
        else:
            hits = collection.search(rows[int(n)], k=1)
            print(hits[0].id, len(collection.search(rows[0], k=1000)), flush=True)
            continue
        print("done", flush=True)
"""


def test_two_processes_see_each_others_writes_at_once(folder, tmp_path):
    make(folder, 5)
    rows = vectors(40)
    np.save(tmp_path / "rows.npy", rows)
    command = [sys.executable, "-c", OTHER, folder, tmp_path / "rows.npy"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        vecdb.open(folder) as database,
    ):
        mine = database.collection("c")

        def ask(what, n):
            other.stdin.write(f"{what} {n}\n")
            other.stdin.flush()
            return other.stdout.readline().split()

        live = 5
        for n in range(5, 40):
            if n % 2:
                assert ask("add", n) == ["done"]
            else:
                mine.add([None], ids=[str(n)], vectors=rows[n : n + 1])
            live += 1
            if n % 5 == 0:
                assert ask("delete", n - 4) == ["done"]
                live -= 1
            assert mine.search(rows[n], k=1)[0].id == str(n)
            assert len(mine.search(rows[0], k=1000)) == live
            assert ask("search", n) == [str(n), str(live)]
        other.stdin.close()
    assert other.returncode == 0


def test_a_handle_that_missed_more_removals_than_are_kept_loads_anew(folder, monkeypatch):
    monkeypatch.setattr("vecdb.storage.writes._KEPT_REMOVALS", 10)
    make(folder)
    with vecdb.open(folder) as one, vecdb.open(folder) as two:
        behind, writer = one.collection("c"), two.collection("c")
        assert_right(behind)
        for n in range(0, 100, 5):
            writer.delete([str(n + i) for i in range(5)])
        with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
            kept, floor = connection.execute(
                "SELECT count(*), (SELECT removal_floor FROM spaces) FROM removals"
            ).fetchone()
        assert 0 < floor < 100
        assert kept == 100 - floor
        with pytest.warns(IndexRebuiltWarning):  # the file is older than the log of removals
            assert_right(behind, live=range(100, COUNT))
        assert_right(writer, live=range(100, COUNT))


# --- building -----------------------------------------------------------------------------------


def test_a_graph_that_is_mostly_tombstones_is_built_anew(folder):
    make(folder)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.delete([str(n) for n in range(200)])
        collection.optimize()
        graph = collection._space("default").index.graph
        assert (len(graph), graph.deleted) == (100, 0)
        assert_right(collection, live=range(200, COUNT))


def test_reindex_removes_what_deleted_records_left(folder):
    make(folder)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.delete([str(n) for n in range(30)])
        calls = []
        collection.reindex(progress=lambda done, total: calls.append((done, total)))
        assert collection._space("default").index.graph.deleted == 0
        assert calls[-1][0] == calls[-1][1] == 270
        assert_right(collection, live=range(30, COUNT))
    with vecdb.open(folder) as database:
        assert_right(database.collection("c"), live=range(30, COUNT))


def test_an_auto_index_that_became_small_is_exact_again_after_reindex(folder, monkeypatch):
    monkeypatch.setattr("vecdb.sync.EXACT_UNTIL", 100)
    make(folder, kind="auto")
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        assert collection.explain(vectors()[0]).strategy == "graph"
        collection.delete([str(n) for n in range(250)])
        collection.reindex()
        assert collection.explain(vectors()[0]).strategy == "exact"
        assert_right(collection, live=range(250, COUNT))
    with vecdb.open(folder) as database:
        assert database.collection("c").explain(vectors()[0]).strategy == "exact"


@pytest.mark.parametrize("call", ["optimize", "reindex"])
def test_a_graph_whose_records_are_all_deleted(folder, call):
    make(folder, 50)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.delete(where={})
        getattr(collection, call)()
        assert collection.search(vectors()[0]) == []
        collection.add([None], ids=["0"], vectors=vectors()[:1])
        assert_right(collection, live=[0])


def test_searches_are_right_while_the_graph_is_built(folder):
    """The builder moves vectors in the background; every search, meanwhile and after, has all hits."""
    rows = vectors(2000)
    with vecdb.open(folder, durability="normal") as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        for start in range(0, 2000, 100):
            collection.add(
                [None] * 100, ids=[str(n) for n in range(start, start + 100)], vectors=rows[start : start + 100]
            )
            some = range(0, start + 100, 37)
            assert [hits[0].id for hits in collection.search_batch(rows[some], k=1)] == [str(n) for n in some]
            assert len(collection.search(rows[0], k=5000)) == start + 100
        collection.optimize()
        assert collection._space("default").index.differences() == ([], [])


def finishes(call, seconds=20):
    """Runs the call on a thread; whether it ended, and what it raised."""
    raised = []

    def run():
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    assert raised == []


def test_deleting_most_of_a_graph_while_it_is_built_does_not_hang(folder):
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        monkey = threading.Event()
        collection._builder.close()  # only this test's own build
        collection.add([None] * COUNT, ids=[str(n) for n in range(COUNT)], vectors=vectors())

        def progress(done, total):
            if not monkey.is_set():
                monkey.set()
                collection.delete([str(n) for n in range(200)])
                collection.search(vectors()[0])

        finishes(lambda: collection.optimize(progress=progress))
        assert_right(collection, live=range(200, COUNT))
