"""What a caller can pass wrongly to searches, collections and databases: a clear error, and nothing done."""

from __future__ import annotations

import numpy as np
import pytest

import vecdb
from tests.storage.refused import GOOD, refused
from vecdb import (
    CollectionExistsError,
    CollectionNotFoundError,
    DimensionMismatchError,
    EmbedderNotFoundError,
    EmbeddingError,
    InvalidInputError,
    NonFiniteVectorError,
    NotFoundError,
    RecordNotFoundError,
    UnsupportedContentError,
)

# --- searching ----------------------------------------------------------------------------------


def test_a_query_of_a_kind_that_cannot_be_searched(vectors, texts):
    vectors.add([None], vectors=[GOOD])
    texts.add(["a"])
    refused(InvalidInputError, "has no embedder, so a query must be a vector", vectors.search, "a text")
    refused(DimensionMismatchError, "dimension 4", vectors.search, GOOD[:3])
    refused(DimensionMismatchError, "dimension 8", texts.search, GOOD)
    refused(InvalidInputError, "shape", vectors.search, [GOOD])
    refused(InvalidInputError, "real numbers", vectors.search, ["a"] * 4)
    for query in (None, 5, {"title": "a"}, b"bytes"):
        refused(UnsupportedContentError, "the query is a", texts.search, query)
    with pytest.raises(EmbeddingError, match="the query cannot be embedded: this text cannot be read"):
        texts.search("unreadable")
    refused(InvalidInputError, "numbers|shape", vectors.search, [1.0, [2.0, 3.0], 4.0, 5.0])


@pytest.mark.parametrize("number", [0, -1, 1.5, "10", True, None, 2**31, float("nan")])
def test_k_and_ef_out_of_range(vectors, number):
    refused(InvalidInputError, "k must be a positive integer", vectors.search, GOOD, k=number)
    if number is not None:
        refused(InvalidInputError, "ef must be a positive integer", vectors.search, GOOD, ef=number)


def test_other_arguments_of_search(vectors):
    refused(NotFoundError, "no space 'x'; it has 'default'", vectors.search, GOOD, space="x")
    refused(NotFoundError, "no space", vectors.search, GOOD, space=None)
    refused(InvalidInputError, "exact must be", vectors.search, GOOD, exact=1)
    refused(vecdb.FilterError, "must be a dict", vectors.search, GOOD, where=[])
    refused(vecdb.FilterError, "must be a dict", vectors.search, GOOD, where=np.zeros(3))
    assert vectors.search_batch([]) == []


# --- other calls --------------------------------------------------------------------------------


def test_delete_says_what_it_needs(texts):
    texts.add(["a"])
    refused(InvalidInputError, r"where=\{\} deletes all", texts.delete)
    assert texts.delete(ids=[]) == 0
    assert texts.count() == 1


def test_updating_a_record_that_is_not_there(texts):
    error = refused(RecordNotFoundError, "no record 'x'", texts.update_metadata, "x", {})
    assert error.name == "x"


def test_options_of_add_and_ingest(texts):
    refused(InvalidInputError, "error, skip, replace", texts.add, ["a"], on_conflict="overwrite")
    refused(InvalidInputError, "'raise' or 'quarantine'", texts.ingest, [], on_error="skip")
    for size in (0, -1, 2.5, True, "10"):
        refused(InvalidInputError, "batch_size", texts.ingest, [], batch_size=size)
    refused(InvalidInputError, "ingest takes vecdb.Record items, not str", texts.ingest, ["a text"], at=0)


def test_ingest_names_the_position_of_a_bad_record(vectors, fields):
    record = vecdb.Record
    good, other = record("good", None, {}, GOOD), record("other", None, {}, GOOD)
    for kind, bad in (
        (NonFiniteVectorError, record("bad", None, {}, [np.nan] * 4)),
        (DimensionMismatchError, record("bad", None, {}, GOOD[:3])),
        (InvalidInputError, record("bad", None, {}, [0.0] * 4)),
        (InvalidInputError, record("bad", None, {}, {"other": GOOD})),
        (InvalidInputError, record("bad", None, {}, None)),
        (InvalidInputError, record("", None, {}, GOOD)),
        (InvalidInputError, record("bad", "", {}, GOOD)),
        (InvalidInputError, record("bad", None, {"a": {1}}, GOOD)),
    ):
        refused(kind, "vector|space|id|text|metadata", vectors.ingest, [good, other, bad], at=2)
    refused(InvalidInputError, "empty", fields.ingest, [record("a", {"title": "a"}), record("b", {"title": " "})], at=1)
    assert vectors.count() == fields.count() == 0


# --- collections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", " ", "a/b", "a\\b", "a\nb", "a\0b", "a\x7fb", " a", "a ", "\ud800", "x" * 513, "é" * 257, 5, None, b"a"],
)
def test_names_of_collections(database, name):
    for create in (database.create_collection, database.get_or_create_collection):
        refused(InvalidInputError, "name.*(choose another|shorten)", create, name, dimension=4)
    refused(CollectionNotFoundError, "there is no collection", database.collection, name)
    refused(CollectionNotFoundError, "there is no collection", database.delete_collection, name)
    assert database.collections() == []


@pytest.mark.parametrize("name", ["日本語", "x" * 512, "a.b", "..", 'O\'Reilly "quoted"; DROP TABLE', "🙂", "a b"])
def test_any_other_name_will_do(database, name):
    database.create_collection(name, dimension=4)
    assert database.collections() == [name]
    assert database.collection(name).name == name


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("embedder, or dimension=", {}),
        ("dimension must be 1 to", {"dimension": 0}),
        ("dimension must be 1 to", {"dimension": 2.5}),
        ("dimension must be 1 to", {"dimension": 10**6}),
        ("dimension must be 1 to", {"dimension": True}),
        ("metric must be one of cosine, l2, ip", {"dimension": 4, "metric": "manhattan"}),
        ("index must be one of auto, exact, hnsw", {"dimension": 4, "index": "ivf"}),
        ("unknown index option 'm'", {"dimension": 4, "index_options": {"m": 3}}),
        ("M must be", {"dimension": 4, "index_options": {"M": 1}}),
        ("ef must be", {"dimension": 4, "index_options": {"ef": 0}}),
        ("named 'NAME' or 'NAME:MODEL'", {"embedder": ""}),
        ("named 'NAME' or 'NAME:MODEL'", {"embedder": 5}),
        ("no embedder; name the embedder", {"dimension": 4, "embedder_options": {"flavour": 1}}),
        ("did you mean 'flavour'", {"embedder": "counting", "embedder_options": {"flavor": 1}}),
        (
            "flavour='1' must be a whole number",
            {"embedder": "counting", "embedder_options": {"flavour": "1"}},
        ),
        ("makes 8 numbers, not dimension=4", {"embedder": "counting", "dimension": 4}),
        ("described twice", {"dimension": 4, "spaces": {"default": {"dimension": 4}}}),
        ("no option 'metrics'", {"spaces": {"default": {"dimension": 4, "metrics": "l2"}}}),
        ("name must be text", {"spaces": {"default": {"dimension": 4}, "": {"dimension": 4}}}),
        ("source must name a field", {"spaces": {"default": {"embedder": "counting", "source": 5}}}),
        ("spaces", {"spaces": {"default": "counting"}}),
        ("spaces", {"spaces": ["default"]}),
    ],
)
def test_options_of_a_collection(database, words, options):
    with pytest.raises(InvalidInputError, match=words):
        database.create_collection("new", **options)
    assert database.collections() == []


def test_a_collection_that_exists_or_differs(database):
    database.create_collection("new", dimension=4)
    error = refused(CollectionExistsError, "exists already", database.create_collection, "new", dimension=4)
    assert error.name == "new"
    assert database.get_or_create_collection("new", dimension=4).name == "new"
    for words, options in (
        ("dimension is 4, not 5", {"dimension": 5}),
        ("metric is 'cosine', not 'l2'", {"dimension": 4, "metric": "l2"}),
        ("index is 'auto', not 'exact'", {"dimension": 4, "index": "exact"}),
        ("'M': 16", {"dimension": 4, "index_options": {"M": 8}}),
        ("embedder is None, not 'counting'", {"embedder": "counting"}),
        ("its spaces are default", {"dimension": 4, "spaces": {"other": {"dimension": 3}}}),
    ):
        refused(CollectionExistsError, words, database.get_or_create_collection, "new", **options)


def test_an_embedder_that_no_plugin_has(database):
    error = refused(
        EmbedderNotFoundError, "did you mean 'counting'", database.create_collection, "a", embedder="countin"
    )
    assert error.name == "countin"


def test_a_collection_that_is_not_there(database):
    database.create_collection("here", dimension=4)
    error = refused(
        CollectionNotFoundError, "no collection 'there' in .*there is: 'here'", database.collection, "there"
    )
    assert error.name == "there"


def test_every_call_on_a_deleted_collection(database, texts):
    texts.add(["a"], ids=["x"])
    database.delete_collection("texts")
    assert database.collections() == []
    for call in (
        lambda: texts.add(["b"]),
        lambda: texts.upsert(["b"], ids=["x"]),
        lambda: texts.ingest([vecdb.Record("x", "b")]),
        lambda: texts.update_metadata("x", {}),
        lambda: texts.delete(["x"]),
        lambda: texts.delete(where={}),
        lambda: texts.get(["x"]),
        texts.count,
        lambda: len(texts),
        lambda: "x" in texts,
        lambda: list(texts),
        lambda: texts.search("a"),
        lambda: texts.explain("a"),
        texts.failures,
        texts.retry_failures,
        lambda: texts.spaces,
        texts.optimize,
        texts.reindex,
    ):
        with pytest.raises(CollectionNotFoundError, match="deleted"):
            call()
    again = database.create_collection("texts", embedder="counting")
    assert again.count() == 0
    with pytest.raises(CollectionNotFoundError):  # the old handle is not the new collection
        texts.count()
