"""`search_exactly` and `scans` of the graph index."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.types import METRICS, Metric


@pytest.mark.parametrize("metric", METRICS)
def test_search_exactly_is_exact_where_the_graph_is_poor(metric: Metric) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(3000, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.arange(1, 3001)
    poor, exact = HnswIndex(24, metric, M=2, ef_construction=4, ef=10), ExactIndex(24, metric)
    for index in (poor, exact):
        index.add(labels, vectors)
        index.remove(labels[::10])
    queries = vectors[:50] + np.float32(0.01)
    expected, distances = exact.search(queries, 10)
    approximate, _ = poor.search(queries, 10)
    found, found_distances = poor.search_exactly(queries, 10)
    assert (approximate != expected).any()
    assert (found == expected).all()
    assert (found_distances == distances).all()
    allowed = labels[1::7]
    assert (poor.search_exactly(queries, 10, allowed=allowed)[0] == exact.search(queries, 10, allowed=allowed)[0]).all()
    assert poor.search_exactly(queries, 10, allowed=np.array([1, 11, 4000]))[0].shape == (50, 0)


def test_scans_says_what_search_does(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    vectors = random.normal(size=(4000, 8)).astype(np.float32)
    index = HnswIndex(8, "l2")
    index.add(np.arange(1, 4001), vectors)
    asked: list[str] = []
    for name in ("_scan", "_from_graph"):
        real = getattr(HnswIndex, name)

        def noting(self: HnswIndex, *arguments: object, name: str = name, real: object = real) -> object:
            asked.append(name)
            return real(self, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(HnswIndex, name, noting)
    for count in (1, 20, 300, 600, 2000, 4000):
        asked.clear()
        index.search(vectors[:1], 10, allowed=np.arange(1, count + 1))
        assert index.scans(count, 10) == (asked[0] == "_scan"), count
