"""One question, asked in every way there is, has one answer."""

from __future__ import annotations

import numpy as np
import pytest

import vecdb
from vecdb.types import METRICS

COUNT, DIMENSION = 240, 12
FILTERS = [None, {"n": {"$lt": 30}}, {"half": 1}, {"n": 7}, {"n": -1}, {"word": {"$contains": "e"}}]


def rows_and_queries(seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((COUNT, DIMENSION)).astype(np.float32)
    rows[50:60] = rows[40:50]  # shared vectors
    rows[60:70] = -rows[40:50]
    return rows, rng.standard_normal((10, DIMENSION)).astype(np.float32)


def fill(database, name, kind, metric, rows, order=None):
    """All records in insertion order; `order` says in how many pieces, and what is done in between."""
    collection = database.create_collection(name, dimension=DIMENSION, metric=metric, index=kind)
    words = ["one", "two", "three"]
    for start in range(0, COUNT, order or COUNT):
        part = range(start, min(start + (order or COUNT), COUNT))
        collection.add(
            [None] * len(part),
            ids=[str(n) for n in part],
            metadata=[{"n": n, "half": n % 2, "word": words[n % 3]} for n in part],
            vectors=rows[part],
        )
        if order:
            collection.search(rows[0])
            collection.optimize()
    collection.optimize()
    return collection


def answers(collection, queries, **options):
    """Every hit of every query under every filter: ids in order, and distances to be compared."""
    return [
        [
            [(hit.id, hit.distance) for hit in hits]
            for hits in collection.search_batch(queries, where=where, k=15, **options)
        ]
        for where in FILTERS
    ]


def assert_same(one, two, *, exactly=False):
    for first, second in zip(one, two, strict=True):
        for some, others in zip(first, second, strict=True):
            if exactly:
                assert some == others
                continue
            assert [id for id, _ in some] == [id for id, _ in others]
            np.testing.assert_allclose([d for _, d in some], [d for _, d in others], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_every_way_gives_the_same_answer(folder, tmp_path, metric, monkeypatch):
    monkeypatch.setattr("vecdb.sync.EXACT_UNTIL", 100)
    rows, queries = rows_and_queries()
    with vecdb.open(folder) as database:
        truth = answers(fill(database, "exact", "exact", metric, rows), queries)
        for kind in ("hnsw", "auto"):
            for pieces in (None, 37):
                collection = fill(database, f"{kind} {pieces}", kind, metric, rows, order=pieces)
                assert collection.explain(queries[0]).strategy == "graph"
                assert_same(answers(collection, queries, exact=True), truth)
                assert_same(answers(collection, queries, ef=COUNT), truth)  # so many candidates leave nothing out
        pieces = fill(database, "exact in pieces", "exact", metric, rows, order=50)
        assert_same(answers(pieces, queries), truth, exactly=True)
        single = [
            [[(hit.id, hit.distance) for hit in pieces.search(query, where=where, k=15)] for query in queries]
            for where in FILTERS
        ]
        assert_same(single, truth, exactly=True)
        for k in (1, 3, 14):
            hits = pieces.search_batch(queries, k=k)
            assert [[hit.id for hit in some] for some in hits] == [[id for id, _ in some[:k]] for some in truth[0]]
        database.backup(tmp_path / "copy.vecdb")
    for place in (folder, tmp_path / "copy.vecdb"):
        with vecdb.open(place, read_only=True) as database:
            assert_same(answers(database.collection("exact"), queries), truth, exactly=True)
            for name in ("hnsw None", "auto 37"):
                assert_same(answers(database.collection(name), queries, exact=True), truth)


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_the_way_that_led_to_the_records_does_not_matter(folder, kind):
    """Added at once; or in pieces, replaced, deleted, added again: the same records in the same order."""
    rows, queries = rows_and_queries()
    with vecdb.open(folder) as database:
        straight = fill(database, "straight", kind, "cosine", rows)
        winding = database.create_collection("winding", dimension=DIMENSION, metric="cosine", index=kind)
        for n in range(0, COUNT, 20):
            part = range(n, n + 20)
            winding.add([None] * 20, ids=[str(m) for m in part], vectors=-rows[part][::-1] + 1)
            winding.add([None], ids=["temporary"], vectors=rows[:1], on_conflict="replace")
            winding.delete(["temporary"])
        winding.optimize()
        winding.upsert(
            [None] * COUNT,
            ids=[str(n) for n in range(COUNT)],
            metadata=[record.metadata for record in straight],
            vectors=rows,
        )
        winding.optimize()
        assert [record.id for record in winding] == [record.id for record in straight]
        assert_same(
            answers(winding, queries, exact=True), answers(straight, queries, exact=True), exactly=kind == "exact"
        )
        assert winding.spaces["default"].vectors == straight.spaces["default"].vectors == COUNT - 10


def test_ingest_add_and_upsert_store_the_same(database):
    records = [vecdb.Record(str(n), f"text {n % 7}", {"n": n}) for n in range(40)]
    stored = []
    for name in ("add", "upsert", "ingest", "twice"):
        collection = database.create_collection(name, embedder="counting")
        columns = {"ids": [r.id for r in records], "metadata": [r.metadata for r in records]}
        if name in ("add", "upsert"):
            getattr(collection, name)([r.content for r in records], **columns)
        else:
            collection.ingest(records, batch_size=9)
        if name == "twice":
            collection.ingest(reversed(records), batch_size=4)
        stored.append([(r.id, r.content, r.metadata, r.vectors.tolist()) for r in collection])
        assert [hit.id for hit in collection.search("text 3", k=3)] == ["3", "10", "17"]
    assert stored[0] == stored[1] == stored[2] == stored[3]
