"""Columns without a database: codes, ranges, and following changes, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.filter_oracle import matches
from tests.test_filters_oracle import CONDITIONS, SCALARS, WORDS
from vecdb.storage.columns import (
    FALSE,
    FIRST_VALUE,
    LIST,
    NULL,
    OBJECT,
    TRUE,
    Column,
    Dictionary,
    FieldValues,
    Renumbering,
    matching,
)
from vecdb.storage.filters import Filter
from vecdb.storage.known_records import MatchingRecords, SpaceLabels

MISSING = object()
VALUES = st.just(MISSING) | SCALARS | st.lists(SCALARS, max_size=3) | st.just({})
ONE_FIELD = (SCALARS | CONDITIONS).map(lambda condition: {"a": condition})


def read(rows, values):
    """What reading a database would give of these rows."""
    distinct = {}

    def place(value):
        match value:
            case None:
                return NULL
            case bool():
                return TRUE if value else FALSE
            case list():
                return LIST
            case dict():
                return OBJECT
        stored = value.encode() if isinstance(value, str) else value
        return distinct.setdefault(stored, FIRST_VALUE + len(distinct))

    there = [(row, value) for row, value in zip(rows, values, strict=True) if value is not MISSING]
    elements = [(row, one) for row, value in there if isinstance(value, list) for one in value]
    arrays = [np.array(numbers, np.intp) for numbers in (
        [row for row, _ in there], [place(value) for _, value in there],
        [row for row, _ in elements], [place(value) for _, value in elements],
    )]  # fmt: skip
    return FieldValues(*arrays, list(distinct))


def made(values):
    return Column().changed(Renumbering(None, 0, len(values)), np.arange(len(values)), read(range(len(values)), values))


def require(column, values, filters):
    for where in filters:
        mask = matching(Filter(where).tree, {"a": column}, len(values), {})
        expected = [matches(where, {} if value is MISSING else {"a": value}) for value in values]
        assert mask.tolist() == expected, where
        assert mask.dtype == np.bool_


@settings(max_examples=max(200, settings().max_examples))
@given(st.data())
def test_a_column_that_follows_changes_is_as_one_made_anew(data):
    values = data.draw(st.lists(VALUES, max_size=8))
    filters = data.draw(st.lists(ONE_FIELD, min_size=1, max_size=6))
    column = made(values)
    require(column, values, filters)
    for _ in range(data.draw(st.integers(0, 4))):
        stays = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), np.bool_)
        kept = [value for value, it in zip(values, stays, strict=True) if it]
        new = data.draw(st.lists(VALUES, max_size=3))
        again = sorted(data.draw(st.sets(st.integers(0, len(kept) - 1), max_size=3))) if kept else []
        for row in again:
            kept[row] = data.draw(VALUES)
        values = kept + new
        touched = [*again, *range(len(kept), len(values))]
        renumbered = Renumbering(None if stays.all() else stays, int(stays.sum()), len(values))
        column = column.changed(
            renumbered, np.array(touched, np.intp), read(touched, [values[row] for row in touched])
        )
        require(column, values, filters)


def test_elements_of_lists_move_with_their_rows():
    column = made([["x"], ["y", "x"], 1, ["z"], ["x"]])
    stays = np.array([False, True, True, False, True])
    column = column.changed(Renumbering(stays, 3, 4), np.array([2, 3]), read([2, 3], [["q"], ["y"]]))
    values = [["y", "x"], 1, ["q"], ["y"]]
    require(column, values, [{"a": {"$contains": letter}} for letter in "xyzq"])
    assert len(column.element_rows) == 4


@pytest.mark.parametrize("count", [1, 200, 250, 251, 300, 65_525, 65_540])
def test_codes_get_a_larger_type_before_they_overflow(count):
    column = made(list(range(count)))
    for value in (0.5, "x", "y", -1, count):
        row = len(column.codes)
        column = column.changed(Renumbering(None, row, row + 1), np.array([row]), read([row], [value]))
    values = [*range(count), 0.5, "x", "y", -1, count]
    filters = [{"a": {"$gte": 0}}, {"a": {"$lt": 1}}, {"a": "y"}, {"a": {"$gt": "x"}}, {"a": count}, {"a": count - 1}]
    require(column, values, [*filters, {"a": {"$exists": True}}, {"a": {"$in": [*range(12), count, "x"]}}])
    assert column.codes.dtype == np.min_scalar_type(column.dictionary.size)


@given(st.lists(WORDS | st.text(max_size=3), max_size=20), WORDS | st.text(max_size=2))
def test_texts_are_in_the_order_of_their_utf8(words, word):
    words = [text for text in words if text.isascii() or text.encode("utf-8", "ignore").decode() == text]
    word = word.encode("utf-8", "ignore").decode().replace("\0", "")
    dictionary = Dictionary().with_values(list({text.encode() for text in words}))[0]
    span = dictionary.compared("<", word)
    below = [text for text in set(words) if text.encode() < word.encode()]
    assert (span.low, span.high) == (FIRST_VALUE, FIRST_VALUE + len(below))


def test_numbers_are_compared_exactly():
    big = 2**53
    values = [big, big + 1, float(big), 1, 1.0, -0.0, 0, 2.0**63, 2**63 - 1, 5e-324]
    require(
        made(values), values,
        [{"a": {sign: value}} for value in values for sign in ("$eq", "$gt", "$gte", "$lt", "$lte", "$ne")],
    )  # fmt: skip


@settings(max_examples=max(200, settings().max_examples))
@given(st.lists(st.integers(0, 12), max_size=12), st.data())
def test_labels_of_a_mask_are_sorted_and_each_once(labels, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels))), np.bool_)
    some, marked = SpaceLabels.of(np.array(labels, np.int64)).among(mask)
    assert some.dtype == np.int64
    assert (some[1:] > some[:-1]).all()
    found = some if marked is None else some[marked]
    assert found.tolist() == sorted({label for label, it in zip(labels, mask, strict=True) if it and label})


def test_labels_that_rise_with_the_keys_are_not_sorted_again():
    assert SpaceLabels.of(np.array([3, 5, 9])).order is None
    assert SpaceLabels.of(np.array([0, 5, 9])).order is not None
    assert SpaceLabels.of(np.array([3, 3, 9])).are_shared
    assert not SpaceLabels.of(np.array([9, 0, 3, 0])).are_shared


def test_keys_that_match():
    matching = MatchingRecords(np.array([2, 4, 6]), np.array([True, False, True]))
    assert matching.among(np.array([2, 4, 6, 1, 3, 7])).tolist() == [True, False, True, False, False, False]
    assert MatchingRecords(np.empty(0, np.int64), np.empty(0, np.bool_)).among(np.array([1])).tolist() == [False]
