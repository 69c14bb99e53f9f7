"""Malformed filters are refused with the place of the fault; large ones work up to the documented limits."""

from __future__ import annotations

import decimal

import numpy as np
import pytest

import vecdb
from tests.storage.filter_oracle import matches
from vecdb.storage.filters import MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH, Filter

MALFORMED = [
    (None, "where", "must be a dict"),
    ([], "where", "must be a dict"),
    ("year = 2020", "where", "must be a dict"),
    ({1: 2}, "where", "must be a string"),
    ({None: 2}, "where", "must be a string"),
    ({"$nor": []}, "where['$nor']", "unknown operator"),
    ({"$eq": 1}, "where['$eq']", "unknown operator"),
    ({"$gt": 1}, "where['$gt']", "unknown operator"),
    ({"year": {"$above": 1}}, "where['year']", "unknown operator '$above'"),
    ({"year": {"gt": 1}}, "where['year']", "unknown operator 'gt'"),
    ({"author": {"name": "Ada"}}, "where['author']", "write the nested key as 'author.name'"),
    ({"year": {}}, "where['year']", "holds no operator"),
    ({"year": {1: 2}}, "where['year']", "unknown operator 1"),
    ({"$and": {}}, "where['$and']", "non-empty list"),
    ({"$and": []}, "where['$and']", "non-empty list"),
    ({"$or": []}, "where['$or']", "non-empty list"),
    ({"$or": "a"}, "where['$or']", "non-empty list"),
    ({"$or": [{"a": 1}, 5]}, "where['$or'][1]", "must be a dict"),
    ({"$not": []}, "where['$not']", "must be a dict"),
    ({"$not": {"a": {"$x": 1}}}, "where['$not']['a']", "unknown operator"),
    ({"a": {"$not": 5}}, "where['a']['$not']", "must hold operators"),
    ({"a": {"$not": {}}}, "where['a']['$not']", "holds no operator"),
    ({"a": {"$in": 5}}, "where['a']['$in']", "must be a list"),
    ({"a": {"$in": "text"}}, "where['a']['$in']", "must be a list"),
    ({"a": {"$in": {"b": 1}}}, "where['a']['$in']", "must be a list"),
    ({"a": {"$in": [1, [2]]}}, "where['a']['$in']", "must be a string, a finite 64-bit number"),
    ({"a": {"$nin": None}}, "where['a']['$nin']", "must be a list"),
    ({"a": {"$exists": 1}}, "where['a']['$exists']", "True or False"),
    ({"a": {"$exists": None}}, "where['a']['$exists']", "True or False"),
    ({"a": {"$gt": None}}, "where['a']['$gt']", "a number or a string"),
    ({"a": {"$lt": True}}, "where['a']['$lt']", "a number or a string"),
    ({"a": {"$lte": [1]}}, "where['a']['$lte']", "must be a string, a finite"),
    ({"a": {"$contains": [1]}}, "where['a']['$contains']", "must be a string, a finite"),
    ({"a": {"$contains": {}}}, "where['a']['$contains']", "must be a string, a finite"),
    ({"a": [1, 2]}, "where['a']", "must be a string, a finite"),
    ({"a": {"$eq": {"b": 1}}}, "where['a']['$eq']", "must be a string, a finite"),
    ({"a": float("nan")}, "where['a']", "finite"),
    ({"a": {"$gt": float("inf")}}, "where['a']['$gt']", "finite"),
    ({"a": 2**63}, "where['a']", "64-bit"),
    ({"a": -(2**63) - 1}, "where['a']", "64-bit"),
    ({"a": np.float64(1.5)}, "where['a']", "must be a string"),
    ({"a": np.zeros(3)}, "where['a']", "must be a string"),
    ({"a": decimal.Decimal(1)}, "where['a']", "must be a string"),
    ({"a": b"bytes"}, "where['a']", "must be a string"),
    ({"a": object}, "where['a']", "must be a string"),
    ({"a": "x\0"}, "where['a']", "NUL"),
    ({"a": "\ud800"}, "where['a']", "lone surrogate"),
    ({"a": {"$in": ["\ud800"]}}, "where['a']['$in']", "lone surrogate"),
    ({"\ud800": 1}, "where['\\ud800']", "lone surrogate"),
    ({".".join("k" * 33): 1}, "where['" + ".".join("k" * 33)[:59], "more than 32 nested keys"),
]


@pytest.mark.parametrize(("where", "place", "words"), MALFORMED, ids=lambda value: repr(value)[:30])
def test_a_malformed_filter_is_refused_and_its_place_named(where, place, words):
    with pytest.raises(vecdb.FilterError) as caught:
        Filter(where)
    assert words in str(caught.value)
    assert caught.value.place.startswith(place[:60])
    assert place[:60] in str(caught.value)


def test_every_call_that_takes_a_filter_refuses_a_malformed_one(database):
    notes = database.create_collection("notes", dimension=2)
    notes.add([None], vectors=[[1, 2]])
    wrong = {"a": {"$above": 1}}
    for call in (
        lambda: notes.search([1, 2], where=wrong),
        lambda: notes.search_batch([[1, 2]], where=wrong),
        lambda: notes.explain([1, 2], where=wrong),
        lambda: notes.count(wrong),
        lambda: notes.delete(where=wrong),
    ):
        with pytest.raises(vecdb.FilterError, match=r"where\['a'\].*\$above"):
            call()
    assert notes.count() == 1


def deep(levels, wrap, inner):
    for _ in range(levels):
        inner = wrap(inner)
    return inner


WRAPS = [
    lambda inner: {"$not": inner},
    lambda inner: {"$and": [inner, {"b.c": {"$ne": 1}}]},
    lambda inner: {"$or": [{"b.c": {"$in": [1, "x"]}}, inner]},
    lambda inner: {"$not": {"$or": [inner]}} if "$not" not in inner else {"$and": [inner, {"a": {"$exists": False}}]},
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_nesting_to_the_limit_works_and_beyond_it_is_refused(database, wrap):
    notes = database.create_collection("notes", dimension=2)
    notes.add([None], vectors=[[1, 2]], metadata=[{"b": {"c": 5}}])
    levels, where = 0, {"b.c": {"$not": {"$contains": "x"}}}
    while True:
        try:
            Filter(where)
        except vecdb.FilterError as error:
            assert "nested deeper than 32" in str(error)  # noqa: PT017  (the level is what is looked for)
            break
        assert notes.count(where) in (0, 1)
        assert len(notes.search([1, 2], where=where)) == notes.count(where)
        levels, where = levels + 1, wrap(where)
    assert levels >= MAX_DEPTH // 2 - 1
    with pytest.raises(vecdb.FilterError, match="deeper than 32"):
        Filter(deep(100_000, WRAPS[0], {}))


@pytest.mark.parametrize("word", ["$and", "$or"])
@pytest.mark.parametrize("field", ["year", "a.b"])
def test_as_many_conditions_as_allowed(database, word, field):
    notes = database.create_collection("notes", dimension=2)
    notes.add([None], vectors=[[1, 2]], metadata=[{"year": 2020}])
    conditions = [{field: {"$ne": number}} for number in range(MAX_CONDITIONS)]
    assert notes.count({word: conditions}) == 1
    assert len(notes.search([1, 2], where={word: conditions})) == 1
    with pytest.raises(vecdb.FilterError, match=f"more than {MAX_CONDITIONS} conditions; use \\$in"):
        notes.count({word: [*conditions, {"year": 1}]})


def test_as_many_nested_keys_as_allowed(database):
    notes = database.create_collection("notes", dimension=2)
    notes.add([None], vectors=[[1, 2]], metadata=[deep(32, lambda inner: {"k": inner}, "found")])
    field = ".".join("k" * 32)
    assert notes.count({field: "found"}) == 1
    assert notes.count({"$or": [{field: n} for n in range(10)]}) == 0


def test_a_hundred_thousand_values_in_a_list(database):
    notes = database.create_collection("notes", dimension=2)
    notes.add([None] * 3, vectors=[[1, 2], [3, 4], [5, 6]], metadata=[{"v": 99_999}, {"v": "99999"}, {"v": -1}])
    assert notes.count({"v": {"$in": list(range(100_000))}}) == 1
    assert notes.count({"v": {"$nin": [*map(str, range(100_000)), *range(100_000)]}}) == 1
    with pytest.raises(vecdb.FilterError, match=f"more than {MAX_BYTES:,} bytes"):
        notes.count({"v": {"$in": ["x" * 1000] * 9000}})


def test_a_value_nested_too_deep_even_to_be_shown():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(vecdb.FilterError):
        Filter({"a": value})


def twins(levels):
    """Every level has two nested filters, of nearly the same depth: the most that SQLite's parser must hold open."""
    if levels < 2:
        return {".".join("abc"): {"$not": {"$contains": 1.5}}}
    return {"$not": {"$or": [twins(levels - 3), twins(levels - 4) if levels > 14 else twins(1)]}}


def test_no_filter_within_the_limits_meets_a_limit_of_sqlite(database):
    rng = np.random.default_rng(5)

    def random_filter(depth):
        word = rng.choice(["$and", "$or", "$not", "leaf"], p=[0.35, 0.35, 0.2, 0.1]).item()
        if word == "leaf" or depth > 28:
            return {".".join("ab" * int(rng.integers(1, 4))): {"$not": {"$contains": rng.choice(["x", "y"]).item()}}}
        inner = [random_filter(depth + 1) for _ in range(int(rng.choice([1, 1, 1, 1, 1, 1, 2])))]
        return {"$not": inner[0]} if word == "$not" else {word: inner}

    notes = database.create_collection("notes", dimension=2)
    notes.add([None], vectors=[[1, 2]])
    tried = 0
    for where in [*(twins(levels) for levels in range(MAX_DEPTH)), *(random_filter(0) for _ in range(200))]:
        try:
            Filter(where)
        except vecdb.FilterError:  # it is beyond the documented limits
            continue
        tried += 1
        assert notes.count(where) == len(notes.search([1, 2], where=where)) == int(matches(where, {}))
    assert tried > 100
