"""`calibrated_ef`: hard data gets the `ef` that the promised recall needs, easy data the default."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb.index.calibration import calibrated_ef
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import DEFAULT_EF, HnswIndex
from vecdb.types import Vector

PROMISE = 0.95


def clustered(count: int, seed: int) -> Vector:
    """Easy: clusters in 8 dimensions."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(40, 8))
    random = np.random.default_rng(seed)
    return (centres[random.integers(0, 40, count)] + 0.4 * random.normal(size=(count, 8))).astype(np.float32)


def scattered(count: int, seed: int) -> Vector:
    """Hard: every direction alike in 64 dimensions, so that neighbours are hardly nearer than others."""
    return np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)


def recall(index: HnswIndex, exact: ExactIndex, queries: Vector, ef: int) -> float:
    found, true = index.search(queries, 10, ef=ef)[0], exact.search(queries, 10)[0]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, true, strict=True)]))


@pytest.mark.parametrize(("make", "easy"), [(clustered, True), (scattered, False)])
def test_ef_is_what_the_promise_needs(make, easy: bool) -> None:
    stored, queries = make(4000, 1), make(100, 2)
    index, exact = HnswIndex(stored.shape[1], "l2", M=8, ef_construction=60), ExactIndex(stored.shape[1], "l2")
    for each in (index, exact):
        each.add(np.arange(1, 4001), stored)
    ef = calibrated_ef(index)
    assert ef is not None
    assert recall(index, exact, queries, ef) >= PROMISE
    if easy:
        assert ef == DEFAULT_EF
    else:
        assert recall(index, exact, queries, DEFAULT_EF) < PROMISE
        assert ef > DEFAULT_EF


def test_a_small_graph_is_no_problem() -> None:
    index = HnswIndex(4, "cosine")
    index.add(np.array([3, 5]), np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32))
    assert calibrated_ef(index) == DEFAULT_EF
