"""The answers of graph and exact parts become one, and parts that cannot contribute are left out."""

from __future__ import annotations

import numpy as np
import pytest

from tests.index.data import clustered, numbered, oracle
from vecdb.index.base import IndexParts
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.labels import as_allowed
from vecdb.planner import nearest_labels
from vecdb.types import METRICS


class CountedIndex(ExactIndex):
    """Knows how often it was searched."""

    searches = 0

    def search(self, *args, **kwargs):
        self.searches += 1
        return super().search(*args, **kwargs)


def parts_of(metric, vectors, few):
    graph, part = HnswIndex(vectors.shape[1], metric, ef=400), CountedIndex(vectors.shape[1], metric)
    graph.add(numbered(vectors), vectors)
    part.add(numbered(few, len(vectors) + 1), few)
    return IndexParts(graph, [part]), part


@pytest.mark.parametrize("metric", METRICS)
def test_few_vectors_beside_the_graph_are_found_whether_near_or_far(metric):
    vectors = clustered(2100, 24, metric=metric)
    parts, part = parts_of(metric, vectors[:2000], vectors[2000:])
    found = 0
    for query in clustered(60, 24, seed=3, metric=metric):
        for allowed in (None, numbered(vectors)[::2]):
            labels, distances = nearest_labels(
                parts, query[None], 10, allowed=None if allowed is None else as_allowed(allowed), ef=None, exact=False
            )
            rows = numbered(vectors) if allowed is None else allowed
            expected, lengths = oracle(metric, query, 10, rows, vectors[rows - 1])
            few = [label for label in expected if label > 2000]
            assert [label for label in labels[0].tolist() if label > 2000][: len(few)] == few
            if metric != "ip":  # which a graph does not find all of
                assert labels[0].tolist() == expected
                assert distances[0] == pytest.approx(lengths, rel=1e-5, abs=1e-5)
            found += bool(few)
    assert 10 < found < 110
    assert 10 < part.searches < 115  # left out now and then


def test_a_part_that_is_farther_than_the_graphs_last_hit_is_not_searched():
    vectors = clustered(500, 16, metric="l2")
    parts, part = parts_of("l2", vectors, vectors[:50] + np.float32(100))
    nearest_labels(parts, vectors[:1], 10, allowed=None, ef=None, exact=False)
    assert part.searches == 0
    labels, _ = nearest_labels(parts, vectors[:1] + np.float32(100), 10, allowed=None, ef=None, exact=False)
    assert part.searches == 1
    assert labels[0, 0] == 501
    labels, _ = nearest_labels(parts, vectors[:1], 510, allowed=None, ef=None, exact=False)
    assert labels.shape == (1, 510)  # all of the graph are not enough
