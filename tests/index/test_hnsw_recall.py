"""The promise of recall: at least 0.95 at 10, with and without a filter, measured against brute force."""

from __future__ import annotations

import hnswlib
import numpy as np
import pytest

from tests.index.data import clustered, numbered, recall
from vecdb.index.costs import Line, SearchCosts
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.types import METRICS
from vecdb.vectors import normalise

COUNT, DIMENSION = 5000, 64
PROMISE = 0.95


@pytest.fixture(scope="module", params=METRICS)
def pair(request):
    vectors = clustered(COUNT, DIMENSION, metric=request.param)
    if request.param == "ip":  # inner product of vectors that differ in length a little, as embeddings do
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors *= np.random.default_rng(3).uniform(0.9, 1.1, size=(COUNT, 1)).astype(np.float32)
    indexes = HnswIndex(DIMENSION, request.param), ExactIndex(DIMENSION, request.param)
    for index in indexes:
        index.add(numbered(vectors), vectors)
    return *indexes, clustered(100, DIMENSION, seed=1, metric=request.param)


@pytest.mark.parametrize("k", [1, 10, 100, 500])
def test_recall(pair, k):
    index, exact, queries = pair
    assert recall(index.search(queries, k)[0], exact.search(queries, k)[0]) >= PROMISE


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("together", [True, False])
def test_recall_among_the_allowed(pair, share, together):
    index, exact, queries = pair
    allowed = np.sort(np.random.default_rng(7).permutation(COUNT)[: int(COUNT * share)]) + 1
    if together:
        found = index.search(queries, 10, allowed=allowed)[0]
    else:
        found = np.concatenate([index.search(query[None], 10, allowed=allowed)[0] for query in queries])
    assert np.isin(found, allowed).all()
    assert recall(found, exact.search(queries, 10, allowed=allowed)[0]) >= PROMISE


def test_the_graph_finds_as_much_with_a_filter_as_without():
    """On data without clusters, where the list has to be long: the first results are better known than later ones."""
    random = np.random.default_rng(4)
    vectors, queries = (normalise(random.normal(size=(n, 32)).astype(np.float32)) for n in (20_000, 200))
    index, exact = HnswIndex(32, "cosine", ef=100, threads=2), ExactIndex(32, "cosine")
    for each in (index, exact):
        each.add(numbered(vectors), vectors)
    index._among.costs = SearchCosts(scan=Line(1, 1), graph=Line(0, 0))  # so that the graph is asked
    plain = recall(index.search(queries, 10)[0], exact.search(queries, 10)[0])
    for share in (0.5, 0.2, 0.1, 0.05):
        allowed = np.sort(random.permutation(len(vectors))[: int(len(vectors) * share)]) + 1
        found = recall(index.search(queries, 10, allowed=allowed)[0], exact.search(queries, 10, allowed=allowed)[0])
        assert found >= plain - 0.005


@pytest.mark.parametrize("share", [0.3, 0.05])
def test_recall_when_all_allowed_vectors_are_far_away(pair, share):
    index, exact, queries = pair
    few = queries[:20]
    for query in few:
        farthest = np.sort(exact.search(query[None], COUNT)[0][0, -int(COUNT * share) :])
        found = index.search(query[None], 10, allowed=farthest)[0]
        assert recall(found, exact.search(query[None], 10, allowed=farthest)[0]) >= 0.9


def test_recall_after_most_vectors_were_replaced():
    vectors = clustered(6000, DIMENSION)
    index, exact = HnswIndex(DIMENSION, "cosine"), ExactIndex(DIMENSION, "cosine")
    for start in range(0, 6000, 1000):
        for each in (index, exact):
            each.add(numbered(vectors[start : start + 1000], start + 1), vectors[start : start + 1000])
            if start >= 2000:
                each.remove(np.arange(start - 1999, start - 999))
    assert index.tombstone_ratio > 0.6
    queries = clustered(100, DIMENSION, seed=1)
    assert recall(index.search(queries, 10)[0], exact.search(queries, 10)[0]) >= PROMISE


def test_one_node_for_each_distinct_vector_keeps_the_recall_that_identical_rows_destroy():
    real = clustered(2000, 32)
    same = normalise(-real.mean(axis=0, keepdims=True))  # far from all others, so that it is nobody's neighbour
    rows = np.concatenate([np.repeat(same, 4000, axis=0), real])
    number = {vector.tobytes(): label for label, vector in enumerate(real, 1)}
    exact = ExactIndex(32, "cosine")
    exact.add(numbered(real), real)
    queries = clustered(100, 32, seed=1)
    truth = exact.search(queries, 10)[0]

    bare = hnswlib.Index("ip", 32)
    bare.init_index(len(rows), M=16, ef_construction=200)
    bare.set_ef(100)
    bare.add_items(rows, [number.get(row.tobytes(), 10_000 + i) for i, row in enumerate(rows)], num_threads=1)
    collapsed = recall(bare.knn_query(queries, 10, num_threads=1)[0].astype(np.int64), truth)

    distinct = np.unique(rows, axis=0)
    index = HnswIndex(32, "cosine")
    index.add([number.get(row.tobytes(), 10_000) for row in distinct], distinct)
    kept = recall(index.search(queries, 10)[0], truth)
    assert kept >= PROMISE
    assert collapsed < 0.9
