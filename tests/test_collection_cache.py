"""Equal content is embedded once in the life of a database; content that was cut is marked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Counting
from tests.storage.refused import DIMENSION
from vecdb.storage import embedding_cache
from vecdb.storage.engine import DATABASE_FILE


def embedded():
    """The texts that were embedded to be stored, since the last call."""
    found = Counting.documents()
    Counting.seen.clear()
    return found


def test_deleted_content_that_comes_back_is_not_embedded_again(texts):
    texts.add(["one", "two"], ids=["a", "b"])
    vector = texts.get(["a"])[0].vectors
    assert embedded() == ["one", "two"]
    texts.delete(["a"])
    texts.add(["one"], ids=["another"])
    assert embedded() == []
    np.testing.assert_array_equal(texts.get(["another"])[0].vectors, vector)
    assert texts.search("one", k=1)[0].id == "another"


def test_so_it_is_with_replaced_content_and_with_a_deleted_collection(database, texts):
    texts.add(["one"], ids=["a"])
    texts.upsert(["two"], ids=["a"])
    texts.upsert(["one"], ids=["a"])
    assert embedded() == ["one", "two"]
    database.delete_collection("texts")
    again = database.create_collection("again", embedder="counting")
    report = again.ingest([vecdb.Record("x", "two"), vecdb.Record("y", "one"), vecdb.Record("z", "three")])
    assert embedded() == ["three"]
    assert (report.embedded, report.cached) == (1, 2)
    assert database.check()


def test_the_hits_of_the_cache_are_counted_once_for_each_content(texts):
    texts.add(["one"])
    report = texts.ingest([vecdb.Record(str(n), "one" if n % 2 else f"text {n}") for n in range(10)])
    assert (report.added, report.embedded, report.cached) == (10, 5, 1)
    report = texts.ingest([vecdb.Record(str(n), "one" if n % 2 else f"text {n}") for n in range(10)])
    assert (report.unchanged, report.embedded, report.cached) == (10, 0, 0)


def test_another_fingerprint_or_metric_never_hits(database, texts):
    texts.add(["one"], ids=["a"])
    texts.delete(["a"])
    embedded()
    for options in ({"embedder_options": {"flavour": 1}}, {"metric": "l2"}):
        other = database.create_collection(str(options), embedder="counting", **options)
        other.add(["one"])
        assert embedded() == ["one"]


@pytest.mark.parametrize("deleted", [False, True], ids=["stored", "deleted"])
def test_where_the_probe_says_that_vectors_are_others_it_never_hits(database, texts, deleted):
    """`drift` stands for a library or device that makes other vectors under the same fingerprint."""
    texts.add(["one"], ids=["a"])
    if deleted:
        database.delete_collection("texts")
    embedded()
    other = database.create_collection("other", embedder="counting", embedder_options={"drift": 5.0})
    other.add(["one"])
    assert embedded() == ["one"]
    slightly = database.create_collection("slightly", embedder="counting", embedder_options={"drift": 1e-5})
    slightly.add(["one"])
    assert embedded() == []


def test_a_collection_without_an_embedder_leaves_the_cache_alone(vectors, texts):
    texts.add(["one"], ids=["a"])
    texts.delete(["a"])
    vectors.add([None], ids=["v"], vectors=np.ones((1, DIMENSION), np.float32))
    vectors.delete(where={})
    embedded()
    texts.add(["one"])
    assert embedded() == []


def test_what_is_kept_of_deleted_content_is_bounded(texts, folder, monkeypatch):
    monkeypatch.setattr(embedding_cache, "KEPT", 10)
    texts.add([f"text {n}" for n in range(30)], ids=[f"{n}" for n in range(30)])
    texts.delete([f"{n}" for n in range(15)])
    texts.delete([f"{n}" for n in range(15, 30)])
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM embedding_cache").fetchone() == (10,)
    embedded()
    texts.add(["text 29", "text 0"])
    assert embedded() == ["text 0"]


def test_a_damaged_vector_in_the_cache_is_not_handed_on(texts, folder):
    texts.add(["one"], ids=["a"])
    texts.delete(["a"])
    embedded()
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection, connection:
        connection.execute("UPDATE embedding_cache SET data = zeroblob(length(data))")
    texts.add(["one"])
    assert embedded() == ["one"]


def test_vectors_that_the_caller_brought_are_not_kept(vectors, folder):
    vectors.add([None], ids=["a"], vectors=np.ones((1, DIMENSION), np.float32))
    vectors.delete(["a"])
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM embedding_cache").fetchone() == (0,)


# --- content that is cut --------------------------------------------------------------------------


@dataclass(frozen=True)
class CuttingConfig:
    on_truncate: str = vecdb.truncation_option()


class Cutting(vecdb.Embedder):
    """Takes ten characters."""

    def load(self):
        pass

    @property
    def dimension(self):
        return 26

    def prepare(self, item):
        parts = [item[start : start + 10] for start in range(0, len(item), 10)]
        return vecdb.Windows(parts) if len(parts) > 1 else item

    def encode(self, batch, role):
        return np.array([[1.0 + text.count(chr(97 + letter)) for letter in range(26)] for text in batch])


INFO = vecdb.EmbedderInfo(
    name="cutting", summary="for the tests", modalities=frozenset({"text"}), config=CuttingConfig,
    factory=f"{__name__}:Cutting",
)  # fmt: skip
LONG = "aaaaaaaaaa" + "bbbbbbbbbb"


@pytest.fixture
def cutting(database, plugins):
    class Plugin:
        @vecdb.hookimpl
        def vecdb_register_embedders(self):
            return [INFO]

    plugins.register(Plugin())
    return lambda name, how: database.create_collection(
        name, embedder="cutting", embedder_options={"on_truncate": how}
    )


def test_a_record_says_that_its_content_was_cut(cutting):
    notes = cutting("notes", "mark")
    notes.add([LONG, "short"], ids=["long", "short"])
    assert [record.truncated for record in notes.get(["long", "short"])] == [("default",), ()]
    assert [(record.id, record.truncated) for record in notes] == [("long", ("default",)), ("short", ())]
    report = notes.ingest([vecdb.Record("more", LONG + "c"), vecdb.Record("again", LONG)])
    assert (report.embedded, report.cached, report.truncated) == (1, 1, 2)
    notes.upsert(["short"], ids=["more"])
    assert notes.get(["more"])[0].truncated == ()


def test_the_mark_comes_back_with_the_cached_vector(cutting, database):
    notes = cutting("notes", "mark")
    notes.add([LONG], ids=["long"])
    notes.delete(["long"])
    notes.add([LONG], ids=["back"])
    assert notes.get(["back"])[0].truncated == ("default",)
    assert database.check()


def test_the_mean_sees_the_end_and_is_not_marked(cutting):
    notes = cutting("notes", "mean")
    notes.add([LONG, "aaaaaaaaaa"], ids=["long", "beginning"])
    [long, beginning] = notes.get(["long", "beginning"])
    assert long.truncated == ()
    assert long.vectors[1] > beginning.vectors[1]


def test_on_error_the_long_ones_are_refused_or_set_aside(cutting):
    notes = cutting("notes", "error")
    with pytest.raises(vecdb.EmbeddingError, match="on_truncate"):
        notes.add(["short", LONG])
    assert len(notes) == 0
    report = notes.ingest([vecdb.Record("a", "short"), vecdb.Record("b", LONG)], on_error="quarantine")
    assert (report.added, report.failed, report.truncated) == (1, 1, 0)
    assert "longer than" in notes.failures()[0].error


def test_a_query_that_is_cut_is_warned_of(cutting):
    notes = cutting("notes", "mark")
    notes.add(["short"], ids=["a"])
    with pytest.warns(vecdb.VecdbWarning, match="the query is longer than the embedder 'cutting' takes"):
        assert notes.search(LONG)[0].id == "a"


def test_a_remembered_vector_whose_model_is_not_readable_any_more_is_passed_over(folder, database, texts):
    texts.add(["kept for later"], ids=["a"])
    texts.delete(["a"])
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        connection.execute("UPDATE embedding_origins SET probe = 1.5")
    texts.add(["kept for later"], ids=["b"])
    assert texts.search("kept for later", k=1)[0].id == "b"
    assert database.check(fix=True)
