"""add, upsert, update_metadata, delete: all or nothing, nothing done twice, order kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Counting, plugins_for_tests


@pytest.fixture
def texts(database):
    return database.create_collection("texts", embedder="counting")


@pytest.fixture
def vectors(database):
    return database.create_collection("vectors", dimension=2, metric="l2")


class Changes:
    """Whether anyone wrote to the database file, seen from a connection of its own."""

    def __init__(self, database):
        self._connection = sqlite3.connect(database.path / "vecdb.sqlite3", isolation_level=None)
        self._version()

    def _version(self):
        (self._last,) = self._connection.execute("PRAGMA data_version").fetchone()
        return self._last

    def since_last_time(self):
        before = self._last
        return self._version() != before

    def rows(self, sql):
        return self._connection.execute(sql).fetchall()

    def close(self):
        self._connection.close()


@pytest.fixture
def changes(database):
    with closing(Changes(database)) as watched:
        yield watched


def state(collection):
    return [(record.id, record.content, record.metadata) for record in collection]


# --- add ----------------------------------------------------------------------------------------


def test_add_returns_the_ids_in_order(texts):
    assert texts.add(["a", "b"], ids=["y", "x"]) == ["y", "x"]
    made = texts.add(["c", "d"])
    assert len(set(made)) == 2
    assert all(len(id) == 36 and id in texts for id in made)
    assert state(texts) == [("y", "a", {}), ("x", "b", {}), (made[0], "c", {}), (made[1], "d", {})]
    assert len(texts) == texts.count() == 4


def test_adding_nothing_is_no_error(texts, changes):
    assert texts.add([]) == texts.upsert([]) == []
    assert not changes.since_last_time()


def test_add_is_all_or_nothing(texts, vectors, changes):
    texts.add(["kept"], ids=["x"])
    changes.since_last_time()
    before = state(texts)
    for attempt in (
        lambda: texts.add(["new", "unreadable"]),
        lambda: texts.add(["new", "other"], ids=["y", "x"]),
        lambda: texts.upsert(["changed", "unreadable"], ids=["x", "y"]),
        lambda: texts.add(["new", "other"], metadata=[{}, {"a": {1}}]),
    ):
        with pytest.raises(vecdb.VecdbError):
            attempt()
        assert state(texts) == before
    assert not changes.since_last_time()


def test_a_failure_while_writing_leaves_nothing(texts, changes, monkeypatch):
    texts.add(["kept"], ids=["x"])
    changes.since_last_time()

    def fails(*arguments):
        raise sqlite3.OperationalError("a fault in the middle")

    monkeypatch.setattr("vecdb.storage.writes._put_vectors", fails)  # the rows of the records are written by then
    with pytest.raises(vecdb.StorageError, match="a fault in the middle"):
        texts.upsert(["new", "changed"], ids=["y", "x"])
    monkeypatch.undo()
    assert not changes.since_last_time()
    assert state(texts) == [("x", "kept", {})]
    texts.upsert(["new", "changed"], ids=["y", "x"])
    assert state(texts) == [("x", "changed", {}), ("y", "new", {})]


def test_what_add_acknowledged_is_found_at_once_in_every_handle(texts, folder, plugins):
    with vecdb.open(folder, plugins=plugins) as other, vecdb.open(folder, read_only=True, plugins=plugins) as reader:
        for number in range(20):
            texts.add([f"text {number}"], ids=[str(number)])
            for database in (other, reader):
                again = database.collection("texts")
                assert again.search(f"text {number}", k=1)[0].id == str(number)
                assert str(number) in again


@pytest.mark.parametrize(("on_conflict", "expected"), [("skip", "old"), ("replace", "new")])
def test_on_conflict(texts, on_conflict, expected):
    texts.add(["old"], ids=["x"], metadata=[{"n": 1}])
    assert texts.add(["new", "other"], ids=["x", "y"], on_conflict=on_conflict) == ["x", "y"]
    assert [content for _, content, _ in state(texts)] == [expected, "other"]


def test_what_is_skipped_is_not_embedded(texts):
    texts.add(["old"], ids=["x"])
    texts.add(["new"], ids=["x"], on_conflict="skip")
    assert Counting.documents() == ["old"]


# --- upsert -------------------------------------------------------------------------------------


def test_an_unchanged_record_is_neither_embedded_nor_written(texts, vectors, changes):
    texts.add(["a", "b"], ids=["x", "y"], metadata=[{"n": 1, "m": [1.0]}, None])
    vectors.add([None, "text"], ids=["x", "y"], vectors=[[1, 2], [3, 4]])
    changes.since_last_time()
    Counting.seen.clear()
    texts.upsert(["a", "b"], ids=["x", "y"], metadata=[{"n": 1, "m": [1.0]}, {}])
    vectors.upsert([None, "text"], ids=["x", "y"], vectors=np.array([[1, 2], [3, 4]]))
    assert Counting.seen == []
    assert not changes.since_last_time()


@pytest.mark.parametrize(("old", "new"), [({"n": 1}, {"n": 1.0}), ({"n": 1}, {"n": True}), ({}, {"a": None})])
def test_changed_metadata_alone_embeds_nothing(texts, changes, old, new):
    texts.add(["a"], ids=["x"], metadata=[old])
    labels = changes.rows("SELECT label FROM record_vectors")
    Counting.seen.clear()
    texts.upsert(["a"], ids=["x"], metadata=[new])
    assert repr(texts.get(["x"])[0].metadata) == repr(new)
    assert Counting.seen == []
    assert changes.rows("SELECT label FROM record_vectors") == labels


def test_changed_content_gets_a_new_label_and_the_old_vector_goes(texts, changes):
    texts.add(["a", "b"], ids=["x", "y"])
    (old,) = changes.rows("SELECT label FROM record_vectors JOIN records ON key = record_key WHERE id = 'x'")
    texts.upsert(["c"], ids=["x"])
    (new,) = changes.rows("SELECT label FROM record_vectors JOIN records ON key = record_key WHERE id = 'x'")
    assert new > old
    assert changes.rows("SELECT label FROM removals") == [old]
    assert len(changes.rows("SELECT * FROM vectors")) == 2
    assert texts.search("c", k=1)[0].distance == pytest.approx(0, abs=1e-6)
    assert texts.search("a", k=2)[0].distance > 0.01


def test_replaced_records_keep_their_place(texts):
    texts.add(list("abcde"), ids=list("vwxyz"))
    texts.upsert(["new", "a"], ids=["x", "v"])
    texts.update_metadata("w", {"n": 1})
    texts.add(["newer"], ids=["y"], on_conflict="replace")
    assert [record.id for record in texts] == list("vwxyz")
    texts.delete(["v"])
    texts.add(["a"], ids=["v"])
    assert [record.id for record in texts] == list("wxyzv")


def test_another_vector_for_the_same_content_replaces_it(vectors):
    vectors.add(["same"], ids=["x"], vectors=[[1, 2]])
    vectors.upsert(["same"], ids=["x"], vectors=[[5, 6]])
    np.testing.assert_array_equal(vectors.get(["x"])[0].vectors, [5, 6])
    assert vectors.search([5, 6])[0].distance == 0


# --- nothing is embedded twice ------------------------------------------------------------------


def test_equal_content_is_embedded_once(database, texts, changes):
    texts.add(["same", "same", "other"], ids=list("xyz"))
    texts.add(["same"], ids=["again"])
    texts.upsert(["same"], ids=["z"])
    assert sorted(Counting.documents()) == ["other", "same"]
    assert changes.rows("SELECT count(*) FROM vectors") == [(1,)]
    twin = database.create_collection("twin", embedder="counting")
    Counting.seen.clear()
    twin.add(["same"])
    assert Counting.documents() == []
    np.testing.assert_array_equal(next(iter(twin)).vectors, next(iter(texts)).vectors)


def test_equal_content_is_embedded_again_where_vectors_differ(database, texts):
    texts.add(["same"])
    for name, options in (
        ("flavour", {"embedder_options": {"flavour": 1}}),
        ("metric", {"metric": "l2"}),
    ):
        Counting.seen.clear()
        database.create_collection(name, embedder="counting", **options).add(["same"])
        assert Counting.documents() == ["same"]


def test_another_collection_does_not_inherit_a_damaged_vector(database, changes):
    texts = database.create_collection("texts", embedder="counting", index="exact")
    texts.add(["same"])
    good = next(iter(texts)).vectors
    changes.rows("UPDATE vectors SET data = CAST(zeroblob(28) || x'0000803f' AS BLOB)")
    twin = database.create_collection("twin", embedder="counting", index="exact")
    twin.add(["same"])
    np.testing.assert_array_equal(next(iter(twin)).vectors, good)


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_a_record_that_others_change_during_the_embedding(texts, folder, monkeypatch, change):
    """What was unchanged when the call began needs a vector after all."""
    texts.add(["a", "b"], ids=["x", "y"])
    other = vecdb.open(folder, plugins=plugins_for_tests())
    others = other.collection("texts")
    encode = Counting.encode
    attempts = []

    def meddling(self, batch, role):
        attempts.append(batch)
        if len(attempts) == 1:
            if change == "deleted":
                others.delete(["x", "y"])
            else:
                others.update_metadata("y", {"by": "others"})
                others.upsert(["another"], ids=["x"])
        return encode(self, batch, role)

    monkeypatch.setattr(Counting, "encode", meddling)
    texts.upsert(["a", "b", "new"], ids=["x", "y", "z"], metadata=[{}, {"n": 1}, {}])
    monkeypatch.undo()
    other.close()
    expected = [("x", "a", {}), ("y", "b", {"n": 1}), ("z", "new", {})]
    assert state(texts) == expected
    for id, content, _ in expected:
        hit = texts.search(content, k=1)[0]
        assert (hit.id, hit.distance) == (id, pytest.approx(0, abs=1e-6))


# --- delete, get, count -------------------------------------------------------------------------


def test_delete_by_ids_by_filter_and_by_both(texts):
    texts.add(list("abcdef"), ids=list("uvwxyz"), metadata=[{"n": n} for n in range(6)])
    assert texts.delete(["u", "missing", "u"]) == 1
    assert texts.delete(where={"n": {"$gte": 4}}) == 2
    assert texts.delete(["v", "w"], where={"n": {"$lt": 2}}) == 1
    assert [record.id for record in texts] == ["w", "x"]
    assert texts.delete(where={}) == 2
    assert texts.count() == 0
    assert texts.search("a") == []


def test_deleted_records_take_their_vectors_unless_shared(texts, changes):
    texts.add(["same", "same", "other"], ids=list("xyz"))
    texts.delete(["x", "z"])
    assert changes.rows("SELECT count(*) FROM vectors") == changes.rows("SELECT count(*) FROM record_vectors") == [(1,)]
    assert [hit.id for hit in texts.search("same")] == ["y"]
    texts.delete(["y"])
    assert changes.rows("SELECT count(*) FROM vectors") == [(0,)]
    texts.add(["same"], ids=["x"])
    assert [hit.id for hit in texts.search("same")] == ["x"]


def test_labels_and_keys_are_never_reused(texts, changes):
    seen = set()
    for _ in range(4):
        texts.add(["a", "b"], ids=["x", "y"])
        labels = {label for (label,) in changes.rows("SELECT label FROM vectors")}
        keys = {-key for (key,) in changes.rows("SELECT key FROM records")}
        assert not seen & (labels | keys)
        seen |= labels | keys
        texts.delete(where={})


def test_get_keeps_the_order_asked_for_and_skips_what_is_missing(texts):
    texts.add(["a", "b"], ids=["x", "y"], metadata=[{"n": 1}, {}])
    assert [record.id for record in texts.get(["y", "missing", "x", "y"])] == ["y", "x", "y"]
    assert texts.get([]) == []
    (record,) = texts.get(["x"])
    assert (record.content, record.metadata) == ("a", {"n": 1})
    assert record.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(record.vectors), 1, atol=1e-6)


def test_update_metadata_replaces_it_whole(texts, changes):
    texts.add(["a"], ids=["x"], metadata=[{"n": 1, "m": 2}])
    Counting.seen.clear()
    texts.update_metadata("x", {"k": 3})
    assert texts.get(["x"])[0].metadata == {"k": 3}
    assert texts.count({"n": 1}) == 0
    assert [hit.metadata for hit in texts.search("a", where={"k": 3})] == [{"k": 3}]
    assert not any(role == "document" for _, role in Counting.seen)


def test_iterating_while_writing(texts):
    """A page at a time: what is deleted meanwhile is not seen, nor what is added, and nothing comes twice."""
    texts.add([f"text {n}" for n in range(2500)], ids=[str(n) for n in range(2500)])
    seen = []
    for record in texts:
        seen.append(record.id)
        if len(seen) == 500:
            texts.delete([str(n) for n in range(1000, 2400)])
            texts.add(["late"], ids=["late"])
    assert seen == [str(n) for n in [*range(1000), *range(2400, 2500)]]


def test_reading_records_while_ingesting_them(database, texts):
    """One collection fed from another, or from itself, without reading it into memory first."""
    texts.add([f"text {n}" for n in range(1500)], ids=[str(n) for n in range(1500)])
    copy = database.create_collection("copy", embedder="counting")
    Counting.seen.clear()
    report = copy.ingest(vecdb.Record(record.id, record.content, {"copied": True}) for record in texts)
    assert (report.added, report.embedded, Counting.documents()) == (1500, 0, [])
    report = texts.ingest(vecdb.Record(record.id, record.content, {"seen": True}) for record in texts)
    assert (report.added, report.updated) == (0, 1500)


def test_brought_vectors_are_stored_as_given_or_with_length_1(database):
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32) * 1000
    for metric in ("l2", "ip", "cosine"):
        collection = database.create_collection(metric, dimension=3, metric=metric)
        collection.add([None] * 5, ids=list("abcde"), vectors=rows)
        stored = np.stack([record.vectors for record in collection.get(list("abcde"))])
        if metric == "cosine":
            np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
            np.testing.assert_allclose(stored, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-6)
        else:
            np.testing.assert_array_equal(stored, rows)
