"""Random sequences of calls against a plain dict and a search in numpy.

A longer campaign: VECDB_TEST_EXAMPLES=5000 pytest tests/test_state_machine.py
"""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vecdb
from tests.storage.filter_oracle import matches
from vecdb.types import METRICS

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
IDS = st.sampled_from(["a", "b", "c", "é", "e\u0301", "日本", "🙂", "'\"\\", "\n", "A"]) | TEXT.filter(bool)
CONTENTS = st.none() | TEXT.filter(str.strip)
METADATA = st.dictionaries(
    st.sampled_from(["n", "word", "x.y"]) | TEXT,
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | TEXT | st.lists(st.integers(0, 2), max_size=2),
    max_size=3,
)
WHERE = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"n": st.integers(-3, 3) | st.booleans() | st.none()}),
    st.fixed_dictionaries(
        {"n": st.sampled_from([{"$gte": 0}, {"$lt": 1.5}, {"$exists": True}, {"$ne": 1}, {"$contains": 1}])}
    ),
    st.fixed_dictionaries({"word": st.fixed_dictionaries({"$in": st.lists(TEXT | st.integers(0, 1), max_size=3)})}),
    st.just({"$or": [{"x.y": {"$exists": True}}, {"n": {"$lt": 0}}]}),
)
# Few numbers, so that vectors are often equal, opposite or at one distance.
VECTORS = st.lists(st.sampled_from([-1.0, 0.5, 1.0, 2.0]), min_size=3, max_size=3)
RECORDS = st.dictionaries(IDS, st.tuples(CONTENTS, METADATA, VECTORS), min_size=1, max_size=6)
DIMENSION = 3


def distances(metric, query, rows):
    """Distances as DESIGN defines them, in float64."""
    query, rows = np.float64(query), np.float64(rows)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    if metric == "cosine":
        query = np.float64(np.float32(query / np.linalg.norm(query)))
        rows = np.float64(np.float32(rows / np.linalg.norm(rows, axis=1, keepdims=True)))
    return 1 - rows @ query


class Collections(RuleBasedStateMachine):
    """One collection through one or two handles; `model` maps id to (content, metadata, vector) in insertion order."""

    kind = "exact"

    def __init__(self):
        super().__init__()
        self.model = {}
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "a.vecdb"
        self.handles = []

    @initialize(metric=st.sampled_from(METRICS))
    def create(self, metric):
        self.metric = metric
        self.handles.append(vecdb.open(self.folder, durability="normal"))
        options = {"M": 4, "ef_construction": 40}
        self.handles[0].create_collection(
            "c", dimension=DIMENSION, metric=metric, index=self.kind, index_options=options
        )

    def teardown(self):
        for handle in self.handles:
            handle.close()
        self.place.cleanup()

    def collection(self, which):
        return self.handles[which % len(self.handles)].collection("c")

    # --- writing ---

    @rule(records=RECORDS, which=st.integers(0, 1), on_conflict=st.sampled_from(["error", "skip", "replace"]))
    def add(self, records, which, on_conflict):
        contents, metadata, vectors = zip(*records.values(), strict=True)
        taken = [id for id in records if id in self.model]
        call = self.collection(which).add
        options = {"ids": list(records), "metadata": list(metadata), "vectors": vectors, "on_conflict": on_conflict}
        if taken and on_conflict == "error":
            with pytest.raises(vecdb.DuplicateIdError) as caught:
                call(contents, **options)
            assert caught.value.name == taken[0]
            return
        assert call(contents, **options) == list(records)
        for id, record in records.items():
            if id not in self.model or on_conflict == "replace":
                self.model[id] = record

    @rule(records=RECORDS, which=st.integers(0, 1), again=st.booleans(), size=st.integers(1, 4))
    def ingest(self, records, which, again, size):
        stream = [vecdb.Record(id, content, metadata, vector) for id, (content, metadata, vector) in records.items()]
        report = self.collection(which).ingest(stream * (1 + again), batch_size=size)
        assert report.added == len(set(records) - set(self.model))
        assert report.total == len(stream) * (1 + again)
        self.model.update(records)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), which=st.integers(0, 1), metadata=METADATA)
    def update_metadata(self, data, which, metadata):
        id = data.draw(st.sampled_from(list(self.model)))
        self.collection(which).update_metadata(id, metadata)
        content, _, vector = self.model[id]
        self.model[id] = (content, metadata, vector)

    @rule(data=st.data(), which=st.integers(0, 1), where=st.none() | WHERE)
    def delete(self, data, which, where):
        ids = data.draw(st.none() | st.lists(IDS | st.sampled_from(list(self.model) or ["a"]), max_size=4))
        if ids is None and where in (None, {}):
            return
        gone = [
            id
            for id, (_, metadata, _) in self.model.items()
            if (ids is None or id in ids) and (where is None or matches(where, metadata))
        ]
        assert self.collection(which).delete(ids, where) == len(gone)
        for id in gone:
            del self.model[id]

    # --- the life of a database ---

    @rule()
    def reopen(self):
        for handle in self.handles:
            handle.close()
        self.handles = [vecdb.open(self.folder, durability="normal")]

    @precondition(lambda self: len(self.handles) == 1)
    @rule()
    def open_again(self):
        self.handles.append(vecdb.open(self.folder, durability="normal"))

    @rule(which=st.integers(0, 1), call=st.sampled_from(["optimize", "reindex"]))
    def build(self, which, call):
        getattr(self.collection(which), call)()

    # --- reading ---

    @rule(query=VECTORS, which=st.integers(0, 1), k=st.integers(1, 12), where=st.none() | WHERE, exact=st.booleans())
    def search(self, query, which, k, where, exact):
        matching = {id: v for id, (_, m, v) in self.model.items() if where is None or matches(where, m)}
        hits = self.collection(which).search(query, k=k, where=where, exact=exact, ef=None if exact else 200)
        assert len(hits) == min(k, len(matching))
        if not matching:
            return
        truth = distances(self.metric, query, list(matching.values()))
        by_id = dict(zip(matching, truth, strict=True))
        np.testing.assert_allclose([hit.distance for hit in hits], [by_id[hit.id] for hit in hits], atol=3e-6)
        np.testing.assert_allclose([hit.distance for hit in hits], np.sort(truth)[: len(hits)], atol=3e-6)
        assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
        place = {id: n for n, id in enumerate(self.model)}
        for one, two in itertools.pairwise(hits):
            assert one.distance < two.distance or place[one.id] < place[two.id]
        for hit in hits:
            content, metadata, _ = self.model[hit.id]
            assert (hit.content, repr(hit.metadata)) == (content, repr(metadata))

    @rule(which=st.integers(0, 1), ids=st.lists(IDS, max_size=4))
    def get(self, which, ids):
        collection = self.collection(which)
        assert [record.id for record in collection.get(ids)] == [id for id in ids if id in self.model]
        assert [id in collection for id in ids] == [id in self.model for id in ids]

    @rule(which=st.integers(0, 1), where=WHERE)
    def count(self, which, where):
        expected = sum(matches(where, metadata) for _, metadata, _ in self.model.values())
        assert self.collection(which).count(where) == expected

    # --- what is always so ---

    @invariant()
    def all_handles_have_the_records_of_the_model_in_its_order(self):
        expected = [(id, content, repr(metadata)) for id, (content, metadata, _) in self.model.items()]
        for which in range(len(self.handles)):
            found = list(self.collection(which))
            assert [(record.id, record.content, repr(record.metadata)) for record in found] == expected
            assert len(self.collection(which)) == len(self.model)
            for record in found:
                vector = np.float32(self.model[record.id][2])
                if self.metric == "cosine":
                    vector = vector / np.linalg.norm(vector)
                np.testing.assert_allclose(record.vectors, vector, atol=1e-6)

    @invariant()
    def every_index_has_the_vectors_of_the_rows(self):
        for which in range(len(self.handles)):
            assert self.collection(which)._space("default").index.differences() == ([], [])

    @invariant()
    def there_is_one_row_for_each_distinct_vector_and_no_other(self):
        if self.handles:
            stored = {record.vectors.tobytes() for record in self.collection(0)}
            assert self.collection(0).spaces["default"].vectors == len(stored)

    @precondition(lambda self: self.handles)
    @rule()
    def nothing_is_inconsistent(self):
        assert list(self.handles[0].check()) == []


class Graphs(Collections):
    kind = "hnsw"


_IS_LONG = "VECDB_TEST_EXAMPLES" in os.environ
_EFFORT = settings(max_examples=settings().max_examples if _IS_LONG else 60, stateful_step_count=50 if _IS_LONG else 25)
TestExact = Collections.TestCase
TestExact.settings = _EFFORT
TestGraphs = Graphs.TestCase
TestGraphs.settings = _EFFORT
