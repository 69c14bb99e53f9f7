"""Exact search among vectors that a graph holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import StorageError
from vecdb.index.codes import VectorCodes
from vecdb.index.hnsw_source import GraphSource
from vecdb.index.labels import LabelSet
from vecdb.index.scan import Distances, merge_nearest, nearest, no_neighbours, row_norms
from vecdb.types import Labels, Metric, Vector

_SCANNED_ROWS = 4096
_FILLED_ROWS = 1024
_FILLED_PER_FETCHED = 10  # copies that are made in the time in which one vector is fetched


class Scanner:
    """Finds the nearest of some vectors: small copies tell which few can be it, and only these are fetched.

    The copies of a graph from a file are made by the first scans, not by loading, which they would slow down, nor by
    adding, which keeps searches out: until scans have fetched a tenth of the vectors, these do without copies.

    Args:
        dimension: length of the vectors.
        metric: cosine, l2 or ip.
        source: the file that the first vectors come from.
    """

    def __init__(self, dimension: int, metric: Metric, source: GraphSource | None = None) -> None:
        self._dimension = dimension
        self._metric: Metric = metric
        self._source = source
        self._codes = VectorCodes(dimension, missing=0 if source is None else source.count)
        self._filling = threading.Lock()
        self._fetched = 0  # vectors, as long as copies are missing

    @property
    def has_codes(self) -> bool:
        """Whether every vector has its small copy."""
        return not self._codes.missing

    def make_room(self, vectors: int) -> None:
        """Be ready for so many in all; not while others scan."""
        self._codes.make_room(vectors - self._codes.missing)

    def append(self, vectors: Vector) -> None:
        """Take vectors (n, dimension) in, behind those that are there; not while others scan."""
        self._codes.append(vectors)

    def scan(
        self, queries: Vector, k: int, labels: Labels, *, known: LabelSet, fetch: Callable[[Labels], Vector]
    ) -> tuple[Labels, Distances]:
        """The k nearest of each query (q, d) among `labels`, exactly. Several threads may scan at once.

        Args:
            queries, k, labels: the search; the labels are live.
            known: all labels, in the order in which their vectors were taken in.
            fetch: gives the vectors (n, dimension) of live labels.
        """
        places = None
        if self._has_codes(len(labels), known, fetch):
            places = known.places(labels)
            possible = np.flatnonzero(self._codes.possible(self._metric, queries, k, places))
            labels, places = labels[possible], places[possible]
        found = []
        for start in range(0, len(labels), _SCANNED_ROWS):
            some = labels[start : start + _SCANNED_ROWS]
            rows = None if places is None else self._from_file(places[start : start + _SCANNED_ROWS])
            if rows is None:
                rows = fetch(some)
            found.append(nearest(self._metric, queries, k, labels=some, rows=rows, norms=row_norms(rows)))
            if len(found) > 1:
                found = [merge_nearest(found, k)]
        return found[0] if found else no_neighbours(len(queries))

    def _from_file(self, places: NDArray[np.intp]) -> Vector | None:
        """The vectors at these places, in a tenth of the time that the graph takes; None where it must be asked.

        They must have the very copies that were made of them, which anything but a change far below the copies'
        grain would show.
        """
        source = self._source  # another thread may find that it is lost
        if source is None or (places >= source.count).any():
            return None
        try:
            rows = source.vectors_at(places)
        except StorageError:
            self._source = None
            return None
        return rows if self._codes.are_of(places, rows) else None

    def _has_codes(self, wanted: int, known: LabelSet, fetch: Callable[[Labels], Vector]) -> bool:
        if self.has_codes:
            return True
        few = self._codes.missing // _FILLED_PER_FETCHED
        self._fetched += wanted
        if self._fetched <= few or not self._filling.acquire(blocking=wanted > few):
            return False
        try:
            if not self.has_codes:
                self._fill(known, fetch)
        finally:
            self._filling.release()
        return True

    def _fill(self, known: LabelSet, fetch: Callable[[Labels], Vector]) -> None:
        if self._source is not None:
            try:
                self._codes.fill(self._source.vectors())
            except StorageError:  # lost or changed behind us; the graph has the vectors, too, only slower
                self._source = None
        if self._source is None:
            self._codes.fill(self._held(known, fetch))

    def _held(self, known: LabelSet, fetch: Callable[[Labels], Vector]) -> Iterator[Vector]:
        """The vectors whose copies are missing, in order of place, as the graph gives them; zeros for removed ones."""
        labels, is_live = known.first(self._codes.missing)
        for start in range(0, len(labels), _FILLED_ROWS):
            some = slice(start, start + _FILLED_ROWS)
            rows = np.zeros((len(labels[some]), self._dimension), np.float32)
            rows[is_live[some]] = fetch(labels[some][is_live[some]])
            yield rows
