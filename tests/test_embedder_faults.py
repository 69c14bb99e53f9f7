"""Whatever an embedder does, the database is untouched, the good records go in, and the handle goes on."""

from __future__ import annotations

import math
import os
import signal
import threading
import time

import numpy as np
import pytest

import vecdb
from tests import faulty
from tests.faulty import IN_ENCODE, IN_PREPARE, RELEASE, faulty_plugins, row
from vecdb import EmbedderContractError, EmbeddingError, Record

# The item is to blame, and the others go in; or the call fails, whatever is done with bad items.
ITEM = {
    "raises": "RuntimeError: encode failed",
    "raises what is half a character": r"ValueError: half a character: \ud800",
    "raises what cannot be shown": "Unreadable: its message cannot be shown",
    "stops iterating": "StopIteration",
    "hangs": "encoding this item took longer than 0.7 s",
    "hangs lazily": "encoding this item took longer than 0.7 s",
    "NaN": "NaN or infinity",
    "zeros": "nothing in this item is known",
    "closes its file": "closed file",
    "prepare raises": "ValueError: prepare failed",
    "prepare hangs": "preparing this item took longer than 0.7 s",
}
CALL = {
    "no memory": MemoryError,
    "interrupted": KeyboardInterrupt,
    "exits": SystemExit,
    "prepare has no memory": MemoryError,
    "prepare exits": SystemExit,
    **dict.fromkeys(
        ["wide", "flat", "integers", "objects", "too few", "too many", "no rows", "no array", "a text"],
        EmbedderContractError,
    ),
}
FAULTS = [*IN_ENCODE, *IN_PREPARE]
KILLERS = ["pooled", "piped"]


def test_every_fault_is_expected_somewhere():
    assert set(FAULTS) == {*ITEM, *CALL}


@pytest.fixture(autouse=True)
def _fresh():
    RELEASE.clear()
    faulty.HANGING.clear()
    faulty.Faulty.loads = 0
    yield
    RELEASE.set()


@pytest.fixture
def opened(folder):
    """Opens a database whose embedders may take so many seconds."""
    open_ones = []

    def open_(seconds=None):
        open_ones.append(vecdb.open(folder, plugins=faulty_plugins(), embed_timeout=seconds))
        return open_ones[-1]

    yield open_
    for one in open_ones:
        one.close()


def make(database, embedder="faulty", **options):
    """A collection of three texts."""
    texts = database.create_collection("texts", embedder=embedder, embedder_options=options)
    texts.add(["one", "two", "three"], ids=list("123"), metadata=[{"n": n} for n in (1, 2, 3)])
    return texts


def state(texts):
    """All that is stored."""
    return [(r.id, r.content, r.metadata, r.vectors.tobytes()) for r in texts]


def assert_well(database, texts):
    """The rows are whole, and search finds each record as exact arithmetic does."""
    assert database.check().problems == ()
    records = list(texts)
    unit = {r.id: row(r.content) / np.linalg.norm(row(r.content)) for r in records}
    for record in records:
        assert record.vectors == pytest.approx(unit[record.id], abs=1e-6)
        distances = {id: 1 - float(vector @ unit[record.id]) for id, vector in unit.items()}
        expected = sorted(distances, key=distances.__getitem__)
        hits = texts.search(record.content, k=len(records))
        assert [hit.id for hit in hits] == expected
        assert hits[0].distance == pytest.approx(0, abs=1e-6)


def assert_goes_on(database, texts):
    """The same handle takes good records."""
    texts.add(["good at last"], ids=["last"])
    assert_well(database, texts)
    assert texts.search("good at last", k=1)[0].id == "last"


def seconds_for(fault):
    return 0.7 if "hangs" in fault else None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_embedder_leaves_the_database_as_it_was(opened, fault):
    database = opened(seconds_for(fault))
    texts = make(database)
    before = state(texts)
    expected = CALL.get(fault, EmbeddingError)
    calls = [lambda: texts.add(["a good one", fault, "another"])]
    if "hangs" not in fault:  # each costs its time
        calls += [
            lambda: texts.upsert([fault, "changed"], ids=["1", "2"]),
            lambda: texts.add([fault]),
            lambda: texts.ingest([Record("1", "changed"), Record("b", fault)]),
        ]
    for call in [*calls, lambda: texts.search(fault)]:
        with pytest.raises(expected) as caught:
            call()
        if fault in ITEM:
            assert ITEM[fault] in str(caught.value)
        assert state(texts) == before
        assert texts.failures() == []
    assert_goes_on(database, texts)


@pytest.mark.parametrize("fault", ITEM)
def test_a_bad_item_is_quarantined_with_its_cause_and_the_others_go_in(opened, fault):
    database = opened(seconds_for(fault))
    texts = make(database)
    records = [Record("a", "first"), Record("1", fault), Record("b", fault, {"bad": True}), Record("2", "changed")]
    before = state(texts)
    report = texts.ingest(records, on_error="quarantine")
    assert (report.added, report.updated, report.failed) == (1, 1, 2)
    assert {record.id: record.content for record in texts} == {"1": "one", "2": "changed", "3": "three", "a": "first"}
    assert state(texts)[0] == before[0]
    assert sorted((failure.id, failure.content, failure.metadata) for failure in texts.failures()) == [
        ("1", fault, {}),
        ("b", fault, {"bad": True}),
    ]
    assert all(ITEM[fault] in failure.error for failure in texts.failures())
    assert_well(database, texts)
    retried = texts.retry_failures()
    assert (retried.added, retried.failed) == (0, 2)
    assert len(texts.failures()) == 2
    texts.upsert(["mended"], ids=["b"])
    assert [failure.id for failure in texts.failures()] == ["1"]
    assert_goes_on(database, texts)


@pytest.mark.parametrize("fault", CALL)
def test_what_is_no_items_fault_ends_the_ingest_at_its_batch(opened, fault):
    database = opened()
    texts = make(database)
    records = [Record("a", "first"), Record("b", "second"), Record("c", fault), Record("d", "never")]
    with pytest.raises(CALL[fault]):
        texts.ingest(records, batch_size=2, on_error="quarantine")
    assert [record.id for record in texts] == ["1", "2", "3", "a", "b"]
    assert texts.failures() == []
    assert_goes_on(database, texts)


# --- a process of the embedder's is killed ------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("embedder", KILLERS)
@pytest.mark.parametrize("first", [False, True], ids=["after good ones", "before any good one"])
def test_an_item_that_kills_the_embedders_process_fails_alone(opened, embedder, first):
    database = opened()
    texts = make(database, embedder)
    if first:  # a fresh embedder, that has proven nothing yet
        database.close()
        database = opened()
        texts = database.collection("texts")
    before = state(texts)
    with pytest.raises(EmbeddingError, match="1 of 3 contents cannot be embedded"):
        texts.add(["a good one", "kills its worker", "more"])
    assert state(texts) == before
    records = [Record(str(n), f"text {n}") for n in range(10, 21)]
    records.insert(5, Record("bad", "kills its worker"))
    report = texts.ingest(records, on_error="quarantine")
    assert (report.added, report.failed) == (11, 1)
    assert [failure.id for failure in texts.failures()] == ["bad"]
    assert_goes_on(database, texts)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("embedder", KILLERS)
def test_a_process_of_the_embedders_that_was_killed_is_no_items_fault(opened, embedder):
    database = opened()
    texts = make(database, embedder)
    made = {"pooled": faulty.Pooled, "piped": faulty.Piped}[embedder]
    for call in (
        lambda: texts.search("two", k=1)[0].id == "2",
        lambda: texts.add(["four"], ids=["4"]) == ["4"],
        lambda: texts.ingest([Record(str(n), f"text {n}") for n in range(30)]).added == 26,
    ):
        os.kill(made.worker, signal.SIGKILL)
        time.sleep(0.2)  # it takes a moment to be dead
        assert call()
    assert_goes_on(database, texts)


# --- an embedder that changes, or lies ----------------------------------------------------------


@pytest.fixture
def changing():
    yield faulty.Changing
    faulty.Changing.size = faulty.DIMENSION


def test_another_dimension_than_the_stored_vectors_have_is_refused(opened, changing):
    database = opened()
    texts = database.create_collection("texts", embedder="changing")
    texts.add(["one"], ids=["1"])
    before = state(texts)
    changing.size = 7  # within the loaded embedder
    with pytest.raises(EmbedderContractError):
        texts.add(["two"])
    database.close()
    texts = opened().collection("texts")  # and in one that is loaded now
    for call in (
        lambda: texts.add(["two"]),
        lambda: texts.upsert(["two"], ids=["1"]),
        lambda: texts.ingest([Record("2", "two")], on_error="quarantine"),
        lambda: texts.search("one"),
    ):
        with pytest.raises(vecdb.EmbedderMismatchError, match="now makes vectors of length 7, and made 4"):
            call()
        assert state(texts) == before
        assert texts.failures() == []


def test_a_cost_that_lies_changes_no_vector(opened):
    database = opened()
    faulty.Faulty.costs = iter([1] * 6)
    texts = make(database, lying=True)
    lies = [-5, 10**400, 0, True, float("nan"), float("inf"), "long", None, -(10**400), 3]
    faulty.Faulty.costs = iter(lies)
    records = [Record(f"lie {n}", f"text {n}") for n in range(len(lies))]
    report = texts.ingest(records, on_error="quarantine")
    assert (report.added, report.failed) == (6, 4)
    assert [failure.id for failure in texts.failures()] == ["lie 4", "lie 5", "lie 6", "lie 7"]
    faulty.Faulty.costs = iter([1] * 100)
    assert texts.retry_failures().added == 4
    assert_well(database, texts)


@pytest.mark.filterwarnings("ignore:.*does not close:vecdb.PluginWarning")
def test_an_embedder_that_does_not_close_keeps_no_database_from_closing(opened):
    database = opened()
    make(database, "unclosable")
    database.close()
    database = opened()
    texts = database.collection("texts")
    assert_goes_on(database, texts)
    database.close()
    with pytest.raises(vecdb.DatabaseClosedError):
        len(texts)
    assert len(opened().collection("texts")) == 4


# --- while it hangs -----------------------------------------------------------------------------


def test_while_an_embedder_hangs_everything_else_goes_on(opened, folder):
    database = opened()  # for ever, until it is released
    texts = make(database)
    others = database.create_collection("others", embedder="faulty")
    brought = database.create_collection("brought", dimension=2)
    hung = threading.Thread(target=texts.add, args=(["hangs"],), kwargs={"ids": ["late"]})
    hung.start()
    try:
        faulty.HANGING.wait(60)
        assert others.add(["of another"], ids=["x"]) == ["x"]
        assert others.search("of another", k=1)[0].id == "x"
        assert brought.add([None], ids=["v"], vectors=[[1.0, 0.0]]) == ["v"]
        assert [hit.id for hit in texts.search(row("two"), k=1)] == ["2"]
        assert texts.count({"n": {"$gte": 2}}) == 2
        texts.update_metadata("1", {"n": 5})
        assert texts.delete(["3"]) == 1
        assert database.check().problems == ()
        with vecdb.open(folder, plugins=faulty_plugins(), timeout=5) as another:  # the writer's lock is free
            assert another.collection("texts").upsert(["two, changed"], ids=["2"]) == ["2"]
        assert hung.is_alive()
    finally:
        RELEASE.set()
        hung.join(60)
    assert [record.id for record in texts] == ["1", "2", "late"]
    assert_well(database, texts)


def test_a_second_thread_does_not_wait_behind_one_that_hangs(opened):
    database = opened(1.0)
    texts = make(database)
    outcomes = {}

    def add(text):
        try:
            outcomes[text] = texts.add([text], ids=[text])
        except EmbeddingError as error:
            outcomes[text] = str(error)

    hung = threading.Thread(target=add, args=("hangs",))
    hung.start()
    faulty.HANGING.wait(60)
    others = [threading.Thread(target=add, args=(f"text {n}",)) for n in range(4)]
    for thread in others:
        thread.start()
    for thread in [hung, *others]:
        thread.join(60)
        assert not thread.is_alive()
    assert "took longer than 1 s" in outcomes.pop("hangs")
    assert outcomes == {f"text {n}": [f"text {n}"] for n in range(4)}
    assert_well(database, texts)


def test_a_database_closes_while_an_embedder_hangs(opened):
    database = opened()
    texts = make(database)
    outcome = []

    def add():
        with pytest.raises(vecdb.DatabaseClosedError):
            texts.add(["hangs"])
        outcome.append("refused")

    hung = threading.Thread(target=add)
    hung.start()
    faulty.HANGING.wait(60)
    database.close()
    RELEASE.set()
    hung.join(60)
    assert outcome == ["refused"]
    assert [record.id for record in opened().collection("texts")] == ["1", "2", "3"]


def test_a_call_gives_up_when_one_embedder_after_the_other_hangs(opened):
    database = opened(0.3)
    texts = make(database)
    before = state(texts)
    records = [Record(f"r{n}", "hangs" + " " * n) for n in range(20)]
    with pytest.raises(vecdb.EmbedderTimeoutError, match=r"'faulty': encoding .* loaded anew 6 times .* gives up"):
        texts.ingest([Record("good", "good"), *records], on_error="quarantine")
    assert state(texts) == before
    assert texts.failures() == []
    assert faulty.Faulty.loads == 2 + 6  # to make the collection, to use it, and anew
    assert_goes_on(database, texts)


def test_an_embedder_that_hangs_over_its_probe_makes_no_collection(opened):
    database = opened(0.3)
    with pytest.raises(vecdb.EmbedderTimeoutError, match="encoding"):
        database.create_collection("texts", embedder="stuck")
    assert database.collections() == []


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "5", True, [1], 10**400])
def test_a_timeout_is_a_positive_number(folder, seconds):
    with pytest.raises(vecdb.InvalidInputError, match="embed_timeout"):
        vecdb.open(folder, embed_timeout=seconds)
    assert not folder.exists()
    with pytest.raises(vecdb.PluginLoadError, match="timeout must be a positive number"):
        faulty_plugins().embedder("faulty").with_timeout(seconds)


def test_what_the_caller_says_counts_and_else_what_the_embedder_says(opened):
    for asked, expected in ((None, 120.0), (60, 60), (math.inf, None)):
        database = opened(asked)
        texts = database.get_or_create_collection("texts", embedder="patient")
        [space] = texts._all_spaces
        assert space.host()._life.seconds == expected
