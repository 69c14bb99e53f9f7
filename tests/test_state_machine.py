"""Random sequences of calls against a plain dict and a search in numpy.

A longer campaign: VECDB_TEST_EXAMPLES=5000 pytest tests/test_state_machine.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vecdb
from tests.oracle import CONTENTS, DIMENSION, IDS, METADATA, VECTORS, WHERE, Entry, assert_hits, assert_holds, matching
from vecdb.types import METRICS

RECORDS = st.dictionaries(IDS, st.builds(Entry, CONTENTS, METADATA, VECTORS), min_size=1, max_size=6)


class Collections(RuleBasedStateMachine):
    """One collection through one or two handles; `model` maps id to `Entry`, in insertion order."""

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
        self.model[id] = self.model[id]._replace(metadata=metadata)

    @rule(data=st.data(), which=st.integers(0, 1), where=st.none() | WHERE)
    def delete(self, data, which, where):
        ids = data.draw(st.none() | st.lists(IDS | st.sampled_from(list(self.model) or ["a"]), max_size=4))
        if ids is None and where in (None, {}):
            return
        gone = [id for id in matching(self.model, where) if ids is None or id in ids]
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
        hits = self.collection(which).search(query, k=k, where=where, exact=exact, ef=None if exact else 200)
        assert_hits(hits, self.model, self.metric, query, k, where)

    @rule(which=st.integers(0, 1), ids=st.lists(IDS, max_size=4))
    def get(self, which, ids):
        collection = self.collection(which)
        assert [record.id for record in collection.get(ids)] == [id for id in ids if id in self.model]
        assert [id in collection for id in ids] == [id in self.model for id in ids]

    @rule(which=st.integers(0, 1), where=WHERE)
    def count(self, which, where):
        assert self.collection(which).count(where) == len(matching(self.model, where))

    # --- what is always so ---

    @invariant()
    def all_handles_have_the_records_of_the_model_in_its_order(self):
        for which in range(len(self.handles)):
            assert_holds(list(self.collection(which)), self.model, self.metric)
            assert len(self.collection(which)) == len(self.model)

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
