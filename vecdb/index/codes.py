"""Small copies of vectors, one byte a number, which tell the few that can be near from the many that cannot.

hnswlib hands out the vectors that it keeps only through Python lists, some 15 µs each. To search exactly
among some of them, the copies are compared first, and only what a bound on their error leaves is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecdb.index import int8
from vecdb.index.labels import with_room
from vecdb.index.scan import TINIEST, UNIT, rounding_bound, row_norms, tying_limit, within_reach
from vecdb.types import Metric, Vector

_GRAIN = 127
_SMALLEST_SCALE = 2.0**-120  # below it, the arithmetic of float32 is not exact enough; the copy is then all zeros
_DECODED_ROWS = 1024
_ENCODED_ROWS = 256
_GATHERED_ROWS = 4096
_SCORES = 1 << 21
_MOST_SPLIT = 8  # queries; for more, a product of matrices is faster
_FETCHED_AT_ONCE = 24  # vectors that are fetched in less time than a closer look at them takes
_ROUNDED = 1e-12  # relative, of a few operations in float64


class VectorCodes:
    """Vectors rounded to multiples of 1/127 of their largest number; dimension + 24 bytes each.

    A vector x, its copy c and the length r of x - c: every distance from x is within r of the distance
    from c (the triangle inequality; for inner products, Cauchy and Schwarz).
    """

    def __init__(self, dimension: int, missing: int = 0) -> None:
        """With places for so many vectors, whose copies `fill` makes."""
        self.missing = missing
        self._dimension = dimension
        self._count = 0  # of those behind the missing ones
        self._codes: NDArray[np.int8] = np.empty((0, dimension), np.int8)
        self._scales: NDArray[np.float64] = np.empty(0)
        self._lengths: NDArray[np.float64] = np.empty((0, 2))  # of the copy, and of what it leaves out
        self._largest = np.zeros(3)  # scale, and lengths

    def append(self, vectors: Vector) -> None:
        """Keep copies of vectors (n, dimension); their places follow those that are there, or missing."""
        end = self._count + len(vectors)
        if end > len(self._codes):
            self.make_room(end + self._count // 2)
        for start in range(0, len(vectors), _ENCODED_ROWS):
            some = vectors[start : start + _ENCODED_ROWS]
            place = slice(self._count, self._count + len(some))
            codes, figures = _encode(some)
            self._codes[place], self._scales[place] = codes, figures.scale
            self._lengths[place] = np.stack(figures[1:], axis=1)
            self._largest = np.maximum(self._largest, [column.max() for column in figures])
            self._count += len(some)

    def make_room(self, rows: int) -> None:
        """Have room for so many behind the missing ones, so that `append` need not copy all that is there."""
        if rows <= len(self._codes):
            return
        self._codes = with_room(self._codes, self._count, rows)
        self._scales = with_room(self._scales, self._count, rows)
        self._lengths = with_room(self._lengths, self._count, rows)

    def fill(self, blocks: Iterable[Vector]) -> None:
        """Make the missing copies, of vectors (n, dimension) in the order of their places.

        What `blocks` raises is raised again, and they are missing as before.
        """
        filled = VectorCodes(self._dimension)
        filled.make_room(self.missing + self._count)
        with np.errstate(all="ignore"):  # where the blocks turn out to be wrong in the end, they may hold anything
            for vectors in blocks:
                filled.append(vectors)
        mine, added = slice(self._count), slice(filled._count, filled._count + self._count)
        filled._codes[added], filled._scales[added] = self._codes[mine], self._scales[mine]
        filled._lengths[added] = self._lengths[mine]
        self._codes, self._scales, self._lengths = filled._codes, filled._scales, filled._lengths
        self._largest = np.maximum(self._largest, filled._largest)
        self._count, self.missing = added.stop, 0

    def are_of(self, places: NDArray[np.intp], vectors: Vector) -> bool:
        """Whether vectors (n, dimension) have the copies at these places."""
        with np.errstate(all="ignore"):
            found = np.rint(vectors / self._scales.take(places).astype(np.float32)[:, np.newaxis])
        return bool((found == self._codes.take(places, axis=0)).all())

    def possible(self, metric: Metric, queries: Vector, k: int, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the vectors at `places` can be among the k nearest there, for any of the queries (q, d).

        None may be missing. Every true neighbour is marked, also each that only ties with the k-th as float32.
        """
        marked = np.zeros(len(places), np.bool_)
        if len(places) <= k:
            return ~marked
        scales = self._scales.take(places)
        step = max(1, _SCORES // len(places))
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                lengths = row_norms(part)
                products, slacks = self._products(part, lengths, places)
                for row in range(len(part)):
                    asked = _Asked(metric, k, self._dimension, float(lengths[row]), float(slacks[row]))
                    dots = products[row] * scales
                    near = self._near(asked, dots, places)
                    if len(near) > k + _FETCHED_AT_ONCE:
                        figures = _Figures(scales[near], *self._lengths.take(places[near], axis=0).T)
                        near = near[_possible(asked, dots[near], figures)]
                    marked[near] = True
        return marked

    def _products(
        self, queries: Vector, lengths: NDArray[np.float64], places: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Each query (q, d), of this length, times each copy, without its scale, (q, n); how far off at most, (q,).

        It may be off by so much times the length of the copy.
        """
        if len(queries) <= _MOST_SPLIT and int8.is_fast():
            return self._products_of_int8(queries, lengths, places)
        products = np.empty((len(queries), len(places)), np.float32)
        for start in range(0, len(places), _DECODED_ROWS):
            block = slice(start, start + _DECODED_ROWS)
            decoded = self._codes.take(places[block], axis=0).astype(np.float32)
            if len(queries) == 1:
                products[0, block] = decoded @ queries[0]
            else:
                products[:, block] = queries @ decoded.T
        return products, rounding_bound(self._dimension, lengths)

    def _products_of_int8(
        self, queries: Vector, lengths: NDArray[np.float64], places: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """With each query as the sum of two copies, which leave next to nothing of it out."""
        left = queries.astype(np.float64)
        copies, scales = [], []
        for _ in range(2):
            scale = np.maximum(left.max(axis=1), -left.min(axis=1))[:, np.newaxis] / _GRAIN
            scale[scale == 0] = 1
            copy = np.rint(left / scale)
            left -= copy * scale
            copies.append(copy.astype(np.int8))
            scales.append(scale)
        both = np.concatenate(copies)
        products = np.empty((len(queries), len(places)))
        for start in range(0, len(places), _GATHERED_ROWS):
            block = slice(start, start + _GATHERED_ROWS)
            found = int8.dots(both, self._codes.take(places[block], axis=0))
            products[:, block] = found[: len(queries)] * scales[0] + found[len(queries) :] * scales[1]
        return products, row_norms(left) + _ROUNDED * lengths

    def _near(self, asked: _Asked, dots: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Positions of all that can be among the k nearest, by one bound for all: few, unless lengths differ widely."""
        k, length = asked.k, asked.length
        scale, longest, remainder = self._largest.tolist()
        error = asked.slack * longest + self._dimension * TINIEST * scale
        if asked.metric == "l2":
            squares = self._lengths.take(places, axis=0)[:, 0] ** 2 + length * length
            distances = squares - 2.0 * dots
            error = 2.0 * error + 8 * UNIT * (longest * longest + length * length)
            kth = float(np.partition(distances, k - 1)[k - 1])
            reach = math.sqrt(max(kth + error, 0)) + remainder  # at most so far is the k-th
            reach = math.sqrt(tying_limit(reach * reach)) + remainder
            limit = reach * reach + error
        else:
            distances = 1.0 - dots
            error += remainder * length + 8 * UNIT * (1.0 + longest * length)
            kth = float(np.partition(distances, k - 1)[k - 1]) + error
            if asked.metric == "cosine":
                kth = max(kth, 0.0)  # distances below zero count as zero, and tie
            limit = tying_limit(kth) + error
        if not (math.isfinite(limit) and math.isfinite(float(distances.sum()))):  # something overflowed
            return np.arange(len(dots))
        return np.flatnonzero(distances <= limit * (1 + UNIT) if limit > 0 else distances <= limit * (1 - UNIT))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query: its length, and how far off its products may be, times the length of a copy."""

    metric: Metric
    k: int
    dimension: int
    length: float
    slack: float


class _Figures(NamedTuple):
    """Of copies: the scale, the length of the copy, the length of what it leaves out; (n,) each."""

    scale: NDArray[np.float64]
    coded_length: NDArray[np.float64]
    remainder: NDArray[np.float64]


def _encode(vectors: Vector) -> tuple[NDArray[np.int8], _Figures]:
    scale = np.maximum(vectors.max(axis=1), -vectors.min(axis=1)) / np.float32(_GRAIN)
    scale[scale < _SMALLEST_SCALE] = 1
    rounded = np.rint(vectors / scale[:, np.newaxis])
    codes = rounded.astype(np.int8)
    coded_length = np.sqrt(np.einsum("ij,ij->i", rounded, rounded, dtype=np.float64)) * scale
    rounded *= scale[:, np.newaxis]
    np.subtract(vectors, rounded, out=rounded)
    remainder = np.sqrt(np.einsum("ij,ij->i", rounded, rounded, dtype=np.float64))
    # The last multiplication and subtraction were rounded to float32.
    return codes, _Figures(scale, coded_length, remainder + 4 * UNIT * (coded_length + remainder))


def _possible(asked: _Asked, dots: NDArray[np.float64], figures: _Figures) -> NDArray[np.bool_]:
    length = asked.length
    scale, coded_length, remainder = figures
    error = asked.slack * coded_length + asked.dimension * TINIEST * scale
    if asked.metric == "l2":
        squares = coded_length * coded_length + length * length
        distance = squares - 2.0 * dots
        error = 2.0 * error + 8 * UNIT * squares
        lower = np.maximum(np.sqrt(np.maximum(distance - error, 0)) - remainder, 0) ** 2
        upper = (np.sqrt(np.maximum(distance + error, 0)) + remainder) ** 2
        lower[~np.isfinite(distance)] = np.nan  # a product overflowed, which the maximum with 0 would hide
    else:
        distance = 1.0 - dots
        error += remainder * length + 8 * UNIT * (1.0 + coded_length * length)
        lower, upper = distance - error, distance + error
    return within_reach(asked.metric, lower, upper, asked.k)
