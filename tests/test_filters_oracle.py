"""Filters as SQL give what they mean: compared with plain Python over random metadata and random filters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vecdb
from tests.storage.filter_oracle import matches

# Few keys, values and words, so that random filters meet random metadata; all of them awkward.
KEYS = st.sampled_from(
    ["a", "b", "a.b", "b.a", "a.b.a", "", ".", "a.", ".a", 'q"uote', "it's", "a[0]", "back\\slash", "$a", "🙂", "日本",
     "\n", "\x01", "A", "key", "$.a", "%", "é", "e\u0301"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, -0.0, 1, 1.0, -1, 2, 1.5, 0.1, 0.1 + 0.2, 0.3, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 1e308,
     -1e308, 5e-324, 1e16, 10**16, 123456789012345678, 1.2345678901234567e17, 1 / 3, 9.007199254740993e15]
)  # fmt: skip
WORDS = st.sampled_from(["", "a", "b", "ab", "1", "true", "null", "2020-01-31", "2020-02", "ä", "日", "🙂🐕", "'", '"',
                         "[]", "A", "\uffff", "\U00010000", "%", "_", "\\", "\n"])  # fmt: skip
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | st.integers(-(2**63), 2**63 - 1) | st.floats(
    allow_nan=False, allow_infinity=False
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=5)
FIELDS = KEYS.filter(lambda key: not key.startswith("$")) | st.lists(KEYS, min_size=2, max_size=3).map(".".join).filter(
    lambda key: not key.startswith("$")
)
CONDITIONS = st.recursive(
    st.one_of(
        st.sampled_from(["$eq", "$ne", "$contains"]).flatmap(lambda name: st.fixed_dictionaries({name: SCALARS})),
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]).flatmap(
            lambda name: st.fixed_dictionaries({name: NUMBERS | WORDS})
        ),
        st.sampled_from(["$in", "$nin"]).flatmap(
            lambda name: st.fixed_dictionaries({name: st.lists(SCALARS, max_size=4)})
        ),
        st.booleans().map(lambda value: {"$exists": value}),
    ),
    lambda inner: (
        inner.map(lambda condition: {"$not": condition})
        | st.lists(inner, min_size=2, max_size=3).map(lambda several: {k: v for one in several for k, v in one.items()})
    ),
    max_leaves=4,
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, SCALARS | CONDITIONS, max_size=2),
    lambda inner: st.fixed_dictionaries({}, optional={
        "$and": st.lists(inner, min_size=1, max_size=3),
        "$or": st.lists(inner, min_size=1, max_size=3),
        "$not": inner,
    }),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    with vecdb.open(tmp_path_factory.mktemp("filters") / "filters.vecdb", durability="normal") as database:
        yield database.create_collection("notes", dimension=2, metric="l2", index="exact")


@settings(max_examples=max(500, settings().max_examples))
@given(stored=st.lists(METADATA, min_size=1, max_size=6), filters=st.lists(FILTERS, min_size=1, max_size=8))
@example(stored=[{"a": {"b": 1}}, {"a.b": 1}, {"a.b": 2, "a": {"b": 1}}], filters=[{"a.b": 1}, {"a.b": {"$ne": 1}}])
@example(stored=[{"n": 2**53 + 1}, {"n": 2.0**53}], filters=[{"n": 2**53 + 1}, {"n": {"$gt": 2.0**53}}, {"n": 2**53}])
def test_sql_gives_what_plain_python_gives(notes, stored, filters):
    notes.delete(where={})
    ids = [str(number) for number in range(len(stored))]
    notes.add([None] * len(stored), ids=ids, metadata=stored, vectors=np.arange(len(stored) * 2.0).reshape(-1, 2))
    for where in filters:
        expected = [id for id, metadata in zip(ids, stored, strict=True) if matches(where, metadata)]
        assert [hit.id for hit in notes.search([0.0, 0.0], where=where, k=10)] == expected
        assert notes.count(where) == len(expected)
    last = filters[-1]
    assert notes.delete(where=last) == len(expected)
    assert [record.id for record in notes] == [id for id in ids if id not in expected]


def test_the_documented_meaning(notes):
    """The sentences of the documentation, one by one, without the oracle."""
    notes.delete(where={})
    stored = {
        "int": {"v": 1}, "float": {"v": 1.0}, "text": {"v": "1"}, "true": {"v": True}, "null": {"v": None},
        "missing": {}, "list": {"v": [1, "x", None]}, "nested": {"author": {"name": "Ada"}},
        "dotted": {"author.name": "Eve", "author": {"name": "Ada"}}, "date": {"v": "2024-05-06"},
    }  # fmt: skip
    notes.add([None] * 10, ids=list(stored), metadata=list(stored.values()), vectors=np.arange(20.0).reshape(10, 2))

    def found(where):
        return {hit.id for hit in notes.search([0, 0], where=where, k=20)}

    assert found({"v": 1}) == {"int", "float"}
    assert found({"v": "1"}) == {"text"}
    assert found({"v": True}) == {"true"}
    assert found({"v": None}) == {"null"}
    assert found({"v": {"$exists": False}}) == {"missing", "nested", "dotted"}
    assert found({"v": {"$ne": 1}}) == set(stored) - {"int", "float"}
    assert found({"v": {"$nin": [1, None]}}) == set(stored) - {"int", "float", "null"}
    assert found({"v": {"$not": {"$exists": True}}}) == {"missing", "nested", "dotted"}
    assert found({"v": {"$in": []}}) == set()
    assert found({"v": {"$nin": []}}) == set(stored)
    assert found({"v": {"$contains": "x"}}) == {"list"}
    assert found({"v": {"$contains": "05"}}) == {"date"}
    assert found({"v": {"$contains": None}}) == {"list"}
    assert found({"v": {"$gte": "2024-01-01", "$lt": "2025"}}) == {"date"}
    assert found({"v": {"$gt": 0}}) == {"int", "float"}
    assert found({"author.name": "Ada"}) == {"nested"}
    assert found({"author.name": "Eve"}) == {"dotted"}
    assert found({"$or": [{"v": 1}, {"author.name": {"$exists": True}}], "v": {"$exists": False}}) == {
        "nested",
        "dotted",
    }
    assert found({"$not": {"v": 1}}) == set(stored) - {"int", "float"}
    assert found({}) == set(stored)


@pytest.mark.parametrize(
    "injection",
    ["') OR 1=1 --", "'; DROP TABLE records; --", '" OR ""="', "$[*]", "$.a' OR 1", "?", ":a", "x') UNION SELECT 1 --"],
)
def test_keys_and_values_are_data(notes, injection):
    notes.delete(where={})
    notes.add([None] * 2, ids=["hit", "miss"], metadata=[{injection: injection}, {"a": "b"}], vectors=[[1, 2], [3, 4]])
    queries = [{"a": injection}, {injection: "b"}, {"$not": {"a": {"$in": [injection, "b"]}, "c": injection}}]
    for where in queries:
        if not any(key.startswith("$") and key != "$not" for key in where):
            assert notes.count(where) == (2 if "$not" in where else 0)
    if not injection.startswith("$"):
        assert [hit.id for hit in notes.search([0, 0], where={injection: injection})] == ["hit"]
        assert [hit.id for hit in notes.search([0, 0], where={injection: {"$contains": injection}})] == ["hit"]
    assert notes.count() == 2
