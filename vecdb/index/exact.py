"""Brute force: exact, simple, and faster than a graph for some ten thousand vectors. Also the oracle of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.index.base import check_k, check_queries, check_space
from vecdb.index.labels import (
    Allowed,
    AllowedLabels,
    as_allowed,
    as_labels,
    as_new_labels,
    contains,
    distinct,
    is_ascending,
    with_room,
)
from vecdb.index.locks import ReadWriteLock
from vecdb.index.rows import RowBlocks, RowRange
from vecdb.index.scan import (
    BLOCK_ROWS,
    Distances,
    least_distance,
    merge_nearest,
    nearest,
    no_neighbours,
    row_norms,
    tying_limit,
)
from vecdb.types import Labels, Metric, Vector
from vecdb.vectors import as_vectors

_GATHERED_ROWS = 8192
_QUICKLY_BOUNDED = 512  # rows
_GATHER_BELOW = 0.25  # of the rows; above it, scoring every row is faster than copying the allowed ones
_DEAD_ABOVE = 0.25


class ExactIndex:
    """Compares a query with every vector. See `VectorIndex` for the methods without a docstring of detail.

    The rows lie in ascending order of label, in blocks of some thousand. Labels that increase from call to
    call are appended, which copies no row; a lower one costs a copy of everything. Removing the oldest
    rows copies none either, and gives back each block that becomes empty. Holes elsewhere are closed, in
    place, when they are a quarter. A removed label may come back.

    Answers are the same to the bit whatever the order of insertion, and alone or in a batch.

    Args:
        dimension: length of the vectors.
        metric: cosine, l2 or ip.

    Raises:
        InvalidInputError: the dimension or the metric is none.
    """

    def __init__(self, dimension: int, metric: Metric) -> None:
        check_space(dimension, metric)
        self._dimension = dimension
        self._metric: Metric = metric
        self._lock = ReadWriteLock()
        self._clear()

    def _clear(self) -> None:
        self._rows = RowBlocks(self._dimension)
        self._norms = np.empty(0, np.float64)
        self._labels = np.empty(0, np.int64)
        self._is_live = np.zeros(0, np.bool_)
        self._start = self._end = self._count = 0  # rows in use: start to end, of which `count` are live

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    @property
    def metric(self) -> Metric:
        """cosine, l2 or ip."""
        return self._metric

    def __len__(self) -> int:
        return self._count

    def add(self, labels: Labels, vectors: Vector) -> None:
        """Add vectors (n, dimension) under labels (n,) that the index does not have."""
        vectors = as_vectors(vectors, self._dimension)
        labels = as_new_labels(labels, len(vectors))
        if not len(labels):
            return
        if not is_ascending(labels):
            order = np.argsort(labels)
            labels, vectors = labels[order], vectors[order]
        with self._lock.write():
            known = self._positions(labels)
            if known.size:
                raise InvalidInputError(
                    f"label {self._labels[known[0]]} is in the index already; remove it first, or use a new label"
                )
            if self._start < self._end and labels[0] <= self._labels[self._end - 1]:
                live = self._live()
                labels = np.concatenate([self._labels[live], labels])
                vectors = np.concatenate([self._rows.at(live), vectors])
                order = np.argsort(labels)
                labels, vectors = labels[order], vectors[order]
                self._clear()
            self._append(labels, vectors)

    def _append(self, labels: Labels, vectors: Vector) -> None:
        place = slice(self._end, self._end + len(labels))
        if place.stop > len(self._labels):
            self._make_room(place.stop)
        self._rows.write(self._end, vectors)
        self._labels[place], self._norms[place], self._is_live[place] = labels, row_norms(vectors), True
        self._end += len(labels)
        self._count += len(labels)

    def _make_room(self, rows: int) -> None:
        """Of what is kept beside each vector: so little that copying it does not matter."""
        room = rows + rows // 2
        self._labels = with_room(self._labels, self._end, room)
        self._norms = with_room(self._norms, self._end, room)
        self._is_live = with_room(self._is_live, self._end, room)

    def _live(self) -> NDArray[np.intp]:
        """Where the live rows stand, ascending."""
        return np.flatnonzero(self._is_live[self._start : self._end]) + self._start

    def remove(self, labels: Labels) -> None:
        """Forget labels; unknown ones are ignored."""
        wanted = as_labels(labels)
        with self._lock.write():
            positions = distinct(self._positions(wanted))
            self._is_live[positions] = False
            self._count -= len(positions)
            if not self._count:
                self._clear()
                return
            self._start += int(np.argmax(self._is_live[self._start : self._end]))
            unused = self._start // self._rows.block_rows
            if self._end - self._start - self._count > _DEAD_ABOVE * (self._end - self._start):
                live = self._live()
                self._rows.keep(live)
                self._keep(live)
            elif unused:
                self._rows.drop_front(unused)
                self._keep(slice(unused * self._rows.block_rows, self._end))

    def _keep(self, rows: slice | NDArray[np.intp]) -> None:
        """What is kept beside each vector, of these rows only."""
        dropped = rows.start if isinstance(rows, slice) else self._start
        self._labels, self._norms = self._labels[rows].copy(), self._norms[rows].copy()
        self._is_live = self._is_live[rows].copy()
        self._start, self._end = self._start - dropped, len(self._labels)

    def search(
        self, queries: Vector, k: int, *, allowed: Allowed | None = None, ef: int | None = None  # noqa: ARG002
    ) -> tuple[Labels, Distances]:
        """The true nearest vectors of each query; `ef` has no meaning here."""
        queries = check_queries(queries, self._dimension)
        k = check_k(k)
        with self._lock.read():
            parts = [
                nearest(self._metric, queries, k, labels=labels, rows=rows, norms=norms, kept=kept)
                for labels, rows, norms, kept in self._blocks(None if allowed is None else as_allowed(allowed))
            ]
        return merge_nearest(parts, k) if parts else no_neighbours(len(queries))

    def are_beyond(self, query: Vector, distance: float) -> bool:
        """Whether every vector is surely farther from the query (dimension,). Not known of more than some hundred."""
        with self._lock.read():
            start, stop = self._start, self._end
            if start == stop:
                return True
            if stop - start > _QUICKLY_BOUNDED:
                return False
            least = least_distance(self._metric, query, self._rows.between(start, stop), self._norms[start:stop])
        return least > tying_limit(distance)

    def _blocks(
        self, allowed: AllowedLabels | None
    ) -> Iterator[tuple[Labels, Vector | RowRange, NDArray[np.float64], NDArray[np.bool_] | None]]:
        """Labels, rows, norms, and which of them count, a bounded number of rows at a time."""
        kept = None if self._count == self._end - self._start else self._is_live
        if allowed is not None:
            positions = self._allowed_positions(allowed)
            if len(positions) < _GATHER_BELOW * (self._end - self._start):
                for start in range(0, len(positions), _GATHERED_ROWS):
                    some = positions[start : start + _GATHERED_ROWS]
                    yield self._labels[some], self._rows.at(some), self._norms[some], None
                return
            kept = np.zeros(len(self._labels), np.bool_)
            kept[positions] = True
        for start in range(self._start, self._end, BLOCK_ROWS):
            block = slice(start, min(start + BLOCK_ROWS, self._end))
            rows = self._rows.between(block.start, block.stop)
            yield self._labels[block], rows, self._norms[block], None if kept is None else kept[block]

    def _positions(self, wanted: Labels) -> NDArray[np.intp]:
        """Where those of the wanted labels stand that are live."""
        positions, found = contains(self._labels[self._start : self._end], wanted)
        positions = positions[found] + self._start
        return positions[self._is_live[positions]]

    def _allowed_positions(self, allowed: AllowedLabels) -> NDArray[np.intp]:
        """Where those of the allowed labels stand that are live; whichever are fewer are looked up among the others."""
        if len(allowed) < self._count:
            return self._positions(allowed.labels)
        live = self._live()
        return live[allowed.among(self._labels[live])]

    def labels(self) -> Labels:
        """All labels, ascending."""
        with self._lock.read():
            rows = slice(self._start, self._end)
            return self._labels[rows][self._is_live[rows]]

    def vectors(self, labels: Labels) -> Vector:
        """A copy of the vectors (n, dimension) of labels, in their order; NotFoundError if one is not known."""
        wanted = as_labels(labels)
        with self._lock.read():
            positions = self._positions(wanted)
            if len(positions) < len(wanted):
                missing = wanted[~np.isin(wanted, self._labels[positions])]
                raise NotFoundError(f"label {missing[0]} is not in the index; ask for those in labels()")
            return self._rows.at(positions)

    def take_oldest(self, count: int) -> tuple[Labels, Vector]:
        """Copies of the `count` lowest labels, ascending, and of their vectors; all, if there are fewer."""
        with self._lock.read():
            live = self._live()[: max(count, 0)]
            return self._labels[live], self._rows.at(live)

