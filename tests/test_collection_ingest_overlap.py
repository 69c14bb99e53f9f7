"""ingest: reading, embedding and storing overlap, and nobody can tell but by the clock."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import sqlite3
import threading
import time
import traceback
import warnings

import pytest

import vecdb
from tests.storage.embedders import Counting
from vecdb import Record

WAIT = 20.0  # seconds, after which something hangs
SETTING = contextvars.ContextVar("setting", default="none")


def records(count, start=0):
    return [Record(str(n), f"text {n}", {"n": n}) for n in range(start, start + count)]


def ids(collection):
    return [record.id for record in collection]


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread not in before and "ingest" in thread.name] == []


@pytest.fixture
def other(texts, folder, plugins):
    """The same collection, as another process sees it."""
    with vecdb.open(folder, read_only=True, plugins=plugins) as reader:
        yield reader.collection("texts")


def encoding(monkeypatch, before):
    """Call `before(texts)` in each `encode` of documents of ours."""
    plain = Counting.encode

    def encode(self, batch, role):
        if any(text.startswith("text ") for text in batch):
            before(batch)
        return plain(self, batch, role)

    monkeypatch.setattr(Counting, "encode", encode)


def test_the_next_batch_is_read_and_the_last_one_stored_while_the_model_works(texts, other, monkeypatch):
    reading = {n: threading.Event() for n in range(0, 40, 10)}
    seen = []

    def before(batch):
        first = int(batch[0].removeprefix("text ")) // 10 * 10
        assert reading.get(first + 10, reading[0]).wait(WAIT)  # its first record is read, or there is none
        until(lambda: other.count() >= first)
        seen.append(first)

    def stream():
        for record in records(40):
            if record.metadata["n"] in reading:
                reading[record.metadata["n"]].set()
            yield record

    encoding(monkeypatch, before)
    texts.ingest(stream(), batch_size=10)
    assert seen == [0, 10, 20, 30]


def test_no_batch_is_read_before_all_but_the_last_one_are_durable(texts, other):
    def stream():
        for record in records(45):
            begun = record.metadata["n"] // 10 * 10
            assert begun - 10 <= other.count() <= begun
            assert other.count() % 10 == 0
            yield record

    texts.ingest(stream(), batch_size=10, progress=lambda done, _: other.count() == done or pytest.fail("not durable"))
    assert other.count() == 45


def test_a_batch_is_stored_though_the_stream_pauses(texts, other):
    def stream():
        yield from records(3)
        until(lambda: other.count() == 3)
        yield from records(1, 3)
        yield from records(2, 4)
        until(lambda: other.count() == 6)

    assert texts.ingest(stream(), batch_size=3).added == 6


def test_the_stream_and_progress_run_on_the_callers_thread(texts):
    own, calls = threading.get_ident(), []
    with contextlib.closing(sqlite3.connect(":memory:")) as source:  # refuses every other thread
        source.execute("CREATE TABLE numbers (n INTEGER)")
        source.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(25)])
        stream = (Record(str(n), f"text {n}") for (n,) in source.execute("SELECT n FROM numbers"))
        texts.ingest(stream, batch_size=10, progress=lambda *told: calls.append((*told, threading.get_ident())))
    assert calls == [(10, None, own), (20, None, own), (25, None, own)]


# --- batches that depend on one another ---------------------------------------------------------


def test_what_comes_again_in_the_next_batch_is_embedded_once_and_the_later_counts(texts):
    stream = [
        *(Record(str(n), "the same") for n in range(4)),
        *(Record(str(n), "the same") for n in range(2, 6)),  # ids and contents of the batch before
        *(Record(str(n), f"other {n}") for n in range(4, 8)),
        *(Record(str(n), "the same") for n in range(4, 8)),  # back to what it was
    ]
    report = texts.ingest(stream, batch_size=4)
    assert (report.added, report.updated, report.unchanged) == (8, 6, 2)
    assert sorted(Counting.documents()) == [*(f"other {n}" for n in range(4, 8)), "the same"]
    assert report.embedded == 5
    assert {record.content for record in texts} == {"the same"}
    assert ids(texts) == [str(n) for n in range(8)]


def test_another_writer_between_embedding_and_storing_is_seen(texts, monkeypatch):
    texts.add(["text 3"], ids=["3"])
    encoding(monkeypatch, lambda batch: texts.delete(["3"]))  # which the batch found unchanged
    report = texts.ingest(records(4, 2), batch_size=4)
    assert (report.added, report.embedded, report.cached) == (4, 3, 1)
    assert ids(texts) == ["2", "3", "4", "5"]


# --- ends ---------------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_embedded_ends_it_though_the_next_one_is_read(texts):
    stream = [*records(10), Record("bad", "unreadable"), *records(30, 10)]
    with pytest.raises(vecdb.EmbeddingError, match="1 of 10 contents") as caught:
        texts.ingest(iter(stream), batch_size=10)
    assert ids(texts) == [str(n) for n in range(10)]
    [error] = caught.value.errors
    assert error.index == 0
    where = traceback.extract_tb(error.__cause__.__traceback__)
    assert any(frame.filename.endswith("embedders.py") and frame.name == "prepare" for frame in where)


@pytest.mark.parametrize("bad", [Record("bad", ""), Record("bad", "unreadable"), "no record"])
def test_of_two_errors_that_of_the_earlier_batch_is_told(texts, bad):
    class PlugPulled(Exception):
        pass

    def stream():
        yield from records(5)
        yield bad
        yield from records(4, 5)
        raise PlugPulled

    with pytest.raises(vecdb.VecdbError):
        texts.ingest(stream(), batch_size=5)
    assert ids(texts) == [str(n) for n in range(5)]


@pytest.mark.parametrize("error", [ValueError, vecdb.InvalidInputError, MemoryError])
def test_an_error_of_the_stream_comes_after_the_batches_before_it(texts, error):
    def stream():
        yield from records(12)
        raise error("mine")

    with pytest.raises(error, match="mine") as caught:
        texts.ingest(stream(), batch_size=5)
    assert caught.traceback[-1].name == "stream"
    assert len(texts) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_it_between_two_calls_of_the_model(texts, monkeypatch, error):
    begun, go_on = threading.Event(), threading.Event()
    calls = []

    def before(batch):
        if min(int(text.removeprefix("text ")) for text in batch) >= 100:
            calls.append(len(batch))
            begun.set()
            assert go_on.wait(WAIT)

    def stream():
        yield from records(200)
        assert begun.wait(WAIT)
        threading.Timer(0.2, go_on.set).start()
        raise error

    encoding(monkeypatch, before)
    with pytest.raises(error):
        texts.ingest(stream(), batch_size=100)
    assert ids(texts) == [str(n) for n in range(100)]
    assert len(calls) == 1  # of seven: the second batch is not waited for
    assert texts.ingest(records(200), batch_size=100).total == 200
    assert len(texts) == 200


def test_where_progress_raises_no_later_batch_goes_in(texts):
    def progress(done, _):
        if done == 20:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        texts.ingest(records(50), batch_size=10, progress=progress)
    assert len(texts) == 20


def test_closing_the_database_ends_it(texts, database, folder, plugins):
    with pytest.raises(vecdb.DatabaseClosedError):
        texts.ingest(records(50), batch_size=10, progress=lambda done, _: done == 20 and database.close())
    with vecdb.open(folder, plugins=plugins) as again:
        assert len(again.collection("texts")) == 20


def test_where_no_thread_is_to_be_had_it_does_without(texts, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    calls = []
    texts.ingest(records(25), batch_size=10, progress=lambda done, _: calls.append(done))
    assert calls == [10, 20, 25]
    with pytest.raises(vecdb.EmbeddingError):
        texts.ingest([*records(10, 25), Record("bad", "unreadable")], batch_size=10)
    assert len(texts) == 35


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("ending", ["leaves", "goes on"])
def test_a_fork_of_the_stream_harms_neither_side(texts, database, ending):
    children = []

    def stream():
        for record in records(60):
            if record.id == "25":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: there are threads
                    children.append(os.fork())
                if children == [0]:
                    signal.alarm(int(WAIT))  # for a child that hangs
                    if ending == "leaves":
                        raise InterruptedError
            yield record

    try:
        added = texts.ingest(stream(), batch_size=10).added
    except InterruptedError:
        os._exit(0)
    if children == [0]:
        os._exit(0 if len(texts) == 60 else 1)
    assert os.waitpid(children[0], 0)[1] == 0
    assert len(texts) == 60
    assert added <= 60
    assert database.check().problems == ()


# --- what surrounds the call --------------------------------------------------------------------


def test_warnings_and_context_are_those_of_the_caller(texts, monkeypatch):
    seen = []

    def before(batch):
        seen.append(SETTING.get())
        warnings.warn("the model is old", UserWarning, stacklevel=1)

    encoding(monkeypatch, before)
    SETTING.set("of the caller")
    with pytest.warns(UserWarning, match="old"):
        texts.ingest(records(3))
    with pytest.raises(vecdb.EmbeddingError, match="the model is old"):  # warnings are errors in this suite
        texts.ingest(records(3, 3))
    assert set(seen) == {"of the caller"}
    assert len(texts) == 3


def test_two_ingests_at_once_share_an_embedder_that_is_not_thread_safe(texts, monkeypatch):
    inside, worst, errors = [], [], []

    def before(batch):
        inside.append(1)
        worst.append(len(inside))
        time.sleep(0.001)
        inside.pop()

    def run(start):
        try:
            texts.ingest(records(100, start), batch_size=20)
        except BaseException as error:
            errors.append(error)

    encoding(monkeypatch, before)
    threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert max(worst) == 1
    assert sorted(map(int, ids(texts))) == list(range(200))
