"""Writing and searching: steps of the campaign "model"."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import vecdb
from tests.oracle import as_stored, matching
from tests.torture.choices import (
    FIELDS,
    GRAPH_ROWS,
    HOW,
    IDS,
    METADATA,
    MOOD,
    NUMBERS,
    PICTURES,
    POINTS,
    POOL,
    STREAM,
    TEXTS,
    TITLES,
    VECTORS,
    WHERE,
    WHICH,
)
from tests.torture.held import failing
from tests.torture.life import Handles, raised
from tests.torture.moody import DIMENSION, in_mood, vector_of


class Calls(Handles):
    """Each call through any of the handles; what it raises and returns is what the model says."""

    # --- writing ---

    @rule(rows=POINTS, which=WHICH, how=HOW)
    def put_points(self, rows: Any, which: int, how: str) -> None:
        self._put("points", rows, which, how)

    @rule(rows=GRAPH_ROWS, which=WHICH, how=HOW)
    def put_into_the_graph(self, rows: Any, which: int, how: str) -> None:
        self._put("graph", rows, which, how)

    @rule(rows=TEXTS, which=WHICH, how=HOW, mood=MOOD)
    def put_texts(self, rows: Any, which: int, how: str, mood: str) -> None:
        self._put("texts", rows, which, how, mood)

    @rule(rows=PICTURES, which=WHICH, how=HOW, mood=MOOD)
    def put_pictures(self, rows: Any, which: int, how: str, mood: str) -> None:
        self._put("pictures", rows, which, how, mood)

    @rule(rows=FIELDS, which=WHICH, how=HOW, mood=MOOD)
    def put_fields(self, rows: Any, which: int, how: str, mood: str) -> None:
        self._put("fields", rows, which, how, mood)

    def _put(self, name: str, rows: Any, which: int, how: str, mood: str = "") -> None:
        held = self.model[name]
        wanted = held.wanted(rows, how)
        expected, bad = failing(mood, wanted, self.known)
        taken = [id for id in rows if id in held.records]
        if taken and how == "error":
            expected = vecdb.DuplicateIdError
        elif expected is None and bad:
            expected = vecdb.EmbeddingError
        contents, metadata, brought = zip(*rows.values(), strict=True)
        options: dict[str, Any] = {"ids": list(rows), "metadata": list(metadata), "on_conflict": how}
        if brought[0]:
            options["vectors"] = {space: np.stack([row[space] for row in brought]) for space in brought[0]}
        with in_mood(mood):
            error = raised(self.writer(which, name).add, contents, **options)
        assert type(error) is (type(None) if expected is None else expected), repr(error)
        if isinstance(error, vecdb.EmbeddingError):
            assert {list(rows)[one.index] for one in error.errors} == bad
        if error is None:
            for id, row in rows.items():
                held.put(id, *row, how)
            self.known |= {item for items in wanted.values() for item in items}
        self.touched = (name, list(rows))

    @rule(stream=STREAM, which=WHICH, size=st.integers(1, 4), quarantine=st.booleans(), mood=MOOD)
    def ingest(self, stream: Any, which: int, size: int, quarantine: bool, mood: str) -> None:
        """Batch after batch; of one that fails nothing goes in, those before it stay."""
        expected = self._ingest_model(stream, size, mood, quarantine=quarantine)
        with in_mood(mood):
            error = raised(
                self.writer(which, "texts").ingest,
                iter(stream),
                batch_size=size,
                on_error="quarantine" if quarantine else "raise",
            )
        assert type(error) is (type(None) if expected is None else expected), repr(error)
        self.touched = ("texts", [record.id for record in stream])

    def _ingest_model(self, stream: Any, size: int, mood: str, *, quarantine: bool) -> type[BaseException] | None:
        """Follow the batches; what ends them, or None."""
        held, left = self.model["texts"], list(stream)
        while left:
            rows: dict[str, Any] = {}
            while left and len(rows) < size and left[0].id not in rows:
                record = left.pop(0)
                rows[record.id] = (record.content, record.metadata, {})
            wanted = held.wanted(rows, "replace")
            expected, bad = failing(mood, wanted, self.known)
            if expected is not None:
                return expected
            if bad and not quarantine:
                return vecdb.EmbeddingError
            # What is set aside comes after what goes in, new ones first.
            is_new = {id: id not in held.records for id in rows}
            for id in (id for id in rows if id not in bad):
                held.put(id, *rows[id], "replace")
                self.known |= set(wanted.get(id, []))
            for id in [*(id for id in rows if is_new[id]), *(id for id in rows if not is_new[id])]:
                if id not in bad:
                    continue
                held.set_aside(id, *rows[id][:2])
        return None

    @precondition(lambda self: self.model["texts"].failures)
    @rule(which=WHICH)
    def retry(self, which: int) -> None:
        held = self.model["texts"]
        again = [vecdb.Record(id, *row) for id, row in held.failures.items()]
        self._ingest_model(again, 1000, "", quarantine=True)
        report = self.writer(which, "texts").retry_failures()
        assert (report.total, report.failed) == (len(again), len(held.failures))
        self.touched = ("texts", [record.id for record in again])

    @rule(name=st.sampled_from(["points", "graph", "texts", "fields"]), data=st.data(), which=WHICH, metadata=METADATA)
    def update_metadata(self, name: str, data: Any, which: int, metadata: Any) -> None:
        held = self.model[name]
        id = data.draw(st.sampled_from([*list(held.records)[-20:], "nobody"]))
        error = raised(self.writer(which, name).update_metadata, id, metadata)
        if id in held.records:
            assert error is None
            held.records[id] = held.records[id]._replace(metadata=metadata)
        else:
            assert type(error) is vecdb.RecordNotFoundError
        self.touched = (name, [id])

    @rule(
        name=st.sampled_from(["points", "graph", "texts", "pictures", "fields"]),
        which=WHICH,
        number=NUMBERS,
        where=WHERE,
    )
    def delete(self, name: str, which: int, number: int, where: Any) -> None:
        """By ids, by a filter, or by both."""
        held, chance = self.model[name], random.Random(number)
        ids = None
        if where is None or chance.random() < 0.3:
            known = list(held.records)
            ids = [*chance.sample(known, min(len(known), chance.choice([1, 1, 3, 20]))), "nobody"]
        gone = [id for id in matching(held.records, where) if ids is None or id in ids]
        if len(gone) > 60 and ids is None:
            return  # a collection that is empty most of the time teaches nothing
        assert self.writer(which, name).delete(ids, where) == len(gone)
        for id in gone:
            del held.records[id]
        for id in ids if ids is not None and where is None else ():
            held.failures.pop(id, None)
        self.touched = (name, [*gone, *(ids or [])])

    # --- searching ---

    @rule(
        query=VECTORS,
        which=WHICH,
        k=st.integers(1, 12),
        where=WHERE,
        exact=st.booleans(),
        name=st.sampled_from(["points", "fields"]),
    )
    def search_points(self, query: Any, which: int, k: int, where: Any, exact: bool, name: str) -> None:
        """Few enough for every answer to be exact, ties and all."""
        space = "default" if name == "points" else "extra"
        hits = self.collection(which, name).search(query, k=k, where=where, exact=exact, space=space, ef=200)
        self.model[name].assert_hits(hits, query, k, where, space)

    @rule(number=NUMBERS, which=WHICH, k=st.sampled_from([1, 10, 10, 50]), where=WHERE)
    def search_graph(self, number: int, which: int, k: int, where: Any) -> None:
        """Exactly, by the graph, and several queries at once; with what a stored record is, and with other vectors."""
        held, collection = self.model["graph"], self.collection(which, "graph")
        chance = np.random.default_rng(number)
        queries = [*POOL[chance.integers(0, len(POOL), 2)], *chance.standard_normal((2, DIMENSION))]
        held.assert_hits(collection.search(queries[0], k=k, where=where, exact=True), queries[0], k, where)
        together = collection.search_batch(queries, k=k, where=where)
        recalls = held.recalls(together, queries, k, where)
        # Four queries are few: one miss among ten hits is allowed, and all of them are counted together.
        self.asked += len(recalls)
        self.recalled += sum(recalls)
        assert sum(recalls) / len(recalls) >= 0.9, recalls
        assert self.asked < 40 or self.recalled / self.asked >= 0.95, self.recalled / self.asked
        apart = collection.search(queries[1], k=k, where=where)
        assert [hit.id for hit in apart] == [hit.id for hit in together[1]]

    @rule(
        text=TITLES,
        which=WHICH,
        k=st.integers(1, 8),
        where=WHERE,
        mood=MOOD,
        name=st.sampled_from(["texts", "fields"]),
    )
    def search_texts(self, text: str, which: int, k: int, where: Any, mood: str, name: str) -> None:
        expected, bad = failing(mood, {"": [text]}, set())  # a query is embedded each time
        collection = self.collection(which, name)
        found = []
        with in_mood(mood):
            error = raised(lambda: found.extend(collection.search(text, k=k, where=where, ef=400)))
        expected = expected or (vecdb.EmbeddingError if bad else None)
        assert type(error) is (type(None) if expected is None else expected), repr(error)
        if error is None:
            held = self.model[name]
            held.assert_hits(found, as_stored(held.metric, vector_of(text)), k, where)

    @rule(which=WHICH, name=st.sampled_from(["points", "graph", "texts", "pictures", "fields"]), where=WHERE)
    def count(self, which: int, name: str, where: Any) -> None:
        assert self.collection(which, name).count(where) == len(matching(self.model[name].records, where))

    @rule(which=WHICH, name=st.sampled_from(["points", "texts", "pictures", "fields"]), ids=st.lists(IDS, max_size=4))
    def get(self, which: int, name: str, ids: Any) -> None:
        collection, held = self.collection(which, name), self.model[name]
        found = collection.get(ids)
        assert [record.id for record in found] == [id for id in ids if id in held.records]
        assert [id in collection for id in ids] == [id in held.records for id in ids]
        for record in found:
            held.assert_record(record)

    @rule(which=WHICH)
    def failures(self, which: int) -> None:
        self.model["texts"].assert_failures(self.collection(which, "texts").failures())
