"""Every handle sees what was committed before, while graphs are built behind the scenes.

Any warning that is not expected is an error in these tests.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest

import vecdb
from tests.graphs import COUNT, DIMENSION, assert_right, index_files, make, vectors

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


def test_a_handle_that_missed_more_removals_than_are_kept_asks_the_rows(folder, monkeypatch):
    monkeypatch.setattr("vecdb.storage.writes._KEPT_REMOVALS", 10)
    monkeypatch.setattr("vecdb.sync._MOST_TOMBSTONES", 1.0)  # or it would be built anew for that
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
        graph = behind._space("default").index.graph
        assert_right(behind, live=range(100, COUNT))
        assert behind._space("default").index.graph is graph  # and keeps what it has
        assert_right(writer, live=range(100, COUNT))
    with vecdb.open(folder) as later:  # its file is older than the log of removals
        assert_right(later.collection("c"), live=range(100, COUNT))


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


# --- interrupts and callbacks -------------------------------------------------------------------


def built_by_hand(database, folder, **options):
    collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
    collection._builder.close()  # only this test's own build
    collection.add([None] * COUNT, ids=[str(n) for n in range(COUNT)], vectors=vectors())
    return collection


@pytest.mark.parametrize("place", ["_labels.add", "_scanner.append"])
def test_an_interrupt_while_building_leaves_right_answers(folder, monkeypatch, place):
    monkeypatch.setattr("vecdb.sync._LARGE_STEP", 50)
    with vecdb.open(folder) as database:
        collection = built_by_hand(database, folder)
        index = collection._space("default").index
        owner, method = place.split(".")

        def interrupt(done, total):
            if done == 100:
                monkeypatch.setattr(getattr(index.graph, owner), method, stop)

        def stop(*arguments):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            collection.optimize(progress=interrupt)
        assert_right(collection)
        collection.optimize()
        assert_right(collection)


def test_a_graph_that_cannot_grow_does_not_stop_searches(folder, monkeypatch):
    with vecdb.open(folder) as database:
        collection = built_by_hand(database, folder)

        def no_memory(self, count):
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr("vecdb.index.hnsw.HnswIndex._make_room", no_memory)
            with pytest.raises(MemoryError):
                collection.optimize()
        assert_right(collection)
        collection.optimize()
        assert_right(collection)


def test_an_interrupt_while_a_snapshot_ends_leaves_the_handle_usable(folder):
    with vecdb.open(folder) as database:
        collection = built_by_hand(database, folder)
        engine = collection._engine
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt), engine.snapshot():
                raise KeyboardInterrupt
        with engine.snapshot(), engine.snapshot():  # one inside another
            assert len(collection) == COUNT


def test_closing_in_a_progress_callback_does_not_hang(folder):
    database = vecdb.open(folder)
    collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
    collection.add([None] * COUNT, ids=[str(n) for n in range(COUNT)], vectors=vectors())

    def rebuild():
        with contextlib.suppress(vecdb.DatabaseClosedError):  # whether it notices depends on how far it was
            collection.reindex(progress=lambda done, total: database.close())

    finishes(rebuild)
    with vecdb.open(folder) as again:
        assert_right(again.collection("c"))


def test_building_does_not_go_inside_its_own_progress(folder):
    with vecdb.open(folder) as database:
        collection = built_by_hand(database, folder)
        with pytest.raises(vecdb.InvalidInputError, match="afterwards"):
            collection.optimize(progress=lambda done, total: collection.reindex())
        collection.optimize()
        assert_right(collection)


def test_a_deleted_collection_leaves_no_file_and_no_memory(folder):
    make(folder)
    with vecdb.open(folder) as database:
        assert_right(database.collection("c"))
        database.delete_collection("c")
        assert index_files(folder) == []
        assert database._open_spaces == []


def test_a_backup_may_be_watched_with_the_database(folder, tmp_path):
    make(folder)
    with vecdb.open(folder) as database:
        seen = []
        collection = database.collection("c")
        database.backup(tmp_path / "copy.vecdb", progress=lambda done, total: seen.append(len(collection)))
        assert set(seen) == {COUNT}
