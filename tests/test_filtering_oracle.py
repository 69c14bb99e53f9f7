"""Columns in memory and SQL admit the same records, whatever was written meanwhile, and by whom."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vecdb
from tests.test_filters_oracle import FILTERS, METADATA
from vecdb.storage.filters import Filter
from vecdb.storage.records import allowed_labels
from vecdb.storage.writes import find_keys

SPACES = {"default": {"dimension": 2, "metric": "l2"}, "title": {"embedder": "counting", "source": "title"}}
VECTORS = [[0.0, 1], [2, 3], [4, 5]]  # few, so that several records share one
RECORDS = st.lists(st.tuples(METADATA, st.sampled_from(VECTORS), st.booleans()), min_size=1, max_size=5)
WHICH = st.integers(0, 20)
CHANGES = st.one_of(
    st.tuples(st.just("add"), RECORDS),
    st.tuples(st.just("upsert"), WHICH, RECORDS),
    st.tuples(st.just("update"), WHICH, METADATA),
    st.tuples(st.just("delete"), WHICH),
    st.tuples(st.just("delete where"), FILTERS),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("damage and mend"), WHICH, METADATA),
)
# What a JSON text of somebody else may say, and what sorts differently in UTF-16 or as floats.
HARD = [
    {"a": 2**53 + 1}, {"a": 2.0**53}, {"a": 1}, {"a": 1.0}, {"a": -0.0}, {"a": 0}, {"a": 2**63 - 1}, {"a": 2.0**63},
    {"a": "\uffff"}, {"a": "\U00010000"}, {"a": [1, 1.0, "1", None, [], {}, "\uffff"]}, {"a.b": 1, "a": {"b": 2}},
    {"a": {"b": 2}}, {"a": True}, {"a": 5e-324}, {"a": 1e308}, {"a": ""}, {},
]  # fmt: skip
HARD_FILTERS = [
    {"a": {sign: value}}
    for sign in ("$eq", "$gt", "$gte", "$lt", "$lte", "$ne", "$contains")
    for value in (2**53 + 1, 2.0**53, 1.0, 0, -0.0, 2**63 - 1, 2.0**63, "\uffff", "\U00010000", "", 0.1 + 0.2)
] + [{"a.b": 1}, {"a.b": 2}, {"a.b": {"$exists": False}}, {"a": {"$in": [*range(20), "\uffff", None, True]}}]


class Handles:
    """Two handles of one database: one is searched, either writes."""

    def __init__(self, plugins):
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "a.vecdb"
        self.plugins = plugins
        with self.opened() as database:
            database.create_collection("c", spaces=SPACES)
        self.reader, self.other = self.opened(), self.opened()
        self.given_out = 0

    def opened(self):
        return vecdb.open(self.folder, durability="normal", plugins=self.plugins)

    def empty(self):
        """As in the beginning; and the keys begin again, which a handle must notice."""
        self.reader.collection("c").delete(where={})

    def close(self):
        self.reader.close()
        self.other.close()
        self.place.cleanup()

    def change(self, change, *, by_other):
        database = self.other if by_other else self.reader
        collection = database.collection("c")
        stored = sorted(record.id for record in collection)
        match change:
            case ("add", records):
                ids = [str(self.given_out + place) for place in range(len(records))]
                self.given_out += len(records)
                self.write(collection.add, ids, records)
            case ("upsert", which, records):
                records = records[: len(stored)]
                self.write(collection.upsert, [stored[(which + n) % len(stored)] for n in range(len(records))], records)
            case ("update", which, metadata) if stored:
                collection.update_metadata(stored[which % len(stored)], metadata)
            case ("delete", which) if stored:
                collection.delete([stored[which % len(stored)]])
            case ("delete where", where):
                collection.delete(where=where)
            case ("reopen",):
                self.reader.close()
                self.reader = self.opened()
            case ("damage and mend", which, metadata) if stored:
                with closing(sqlite3.connect(self.folder / "vecdb.sqlite3")) as connection, connection:
                    text = json.dumps(metadata, ensure_ascii=False, indent=1) + " "  # never as it was written
                    connection.execute(
                        "UPDATE records SET metadata = ? WHERE id = ?", (text, stored[which % len(stored)])
                    )
                assert not database.check(fix=True)  # it is for the user to say what it was
                collection.update_metadata(stored[which % len(stored)], {"a": 1})
                assert database.check()

    def write(self, call, ids, records):
        contents = [{"title": f"title {int(vector[0])}"} if titled else None for _, vector, titled in records]
        vectors = {"default": [vector for _, vector, _ in records]}
        if ids:
            call(contents, ids=ids, metadata=[metadata for metadata, _, _ in records], vectors=vectors)

    def compare(self, filters):
        collection = self.reader.collection("c")
        spaces = [space.row.id for space in collection._all_spaces]
        for where in map(Filter, filters):
            with self.reader._engine.snapshot() as snapshot:
                keys = sorted(find_keys(snapshot, collection._key, None, where))
                for space_id in spaces:
                    admitted = collection._memory.columns.admitted(snapshot, space_id, where)
                    labels = allowed_labels(snapshot, collection._key, space_id, where)
                    assert admitted.labels.labels.tolist() == labels
                    assert admitted.labels.labels.dtype == "int64"
                    if len(where.fields) > 8:
                        continue  # as many columns are not built at once: SQL may have been asked
                    assert admitted.matching is not None
                    assert admitted.matching.keys[admitted.matching.mask].tolist() == keys
            hits = collection.search([0.0, 0.0], k=100, where=where_of(filters, where))
            assert len(hits) == len(keys)


def where_of(filters, where):
    return next(one for one in filters if Filter(one).tree == where.tree)


@pytest.fixture(scope="module")
def handles():
    from tests.storage.embedders import plugins_for_tests

    made = Handles(plugins_for_tests())
    yield made
    made.close()


@settings(max_examples=max(80, settings().max_examples))
@given(
    stored=RECORDS,
    changes=st.lists(st.tuples(CHANGES, st.booleans()), max_size=8),
    filters=st.lists(FILTERS.filter(bool), min_size=1, max_size=5),
)
@example(stored=[(one, VECTORS[0], True) for one in HARD], changes=[], filters=HARD_FILTERS)
@example(
    stored=[({}, VECTORS[0], True)],
    changes=[(("add", [(one, VECTORS[0], n % 2 == 0)]), n % 3 == 0) for n, one in enumerate(HARD)],
    filters=HARD_FILTERS[::7],
)
@example(
    stored=[(one, VECTORS[n % 3], True) for n, one in enumerate(reversed(HARD))],
    changes=[(("update", n, one), n % 2 == 0) for n, one in enumerate(HARD)],
    filters=HARD_FILTERS[3::7],
)
def test_columns_and_sql_admit_the_same_after_every_change(handles, stored, changes, filters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vecdb.VecdbWarning)
        handles.empty()
        handles.change(("add", stored), by_other=False)
        handles.compare(filters)
        for change, by_other in changes:
            handles.change(change, by_other=by_other)
            handles.compare(filters)
