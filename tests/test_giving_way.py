"""Writers go first: what they wrote is handed to the index, graphs are built when it is quiet, and never too late."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import vecdb
from tests.graphs import DIMENSION, assert_right, vectors
from vecdb import sync
from vecdb.fresh import FreshVectors
from vecdb.index.hnsw import HnswIndex
from vecdb.storage import vector_rows
from vecdb.storage.writes import NewVectors
from vecdb.vectors import to_blobs


def put(collection, start, stop, rows):
    collection.add([None] * (stop - start), ids=[str(n) for n in range(start, stop)], vectors=rows[start:stop])


def index_of(collection):
    return collection._space("default").index


@pytest.fixture
def reads(monkeypatch):
    """The number of vectors that were read from rows, each time."""
    counted = []

    def counting(*arguments, **named):
        for labels, found in vector_rows.vectors_after(*arguments, **named):
            counted.append(len(labels))
            yield labels, found

    monkeypatch.setattr("vecdb.current.vectors_after", counting)
    return counted


@pytest.fixture
def collection(folder):
    """With a loaded index, and nobody who builds but the test."""
    with vecdb.open(folder, durability="normal") as database:
        found = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        found._builder.close()
        put(found, 0, 10, vectors())
        found.search(vectors()[0])
        yield found


# --- what is handed over ------------------------------------------------------------------------


def batch(before, first, count):
    rows = np.full((count, 2), first, np.float32)
    return NewVectors(1, before, first, to_blobs(rows))


def taken(fresh, after, until=None):
    return [label for labels, _ in fresh.take(after, until) for label in labels.tolist()]


def test_batches_are_taken_in_their_order_and_up_to_a_gap():
    fresh = FreshVectors(2, 100)
    for one in (batch(7, 8, 2), batch(0, 3, 3), batch(5, 6, 2), batch(20, 21, 1)):
        fresh.put(one)
    assert taken(fresh, 0, until=6) == [3, 4, 5]
    assert taken(fresh, 5) == [6, 7, 8, 9]
    assert len(fresh) == 1
    assert taken(fresh, 30) == []
    assert len(fresh) == 0


def test_a_large_batch_is_taken_in_parts():
    fresh = FreshVectors(2, 10_000)
    fresh.put(batch(4, 5, 3000))
    assert [len(labels) for labels, _ in fresh.take(4)] == [1024, 1024, 952]


def test_no_more_is_held_than_is_allowed():
    fresh = FreshVectors(2, 10)
    fresh.put(batch(0, 1, 6))
    fresh.put(batch(6, 7, 5))
    assert len(fresh) == 0
    assert taken(fresh, 0) == []


def test_what_this_process_wrote_is_not_read_back(collection, reads):
    rows = vectors()
    for start in range(10, 100, 10):
        put(collection, start, start + 10, rows)
        assert_right(collection, live=range(start + 10))
    collection.upsert([None, None], ids=["3", "100"], vectors=rows[[101, 100]])
    assert [hit.id for hit in collection.search(rows[101], k=1)] == ["3"]
    assert sum(reads) == 0


def test_what_others_wrote_in_between_is_read(folder, collection, reads):
    rows = vectors()
    with vecdb.open(folder) as other:
        for start in range(10, 100, 30):
            put(collection, start, start + 10, rows)
            put(other.collection("c"), start + 10, start + 20, rows)
            put(collection, start + 20, start + 30, rows)
            assert_right(collection, live=range(start + 30))
            assert_right(other.collection("c"), live=range(start + 30))
    assert index_of(collection).differences() == ([], [])


def test_vectors_that_were_stored_before_are_counted_once(collection):
    rows = vectors()
    again = np.concatenate([rows[:5], rows[10:15], rows[10:12]])
    collection.add([None] * 12, ids=[f"again {n}" for n in range(12)], vectors=again)
    assert [hit.id for hit in collection.search(rows[10], k=2)] == ["again 5", "again 10"]
    assert index_of(collection).differences() == ([], [])
    assert len(index_of(collection).tail) == 15


@pytest.mark.parametrize("kept", [50_000, 1])
def test_what_was_removed_before_it_was_taken_in_is_not_found(collection, monkeypatch, kept):
    monkeypatch.setattr("vecdb.storage.writes._KEPT_REMOVALS", kept)
    put(collection, 10, 30, vectors())
    for n in range(5, 25):
        collection.delete([str(n)])
    assert_right(collection, live=[*range(5), *range(25, 30)])
    assert index_of(collection).differences() == ([], [])


def test_what_was_handed_over_before_loading_anew_is_not_taken_twice(collection):
    put(collection, 10, 30, vectors())
    collection.delete(["12"])
    index_of(collection)._loaded = False
    assert_right(collection, live=[n for n in range(30) if n != 12])
    assert len(index_of(collection)._fresh) == 0


def test_an_index_that_nobody_searched_holds_nothing(folder):
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=DIMENSION, index="exact")
        put(collection, 0, 100, vectors())
        assert index_of(collection).backlog == 0


# --- when it is built ---------------------------------------------------------------------------


def build_until_it_waits(index, monkeypatch):
    """Let the builder work, with somebody writing all the time, until it waits for the end of that."""
    glances = 0

    def glance(seconds):
        nonlocal glances
        glances += seconds > 0

    monkeypatch.setattr("vecdb.sync.time.sleep", glance)
    index.build_behind(lambda: glances >= 3)


def test_nothing_is_built_while_somebody_writes(collection, monkeypatch):
    index = index_of(collection)
    with collection._engine.exclusive():
        assert not collection._engine.is_quiet(0.0)
    with monkeypatch.context() as patch:
        patch.setattr(collection._engine, "is_quiet", lambda seconds: False)
        put(collection, 10, 60, vectors())
        build_until_it_waits(index, patch)
        assert index.graph is None
        assert len(index.tail) == 60  # it takes in what was written, so that the next search need not
    monkeypatch.setattr("vecdb.sync._QUIET_SECONDS", 0.0)
    index.build_behind(lambda: False)
    assert (len(index.graph), len(index.tail)) == (60, 0)
    assert_right(collection, live=range(60))


def test_a_stream_that_never_ends_does_not_starve_the_builder(collection, monkeypatch):
    index = index_of(collection)
    index._may_wait = 40
    monkeypatch.setattr("vecdb.sync._next_step", lambda vectors, seconds: 8)
    monkeypatch.setattr(collection._engine, "is_quiet", lambda seconds: False)
    put(collection, 10, 200, vectors())
    build_until_it_waits(index, monkeypatch)
    assert 0 < len(index.tail) <= 40
    assert len(index.graph) + len(index.tail) == 200
    assert_right(collection, live=range(200))


def test_the_limits_are_of_memory():
    assert vecdb.current._WAITING_BYTES // (4 * 384) == 131_072


def test_steps_take_about_as_long_as_a_search_may_wait():
    assert sync._next_step(16, 0.0) == 32
    assert sync._next_step(16, 2 * sync._STEP_SECONDS) == 8
    assert sync._next_step(1, 1.0) == 1
    assert sync._next_step(512, 1e-6) == 512


# --- when there is too much of it ---------------------------------------------------------------


@pytest.fixture
def narrow(collection, monkeypatch):
    """A collection in which only a few vectors may wait."""
    monkeypatch.setattr("vecdb.sync._next_step", lambda vectors, seconds: 8)
    index_of(collection)._may_wait, index_of(collection)._most_waiting = 20, 50
    return collection


def test_who_writes_more_than_may_wait_helps_building(narrow):
    index = index_of(narrow)
    for start in range(10, 290, 10):
        put(narrow, start, start + 10, vectors())
        assert index.backlog <= 50
        assert_right(narrow, live=range(start + 10))
    assert len(index.graph) >= 230
    assert index._hurrying == 0
    assert index.differences() == ([], [])


def test_a_backlog_from_before_is_worked_off_bit_by_bit(narrow):
    index = index_of(narrow)
    index._most_waiting = 1000
    put(narrow, 10, 290, vectors())
    narrow.search(vectors()[0])
    index._most_waiting = 50
    put(narrow, 290, 295, vectors())
    narrow.search(vectors()[0])
    put(narrow, 295, 300, vectors())
    assert 250 < index.backlog < 290


def test_helping_ends_when_the_database_is_closed(narrow, monkeypatch):
    index = index_of(narrow)
    move = index._move

    def closing(*arguments, **named):
        index._closing = True
        return move(*arguments, **named)

    monkeypatch.setattr(index, "_move", closing)
    put(narrow, 10, 200, vectors())
    narrow.search(vectors()[0])
    put(narrow, 200, 210, vectors())
    assert len(index.graph) <= 16
    index._closing = False
    assert_right(narrow, live=range(210))


@pytest.mark.parametrize("error", [MemoryError(), vecdb.StorageError("no"), vecdb.VecdbWarning("strict")])
def test_a_write_does_not_fail_because_building_does(narrow, monkeypatch, error):
    def fail(*arguments, **named):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(HnswIndex, "add", fail)
        for start in range(10, 290, 20):
            put(narrow, start, start + 20, vectors())
        assert index_of(narrow).backlog <= 50 + 20
    assert_right(narrow, live=range(290))


def test_an_interrupt_while_helping_loses_nothing(narrow, monkeypatch):
    put(narrow, 10, 50, vectors())
    narrow.search(vectors()[0])

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HnswIndex, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(narrow, 50, 70, vectors())
    assert_right(narrow, live=range(70))
    put(narrow, 70, 90, vectors())
    narrow.optimize()
    assert_right(narrow, live=range(90))


def test_who_writes_does_not_wait_for_ever_for_somebody_who_builds(narrow, monkeypatch):
    """Whose progress may be waiting for this very write."""
    monkeypatch.setattr("vecdb.sync._PATIENCE_SECONDS", 0.01)
    put(narrow, 10, 100, vectors())
    seen = []

    def progress(done, total):
        if not seen:
            seen.append(done)
            put(narrow, 100, 160, vectors())  # in this thread, which builds
            thread = threading.Thread(target=put, args=(narrow, 160, 220, vectors()))
            thread.start()
            thread.join(20)
            seen.append(thread.is_alive())

    monkeypatch.setattr("vecdb.sync._LARGE_STEP", 20)
    narrow.optimize(progress=progress)
    assert seen[1] is False
    assert_right(narrow, live=range(220))
