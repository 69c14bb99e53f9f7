"""Small copies of vectors, one byte a number, which tell the few that can be near from the many that cannot.

hnswlib hands out the vectors that it keeps only through Python lists, some 15 µs each. To search exactly
among some of them, the copies are compared first, and only what a bound on their error leaves is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vecdb.index.labels import with_room
from vecdb.index.scan import TINIEST, UNIT, rounding_bound, within_reach
from vecdb.types import Metric, Vector

_GRAIN = 127
_SMALLEST_SCALE = 2.0**-120  # below it, the arithmetic of float32 is not exact enough; the copy is then all zeros
_DECODED_ROWS = 1024
_ENCODED_ROWS = 256
_SCORES = 1 << 21


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
        # Of each: the scale, the length of the copy, and the length of what it leaves out.
        self._figures: NDArray[np.float64] = np.empty((0, 3), np.float64)

    def append(self, vectors: Vector) -> None:
        """Keep copies of vectors (n, dimension); their places follow those that are there, or missing."""
        end = self._count + len(vectors)
        if end > len(self._codes):
            self._make_room(end + self._count // 2)
        for start in range(0, len(vectors), _ENCODED_ROWS):
            some = vectors[start : start + _ENCODED_ROWS]
            place = slice(self._count, self._count + len(some))
            self._codes[place], self._figures[place] = _encode(some)
            self._count += len(some)

    def _make_room(self, rows: int) -> None:
        self._codes = with_room(self._codes, self._count, rows)
        self._figures = with_room(self._figures, self._count, rows)

    def fill(self, blocks: Iterable[Vector]) -> None:
        """Make the missing copies, of vectors (n, dimension) in the order of their places.

        What `blocks` raises is raised again, and they are missing as before.
        """
        filled = VectorCodes(self._dimension)
        filled._make_room(self.missing + self._count)
        with np.errstate(all="ignore"):  # where the blocks turn out to be wrong in the end, they may hold anything
            for vectors in blocks:
                filled.append(vectors)
        added = slice(filled._count, filled._count + self._count)
        filled._codes[added], filled._figures[added] = self._codes[: self._count], self._figures[: self._count]
        self._codes, self._figures, self._count = filled._codes, filled._figures, added.stop
        self.missing = 0

    def possible(self, metric: Metric, queries: Vector, k: int, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the vectors at `places` can be among the k nearest there, for any of the queries (q, d).

        None may be missing. Every true neighbour is marked, also each that only ties with the k-th as float32.
        """
        marked = np.zeros(len(places), np.bool_)
        if len(places) <= k:
            return ~marked
        step = max(1, _SCORES // len(places))
        figures = self._figures[places]
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                dots = self._dots(part, places)
                for row, query in enumerate(part):
                    marked |= _possible(metric, query, k, dots[:, row], figures)
        return marked

    def _dots(self, queries: Vector, places: NDArray[np.intp]) -> NDArray[np.float32]:
        dots = np.empty((len(places), len(queries)), np.float32)
        for start in range(0, len(places), _DECODED_ROWS):
            block = slice(start, start + _DECODED_ROWS)
            decoded = self._codes[places[block]].astype(np.float32)
            if len(queries) == 1:
                dots[block, 0] = decoded @ queries[0]
            else:
                dots[block] = decoded @ queries.T
        return dots


def _encode(vectors: Vector) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    scale = np.maximum(vectors.max(axis=1), -vectors.min(axis=1)) / np.float32(_GRAIN)
    scale[scale < _SMALLEST_SCALE] = 1
    rounded = np.rint(vectors / scale[:, np.newaxis])
    codes = rounded.astype(np.int8)
    coded_length = np.sqrt(np.einsum("ij,ij->i", rounded, rounded, dtype=np.float64)) * scale
    rounded *= scale[:, np.newaxis]
    np.subtract(vectors, rounded, out=rounded)
    remainder = np.sqrt(np.einsum("ij,ij->i", rounded, rounded, dtype=np.float64))
    # The last multiplication and subtraction were rounded to float32.
    return codes, np.stack([scale, coded_length, remainder + 4 * UNIT * (coded_length + remainder)], axis=1)


def _possible(
    metric: Metric, query: Vector, k: int, dots: NDArray[np.float32], figures: NDArray[np.float64]
) -> NDArray[np.bool_]:
    scale, coded_length, remainder = figures.T
    length = float(np.sqrt(np.dot(query.astype(np.float64), query)))
    error = rounding_bound(len(query), coded_length * length) + len(query) * TINIEST * scale
    if metric == "l2":
        squares = coded_length * coded_length + length * length
        distance = squares - 2.0 * dots * scale
        error = 2.0 * error + 8 * UNIT * squares
        lower = np.maximum(np.sqrt(np.maximum(distance - error, 0)) - remainder, 0) ** 2
        upper = (np.sqrt(np.maximum(distance + error, 0)) + remainder) ** 2
    else:
        distance = 1.0 - dots * scale
        error += remainder * length + 8 * UNIT * (1.0 + coded_length * length)
        lower, upper = distance - error, distance + error
    return within_reach(metric, lower, upper, k)
