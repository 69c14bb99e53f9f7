"""Exact nearest neighbours among rows in memory: fast scores, a bound on their error, exact ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.index.rows import RowRange, dots
from vecdb.types import Labels, Metric, Vector
from vecdb.vectors import exact_distances

Distances = NDArray[np.float32]
Found = tuple[Labels, Distances]

BLOCK_ROWS = 32_768
_BLOCK_SCORES = 1 << 21  # scores held at once: 8 MiB of float32, and a few float64 rows beside them
_FEW_ROWS = 100
_RANKED_AT_ONCE = 4096
UNIT = 2.0**-24  # half the distance from 1 to the next float32
TINIEST = 2.0**-126  # below it, float32 arithmetic may round to zero
_LARGEST = float(np.finfo(np.float32).max)


def row_norms(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Euclidean length of each row of (n, d)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))


def no_neighbours(queries: int, k: int = 0) -> tuple[Labels, Distances]:
    """Room for k neighbours of each of so many queries."""
    return np.empty((queries, k), np.int64), np.empty((queries, k), np.float32)


def nearest(
    metric: Metric,
    queries: Vector,
    k: int,
    *,
    labels: Labels,
    rows: Vector | RowRange,
    norms: NDArray[np.float64],
    kept: NDArray[np.bool_] | None = None,
) -> tuple[Labels, Distances]:
    """The k nearest rows of each query, by (float32 distance, label), as if all were compared in float64.

    BLAS gives scores in float32 first. Their error is at most d*u / (1 - d*u) * |x| * |q| in any order
    of summation, u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5), so
    that no true neighbour is lost among the rows whose lower bound is below the k-th upper bound. Only
    these are ranked with `exact_distances`, and the answer does not depend on how BLAS adds.

    Args:
        metric: cosine, l2 or ip.
        queries: shape (q, d).
        k: at least 1.
        labels: shape (n,).
        rows: shape (n, d).
        norms: `row_norms(rows)`.
        kept: shape (n,); rows to leave out are False.

    Returns:
        Labels and distances of shape (q, min(k, number kept)).
    """
    total = len(rows) if kept is None else int(np.count_nonzero(kept))
    width = min(k, total)
    found, distances = no_neighbours(len(queries), width)
    if not width:
        return found, distances
    step = max(1, _BLOCK_SCORES // len(rows))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        if total <= max(width + 16, _FEW_ROWS):  # ranking a few rows more costs less than leaving them out
            everything = np.arange(len(rows)) if kept is None else np.flatnonzero(kept)
            candidates = [everything] * len(part)
        else:
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                products = dots(rows, part)
                candidates = [
                    _candidates(metric, query, width, dots=products[i], norms=norms, kept=kept)
                    for i, query in enumerate(part)
                ]
        for i, chosen in enumerate(candidates, start):
            found[i], distances[i] = _rank(metric, queries[i], width, labels=labels, rows=rows, chosen=chosen)
    return found, distances


def _candidates(
    metric: Metric,
    query: Vector,
    k: int,
    *,
    dots: NDArray[np.float32],
    norms: NDArray[np.float64],
    kept: NDArray[np.bool_] | None,
) -> NDArray[np.intp]:
    """Positions of all rows that can be among the k nearest, given float32 dot products.

    First with one bound for all rows and float32 arithmetic, which leaves few of many rows unless
    their lengths differ widely; then with a bound for each row that is left.
    """
    length = float(np.sqrt(np.dot(query.astype(np.float64), query)))
    near = None
    error = _rough_error(metric, len(query), length, float(norms.max()))
    if math.isfinite(error):
        scores = _rough_scores(metric, dots, norms)
        if kept is not None:
            scores = np.where(kept, scores, np.float32(-np.inf))
        worst = float(np.partition(scores, len(scores) - k)[len(scores) - k])
        if metric == "cosine":
            worst = min(worst, 1.0)  # distances below zero count as zero, and tie
        near = np.flatnonzero(scores >= np.float32(worst - 2.0 * error - 8 * UNIT * abs(worst)))
    elif kept is not None:
        near = np.flatnonzero(kept)
    if near is None:
        near = np.arange(len(dots))
    return near[_possible(metric, query, k, dots=dots[near].astype(np.float64), norms=norms[near])]


def _rough_scores(metric: Metric, dots: NDArray[np.float32], norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """The higher, the nearer: the dot product; for l2, less half the square of the row's length."""
    return dots - (0.5 * norms * norms).astype(np.float32) if metric == "l2" else dots


def _rough_error(metric: Metric, dimension: int, length: float, longest: float) -> float:
    """How far such a score may be off, for a query and rows of these lengths; infinite where float32 may overflow."""
    if max(longest, length, 1.0) ** 2 >= _LARGEST / 16:
        return math.inf
    magnitude = longest * longest + length * length if metric == "l2" else 1.0 + longest * length
    return float(rounding_bound(dimension, np.array(longest * length))) + 8 * UNIT * magnitude


def least_distance(metric: Metric, query: Vector, rows: Vector | RowRange, norms: NDArray[np.float64]) -> float:
    """A lower bound of the distances of rows (n, d), n > 0, to a query (d,): quick, and just below the least."""
    exactly = query.astype(np.float64)
    square = float(np.dot(exactly, exactly))
    error = _rough_error(metric, len(query), math.sqrt(square), float(norms.max()))
    if not math.isfinite(error):
        return -math.inf
    most = float(_rough_scores(metric, dots(rows, query[np.newaxis])[0], norms).max()) + error
    return square - 2.0 * most if metric == "l2" else 1.0 - most


def _possible(
    metric: Metric, query: Vector, k: int, *, dots: NDArray[np.float64], norms: NDArray[np.float64]
) -> NDArray[np.bool_]:
    length = float(np.sqrt(np.dot(query.astype(np.float64), query)))
    products = norms * length
    error = rounding_bound(len(query), products)
    if metric == "l2":
        squares = norms * norms + length * length
        estimate = squares - 2.0 * dots
        error = 2.0 * error + 8 * UNIT * squares
    else:
        estimate = 1.0 - dots
        error += 8 * UNIT * (1.0 + products)
    return within_reach(metric, estimate - error, estimate + error, k)


def rounding_bound(dimension: int, products: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a float32 dot product may be off, for vectors whose lengths have these products."""
    gamma = (dimension + 8) * UNIT / (1 - (dimension + 8) * UNIT)
    return np.asarray(gamma * products + dimension * TINIEST)


def within_reach(
    metric: Metric, lower: NDArray[np.float64], upper: NDArray[np.float64], k: int
) -> NDArray[np.bool_]:
    """Which rows have a lower bound of distance that is not above the k-th upper bound, or may tie with it.

    Bounds that are not numbers, or infinite, mean that float32 overflowed: such rows are within reach.
    """
    unknown = ~(np.isfinite(lower) & np.isfinite(upper))
    lower, upper = np.where(unknown, -np.inf, lower), np.where(unknown, np.inf, upper)
    limit = float(np.partition(upper, k - 1)[k - 1])
    if metric == "cosine":
        limit = max(limit, 0.0)
    return np.asarray(lower <= tying_limit(limit))


def tying_limit(distance: float) -> float:
    """The largest distance that may be equal to this one as float32: these tie, and the label decides."""
    limit = distance + 8 * UNIT * abs(distance) + TINIEST
    return math.inf if limit > _LARGEST else max(limit, -_LARGEST)


def _rank(
    metric: Metric, query: Vector, k: int, *, labels: Labels, rows: Vector | RowRange, chosen: NDArray[np.intp]
) -> tuple[Labels, Distances]:
    parts = []
    for start in range(0, len(chosen), _RANKED_AT_ONCE):
        some = chosen[start : start + _RANKED_AT_ONCE]
        with np.errstate(over="ignore", under="ignore"):
            distances = exact_distances(metric, query, rows[some]).astype(np.float32)
        order = np.lexsort((labels[some], distances))[:k]
        parts.append((labels[some][order][np.newaxis], distances[order][np.newaxis]))
    found, distances = merge_nearest(parts, k)
    return found[0], distances[0]


def merge_nearest(parts: Sequence[tuple[Labels, Distances]], k: int) -> tuple[Labels, Distances]:
    """The k nearest of several answers for the same queries, sorted by (distance, label).

    Each part holds labels and distances of shape (q, any number); no label stands in two parts.
    """
    if len(parts) == 1:
        labels, distances = parts[0]
        return labels[:, :k], distances[:, :k]
    labels = np.concatenate([part[0] for part in parts], axis=1)
    distances = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((labels, distances), axis=-1)[:, :k]
    return np.take_along_axis(labels, order, axis=1), np.take_along_axis(distances, order, axis=1)


def has_ties(distances: Distances) -> bool:
    """Whether two neighbouring distances of a row are equal; shape (q, k), each row ascending."""
    if len(distances) == 1 and distances.size <= 32:  # in a third of the time that numpy takes for so few
        return len(set(distances[0].tolist())) < distances.size
    return bool((distances[:, 1:] == distances[:, :-1]).any())
