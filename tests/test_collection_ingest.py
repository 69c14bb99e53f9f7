"""ingest: streamed, durable batch by batch, resumable; what is bad costs only itself."""

from __future__ import annotations

import itertools
import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Bytes, Counting
from vecdb import Record


@pytest.fixture
def texts(database):
    return database.create_collection("texts", embedder="counting")


def resident_bytes():
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def records(count, start=0):
    return (Record(str(n), f"text {n}", {"n": n}) for n in range(start, start + count))


def rows(database, sql):
    with closing(sqlite3.connect(database.path / "vecdb.sqlite3")) as connection:
        return connection.execute(sql).fetchall()


def test_the_report_counts_what_happened(texts):
    report = texts.ingest(records(25), batch_size=10)
    assert (report.added, report.updated, report.unchanged, report.failed, report.embedded) == (25, 0, 0, 0, 25)
    again = [*records(10), Record("10", "text 10", {"changed": True}), Record("11", "another text"), *records(3, 25)]
    report = texts.ingest(iter(again), batch_size=4)
    assert (report.added, report.updated, report.unchanged, report.failed, report.embedded) == (3, 2, 10, 0, 4)
    assert report.total == 15
    assert report.seconds > 0
    assert texts.count() == 28


def test_progress_is_told_after_each_batch(texts):
    calls = []
    texts.ingest(records(25), batch_size=10, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(10, None), (20, None), (25, None)]
    calls.clear()
    texts.ingest(list(records(5)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(5, 5)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")
def test_memory_does_not_grow_with_the_stream(database):
    """50,000 records, 200 MB as Python objects; 64 MiB are for SQLite's caches and a few batches."""
    vectors = database.create_collection("vectors", dimension=2, metric="l2", index="exact")
    rng = np.random.default_rng(0)
    memory = []

    def stream(count):
        for n in range(count):
            if n % 5000 == 0:
                memory.append(resident_bytes())
            yield Record(str(n), f"{n} " + "x" * 4000, {"n": n}, rng.standard_normal(2))

    report = vectors.ingest(stream(50_000), batch_size=500)
    assert (report.added, vectors.count()) == (50_000, 50_000)
    assert max(memory) - memory[0] < 64 * 2**20


def test_interrupted_and_repeated_nothing_is_embedded_twice(texts):
    class PlugPulled(Exception):
        pass

    def interrupted():
        yield from records(37)
        raise PlugPulled

    with pytest.raises(PlugPulled):
        texts.ingest(interrupted(), batch_size=10)
    assert texts.count() == 30
    report = texts.ingest(records(60), batch_size=10)
    assert (report.added, report.unchanged, report.embedded) == (30, 30, 30)
    assert sorted(Counting.documents()) == sorted(f"text {n}" for n in range(60))


def test_of_two_records_with_one_id_the_later_counts(texts):
    stream = [Record("x", "first"), Record("y", "other"), Record("x", "second"), Record("x", "third", {"n": 3})]
    report = texts.ingest(stream)
    assert (report.added, report.updated) == (2, 2)
    assert [(record.id, record.content, record.metadata) for record in texts] == [
        ("x", "third", {"n": 3}),
        ("y", "other", {}),
    ]


def test_records_may_bring_vectors(database):
    spaces = {"default": {"embedder": "counting", "source": "title"}, "extra": {"dimension": 2, "metric": "l2"}}
    mixed = database.create_collection("mixed", spaces=spaces)
    mixed.ingest(
        [
            Record("both", {"title": "a"}, {}, {"extra": [1, 2]}),
            Record("vector", None, {}, {"extra": np.array([3, 4])}),
            Record("text", {"title": "b"}),
        ]
    )
    assert [hit.id for hit in mixed.search([3, 4], space="extra")] == ["vector", "both"]
    assert {hit.id for hit in mixed.search("a")} == {"both", "text"}
    found = {record.id: record.vectors for record in mixed}
    assert {id: sorted(vectors) for id, vectors in found.items()} == {
        "both": ["default", "extra"],
        "vector": ["extra"],
        "text": ["default"],
    }
    np.testing.assert_array_equal(found["vector"]["extra"], [3, 4])
    plain = database.create_collection("plain", dimension=2, metric="ip")
    plain.ingest([Record("x", None, {}, [1, 2])])
    np.testing.assert_array_equal(plain.get(["x"])[0].vectors, [1, 2])


def test_raise_ends_at_the_first_bad_batch(texts):
    stream = itertools.chain(records(15), [Record("bad", "unreadable")], records(10, 15))
    with pytest.raises(vecdb.EmbeddingError, match="nothing was stored") as caught:
        texts.ingest(stream, batch_size=10)
    assert [error.index for error in caught.value.errors] == [5]
    assert texts.count() == 10


BAD = [
    Record("unreadable", "unreadable text", {"kept": True}),
    Record("", "no id"),
    Record("no text", ""),
    Record("metadata", "good text", {"a": {1, 2}}),
    Record(5, "id of another kind"),
    Record("kind", 5.5),
    Record("vector", "good text", {}, [1.0] * 8),
    "not a record",
    None,
]


def test_bad_records_cost_only_themselves(texts):
    stream = itertools.chain(records(7), BAD, records(7, 7))
    report = texts.ingest(stream, batch_size=5, on_error="quarantine")
    assert (report.added, report.failed, report.total) == (14, len(BAD), 14 + len(BAD))
    assert texts.count() == 14
    failures = texts.failures()
    assert len(failures) == len(BAD)
    by_id = {failure.id: failure for failure in failures if failure.id}
    assert set(by_id) == {"unreadable", "no text", "metadata", "kind", "vector"}
    kept = by_id["unreadable"]
    assert (kept.content, kept.metadata, kept.retryable) == ("unreadable text", {"kept": True}, True)
    assert "this text cannot be read" in kept.error
    assert all(failure.error for failure in failures)
    assert not by_id["kind"].retryable
    assert texts.search("text 3", k=1)[0].id == "3"


def test_the_same_stream_again_adds_no_failure_twice(texts):
    for _ in range(3):
        texts.ingest(itertools.chain(records(3), BAD), on_error="quarantine")
    assert len(texts.failures()) == len(BAD)


def test_a_bad_new_version_leaves_the_old_one(texts):
    texts.ingest([Record("x", "old")])
    report = texts.ingest([Record("x", "unreadable now"), Record("y", "new")], on_error="quarantine")
    assert (report.added, report.updated, report.failed) == (1, 0, 1)
    assert texts.get(["x"])[0].content == "old"
    assert [failure.content for failure in texts.failures()] == ["unreadable now"]


def test_a_record_that_goes_in_after_all_leaves_the_quarantine(texts):
    texts.ingest([Record("x", "unreadable")], on_error="quarantine")
    texts.upsert(["readable"], ids=["x"])
    assert texts.failures() == []
    for stream in ([Record("z", ""), Record("z", "good")], [Record("z", "unreadable"), Record("z", "good")]):
        texts.ingest(stream, on_error="quarantine")
        assert texts.failures() == []


def test_failures_are_tried_again_after_the_repair(texts, monkeypatch):
    texts.ingest([Record(str(n), f"unreadable {n}", {"n": n}) for n in range(3)], on_error="quarantine")
    report = texts.retry_failures()
    assert (report.added, report.failed) == (0, 3)
    assert len(texts.failures()) == 3
    monkeypatch.setattr(Counting, "prepare", lambda self, item: item)
    report = texts.retry_failures()
    assert (report.added, report.failed, report.total) == (3, 0, 3)
    assert texts.failures() == []
    assert [(record.id, record.metadata) for record in texts] == [(str(n), {"n": n}) for n in range(3)]
    assert texts.retry_failures().total == 0


def test_bytes_of_failures_are_kept_and_go_with_them(database, monkeypatch):
    pictures = database.create_collection("pictures", embedder="bytes")
    broken = [vecdb.Image(b"broken one"), vecdb.Audio(b"broken two")]
    stream = [Record("x", broken[0]), Record("y", broken[1]), Record("z", vecdb.Image(b"good"))]
    report = pictures.ingest(stream, on_error="quarantine")
    assert (report.added, report.failed) == (1, 2)
    assert [failure.content for failure in pictures.failures()] == broken
    assert rows(database, "SELECT count(*) FROM blobs") == [(3,)]
    pictures.ingest([Record("x", vecdb.Image(b"broken three"))], on_error="quarantine")
    assert rows(database, "SELECT count(*) FROM blobs") == [(3,)]  # the bytes of the older failure of x are gone
    monkeypatch.setattr(Bytes, "prepare", lambda self, item: item.data)
    pictures.retry_failures()
    assert [record.content for record in pictures.get(["x", "y"])] == [vecdb.Image(b"broken three"), broken[1]]
    pictures.delete(where={})
    assert rows(database, "SELECT count(*) FROM blobs") == [(0,)]
    assert database.check()


def test_an_embedder_that_is_broken_as_a_whole_is_not_quarantined(texts, monkeypatch):
    monkeypatch.setattr(Counting, "encode", lambda self, batch, role: np.zeros((1, 3)))
    with pytest.raises(vecdb.EmbedderContractError):
        texts.ingest(records(5), on_error="quarantine")
    assert texts.count() == 0
    assert texts.failures() == []


def test_deleting_ids_forgets_what_was_set_aside_under_them(tmp_path: Path) -> None:
    with vecdb.open(tmp_path / "test.vecdb") as db:
        points = db.create_collection("points", dimension=2)
        bad = [vecdb.Record(id, "no vector") for id in ("a", "b")]
        assert points.ingest(bad, on_error="quarantine").failed == 2
        assert points.delete(where={}) == 0
        assert [failure.id for failure in points.failures()] == ["a", "b"]
        assert points.delete(["a"]) == 0
        assert [failure.id for failure in points.failures()] == ["b"]


def test_what_brought_vectors_cannot_be_retried_without_them(tmp_path: Path) -> None:
    with vecdb.open(tmp_path / "test.vecdb") as db:
        points = db.create_collection("points", dimension=2)
        points.ingest([vecdb.Record("a", "text", vectors=[1.0, 2.0, 3.0])], on_error="quarantine")
        (failure,) = points.failures()
        assert (failure.id, failure.content, failure.retryable) == ("a", "text", False)
        assert points.retry_failures().total == 0
        points.ingest([vecdb.Record("a", "text", vectors=[1.0, 2.0])])
        assert points.failures() == []


def test_records_with_vectors_can_be_compared() -> None:
    assert vecdb.Record("a", "x", {}, np.zeros(2)) == vecdb.Record("a", "x", {}, np.ones(2))
    assert vecdb.Record("a", "x") != vecdb.Record("b", "x")
