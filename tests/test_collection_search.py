"""search: min(k, matching) hits, by distance, ties by insertion order; records of one vector; every kind of query."""

from __future__ import annotations

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Counting

KINDS = ["exact", "hnsw", "auto"]


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    """The kind of index; auto changes from exact to a graph at 50 vectors here."""
    monkeypatch.setattr("vecdb.sync.EXACT_UNTIL", 50)
    return request.param


def ids(hits):
    return [hit.id for hit in hits]


def filled(database, count, *, kind="exact", metric="l2", dimension=8, seed=0):
    """A collection of random vectors; record n has the id "n" and the metadata {"n": n, "half": n % 2}."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    collection = database.create_collection("filled", dimension=dimension, metric=metric, index=kind)
    collection.add(
        [f"content {n}" for n in range(count)],
        ids=[str(n) for n in range(count)],
        metadata=[{"n": n, "half": n % 2} for n in range(count)],
        vectors=rows,
    )
    return collection, rows


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_hits_are_those_of_numpy(database, kind, metric):
    collection, rows = filled(database, 200, kind=kind, metric=metric)
    collection.optimize()
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for query in np.random.default_rng(1).standard_normal((20, 8)):
        unit = query / np.linalg.norm(query) if metric == "cosine" else query
        distances = ((rows - unit) ** 2).sum(axis=1) if metric == "l2" else 1 - rows @ unit
        for where, keep in ((None, np.ones(200, bool)), ({"half": 1}, np.arange(200) % 2 == 1)):
            order = [n for n in np.argsort(distances) if keep[n]][:10]
            hits = collection.search(query, k=10, where=where, exact=True)
            assert ids(hits) == [str(n) for n in order]
            np.testing.assert_allclose([hit.distance for hit in hits], distances[order], rtol=1e-4, atol=1e-5)
            found = collection.search(query, k=10, where=where, ef=200)
            assert len(set(ids(found)) & set(ids(hits))) >= 9


@pytest.mark.parametrize(("metric", "score"), [("cosine", 0.6), ("l2", 1 / (1 + 0.8)), ("ip", 0.6)])
def test_the_score_of_each_metric(database, metric, score):
    collection = database.create_collection("one", dimension=2, metric=metric)
    collection.add(["content"], ids=["x"], metadata=[{"n": 1}], vectors=[[1, 0]])
    (hit,) = collection.search([0.6, 0.8])
    assert hit.score == pytest.approx(score, abs=1e-6)
    assert hit.distance == pytest.approx(0.8 if metric == "l2" else 0.4, abs=1e-6)
    assert (hit.id, hit.content, hit.metadata) == ("x", "content", {"n": 1})
    with pytest.raises(AttributeError):
        hit.distance = 0


@pytest.mark.parametrize("count", [1, 2, 7, 60, 120])
def test_always_as_many_hits_as_can_be(database, kind, count):
    collection, rows = filled(database, count, kind=kind)
    collection.optimize()
    for k in (1, count - 1, count, count + 1, 10 * count, 2**31 - 1):
        if k < 1:
            continue
        hits = collection.search(rows[0], k=k)
        assert len(set(ids(hits))) == len(hits) == min(k, count)
        assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
        assert len(collection.search(rows[0], k=k, where={"n": {"$lt": count // 3}})) == min(k, count // 3)
        assert len(collection.search(rows[0], k=k, ef=1)) == min(k, count)
    assert collection.search(rows[0], where={"n": -1}) == []


def test_an_empty_collection_has_no_hits(database, kind):
    collection = database.create_collection("empty", dimension=2, index=kind)
    assert collection.search([1, 2]) == []
    assert collection.search_batch([[1, 2], [3, 4]], where={"a": 1}) == [[], []]
    assert collection.explain([1, 2]).hits == 0
    collection.add([None], ids=["x"], vectors=[[1, 2]])
    collection.delete(["x"])
    collection.optimize()
    assert collection.search([1, 2]) == []


# --- ties and shared vectors --------------------------------------------------------------------


def test_ties_come_in_insertion_order(database, kind):
    """The corners of a square, each many times: all distances from the centre are equal."""
    collection = database.create_collection("square", dimension=2, metric="l2", index=kind)
    corners = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    order = [str(n) for n in range(200)]
    collection.add([None] * 200, ids=order, vectors=[corners[(n * 7 + n // 4) % 4] for n in range(200)])
    collection.optimize()
    for k in (1, 3, 50, 199, 200):
        assert ids(collection.search([0, 0], k=k)) == order[:k]
    collection.upsert([None] * 2, ids=["3", "0"], vectors=[[1, 1], [-1, 1]])  # their place stays theirs
    assert ids(collection.search([0, 0], k=5)) == order[:5]


def test_ties_among_distinct_vectors_come_in_insertion_order(database, kind):
    """300 distinct vectors at one distance, and the labels in another order than the records."""
    collection = database.create_collection("axes", dimension=100, metric="l2", index=kind)
    rows = np.concatenate([np.eye(100) * scale for scale in (1, -1)])
    order = [str(n) for n in range(200)]
    collection.add([None] * 200, ids=order, vectors=rows)
    collection.upsert([None] * 50, ids=order[:50], vectors=rows[:50][::-1])  # new labels for the first records
    collection.optimize()
    assert ids(collection.search(np.zeros(100), k=20, exact=True)) == order[:20]
    assert ids(collection.search(np.zeros(100), k=20, ef=1000)) == order[:20]
    assert ids(collection.search(np.zeros(100), k=200)) == order


def test_records_of_one_vector_share_a_label_and_are_all_hits(database, kind):
    collection = database.create_collection("shared", dimension=2, metric="l2", index=kind)
    vectors = [[1, 0]] * 100 + [[2, 0], [3, 0]]
    collection.add([None] * 102, ids=[str(n) for n in range(102)], vectors=vectors)
    collection.optimize()
    assert collection.spaces["default"].vectors == 3
    assert ids(collection.search([1, 0], k=10)) == [str(n) for n in range(10)]
    assert ids(collection.search([1, 0], k=101)) == [str(n) for n in range(101)]
    assert ids(collection.search([3, 0], k=3)) == ["101", "100", "0"]
    collection.delete([str(n) for n in range(0, 100, 2)])
    assert ids(collection.search([1, 0], k=3)) == ["1", "3", "5"]


def test_of_a_shared_vector_only_matching_records_are_hits(database, kind):
    collection = database.create_collection("shared", dimension=2, metric="l2", index=kind)
    metadata = [{"n": n} for n in range(80)]
    collection.add(
        [None] * 80, ids=[str(n) for n in range(80)], metadata=metadata, vectors=[[n // 8, 0] for n in range(80)]
    )
    collection.optimize()
    assert ids(collection.search([0, 0], k=4, where={"n": {"$in": [3, 5, 17, 79]}})) == ["3", "5", "17", "79"]
    assert ids(collection.search([0, 0], k=2, where={"n": {"$gte": 70}})) == ["70", "71"]
    assert ids(collection.search([9, 0], k=9, where={"$not": {"n": 73}})) == [
        *(str(n) for n in [72, *range(74, 80)]), "64", "65",
    ]  # fmt: skip


# --- queries ------------------------------------------------------------------------------------


def test_lists_tuples_and_arrays_of_any_number_type_are_vectors(database):
    collection, rows = filled(database, 30)
    expected = ids(collection.search(rows[3]))
    for query in (
        rows[3].tolist(), tuple(rows[3].tolist()), rows[3].astype(np.float64), rows[3].astype(">f4"),
        np.repeat(rows[3], 2)[::2], [np.float32(value) for value in rows[3]],
    ):  # fmt: skip
        assert ids(collection.search(query)) == expected
    assert ids(collection.search([1] * 8)) == ids(collection.search(np.ones(8, np.int16)))


def test_a_text_and_its_vector_find_the_same(database):
    texts = database.create_collection("texts", embedder="counting")
    texts.add([f"text {n}" for n in range(30)])
    (vector,) = [record.vectors for record in texts if record.content == "text 7"]
    Counting.seen.clear()
    by_text = texts.search("text 7", k=5)
    assert Counting.seen == [("text 7", "query")]
    by_vector = texts.search(vector, k=5)
    assert ids(by_text) == ids(by_vector)
    assert by_text[0].content == "text 7"
    mixed = texts.search_batch(["text 7", vector, "text 8", vector.tolist()], k=5)
    assert [ids(hits) for hits in mixed] == [ids(by_text), ids(by_text), ids(texts.search("text 8", k=5)), ids(by_text)]


def test_a_batch_gives_what_single_searches_give(database, kind):
    collection, _ = filled(database, 150, kind=kind)
    collection.optimize()
    queries = np.random.default_rng(3).standard_normal((12, 8)).astype(np.float32)
    for where in (None, {"half": 0}, {"n": {"$lt": 4}}, {"n": -1}):
        batch = collection.search_batch(queries, k=7, where=where, exact=True)
        assert batch == [collection.search(query, k=7, where=where, exact=True) for query in queries]
        assert [ids(hits) for hits in collection.search_batch(list(queries), k=7, where=where, ef=300)] == list(
            map(ids, batch)
        )


def test_ef_makes_a_graph_search_more_exact(database):
    collection, _ = filled(database, 3000, kind="hnsw", dimension=32)
    collection.optimize()
    queries = np.random.default_rng(4).standard_normal((50, 32))
    truth = [set(ids(hits)) for hits in collection.search_batch(queries, exact=True)]

    def recall(ef):
        found = collection.search_batch(queries, ef=ef)
        return sum(len(want & set(ids(hits))) for want, hits in zip(truth, found, strict=True)) / 500

    assert recall(10) < recall(400)
    assert recall(400) > 0.99
    assert recall(None) >= 0.95


@pytest.mark.parametrize("size", [1e-30, 1e18, 1e30])
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_very_small_and_very_large_numbers(database, metric, size):
    """Distances may overflow to infinity, but nothing fails and all hits come."""
    rows = np.random.default_rng(0).standard_normal((20, 4)) * size
    collection = database.create_collection("sizes", dimension=4, metric=metric)
    collection.add([None] * 20, ids=[str(n) for n in range(20)], vectors=rows)
    hits = collection.search(rows[3], k=20)
    assert sorted(map(int, ids(hits))) == list(range(20))
    assert not any(np.isnan(hit.distance) or np.isnan(hit.score) for hit in hits)
    if metric == "cosine":
        assert hits[0].id == "3"


# --- several spaces -----------------------------------------------------------------------------


def test_each_space_is_searched_by_its_own_vectors(database):
    spaces = {
        "default": {"embedder": "counting", "source": "title"},
        "body": {"embedder": "counting", "source": "body", "metric": "l2", "embedder_options": {"flavour": 2}},
        "place": {"dimension": 2, "metric": "l2"},
    }
    articles = database.create_collection("articles", spaces=spaces)
    articles.add(
        [{"title": "a", "body": "x"}, {"title": "b"}, {"title": "c", "body": "z"}],
        ids=["1", "2", "3"],
        metadata=[{"n": 1}, {"n": 2}, {"n": 3}],
        vectors={"place": [[0, 0], [1, 1], [5, 5]]},
    )
    assert list(articles.spaces) == ["default", "body", "place"]
    assert [articles.spaces[name].vectors for name in articles.spaces] == [3, 2, 3]
    assert articles.search("b", k=1)[0].id == "2"
    assert ids(articles.search("z", space="body")) == ["3", "1"]  # record 2 has no body
    assert ids(articles.search([4, 4], space="place")) == ["3", "2", "1"]
    assert ids(articles.search([4, 4], space="place", where={"n": {"$ne": 3}})) == ["2", "1"]
    articles.upsert([{"title": "a", "body": "changed"}], ids=["1"], vectors={"place": [[9, 9]]})
    assert ids(articles.search("changed", space="body", k=1)) == ["1"]
    assert ids(articles.search([9, 9], space="place", k=1)) == ["1"]
    assert sorted(articles.get(["1"])[0].vectors) == ["body", "default", "place"]
    with pytest.raises(vecdb.NotFoundError, match="'default', 'body', 'place'"):
        articles.search("a", space="title")


# --- explain ------------------------------------------------------------------------------------


def test_explain_tells_the_plan_counts_and_times(database):
    collection, rows = filled(database, 400, kind="hnsw")
    collection.optimize()
    plan = collection.explain(rows[0], k=5)
    assert (plan.strategy, plan.vectors, plan.indexed, plan.allowed, plan.k, plan.hits) == (
        "graph",
        400,
        400,
        None,
        5,
        5,
    )
    assert plan.ef >= 5
    assert plan.reason
    assert set(plan.seconds) == {"embed", "filter", "search", "fetch"}
    assert all(0 <= seconds < 60 for seconds in plan.seconds.values())
    few = collection.explain(rows[0], k=5, where={"n": {"$lt": 3}})
    assert (few.strategy, few.allowed, few.hits, few.ef) == ("exact", 3, 3, None)
    assert collection.explain(rows[0], exact=True).strategy == "exact"
    assert collection.explain(rows[0], ef=77).ef == 77


def test_explain_of_an_exact_index(database):
    collection, rows = filled(database, 40)
    plan = collection.explain(rows[0], where={"half": 1})
    assert (plan.strategy, plan.vectors, plan.indexed, plan.allowed, plan.hits) == ("exact", 40, 0, 20, 10)


def test_auto_is_exact_for_few_vectors_and_a_graph_for_many(database, monkeypatch):
    monkeypatch.setattr("vecdb.sync.EXACT_UNTIL", 50)
    collection, rows = filled(database, 50, kind="auto")
    collection.optimize()
    assert collection.explain(rows[0]).strategy == "exact"
    collection.add([None], ids=["more"], vectors=[rows[0] + 1])
    collection.optimize()
    plan = collection.explain(rows[0])
    assert (plan.strategy, plan.indexed) == ("graph", 51)
    assert collection.spaces["default"].index == "auto"
