"""Vectors for the tests of indexes."""

from __future__ import annotations

import numpy as np

from vecdb.types import Labels, Metric, Vector
from vecdb.vectors import exact_distances, normalise


def clustered(count: int, dimension: int, *, seed: int = 0, metric: Metric = "cosine") -> Vector:
    """Distinct vectors in clusters of uneven size, with most of their spread in few directions, as embeddings are."""
    random = np.random.default_rng(seed)
    spread = np.arange(1, dimension + 1) ** -0.7
    centres = np.random.default_rng(99).normal(size=(50, dimension)) * spread
    vectors = centres[random.zipf(1.4, count) % 50] + 0.7 * random.normal(size=(count, dimension)) * spread
    vectors = vectors.astype(np.float32)
    return normalise(vectors) if metric == "cosine" else vectors


def numbered(vectors: Vector, first: int = 1) -> Labels:
    return np.arange(first, first + len(vectors), dtype=np.int64)


def oracle(metric: Metric, query: Vector, k: int, labels: Labels, vectors: Vector) -> tuple[list[int], list[float]]:
    """Every distance in float64, sorted by (float32 distance, label) in plain Python."""
    with np.errstate(over="ignore"):
        distances = exact_distances(metric, query, vectors).astype(np.float32).tolist()
    best = sorted(zip(distances, labels.tolist(), strict=True))[:k]
    return [label for _, label in best], [distance for distance, _ in best]


def recall(found: Labels, truth: Labels) -> float:
    """Mean share of the true neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))
