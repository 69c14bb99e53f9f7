"""The protocol of a vector index, and the checks that every one of them makes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import InvalidInputError, shown
from vecdb.index.labels import Allowed
from vecdb.types import METRICS, Labels, Metric, Vector
from vecdb.vectors import MAX_DIMENSION, as_vectors

NO_LABEL = -1


class VectorIndex(Protocol):
    """Knows vectors by labels and finds the nearest ones.

    A label is a positive integer that is never reused and never updated in place. For the metric
    cosine all vectors, queries too, have length 1. Safe to use from several threads.

    One label for each *distinct* vector: many identical vectors destroy a graph index, so the caller
    keeps one and lets several records refer to it.

    Rows in the database are the truth, so an index need not be storable. One that takes long to build
    may offer `save(path)` and `load(path, ...)`, as `HnswIndex` does.
    """

    @property
    def dimension(self) -> int:
        """Length of the vectors."""

    @property
    def metric(self) -> Metric:
        """cosine, l2 or ip."""

    def __len__(self) -> int:
        """Number of vectors that can be found (removed ones do not count)."""

    def add(self, labels: Labels, vectors: Vector) -> None:
        """Add vectors (n, dimension) under new labels (n,).

        Raises:
            InvalidInputError: a label is known already, or not positive, or the counts differ.
            DimensionMismatchError, NonFiniteVectorError: as in `vecdb.vectors.as_vectors`.
        """

    def remove(self, labels: Labels) -> None:
        """Forget labels; unknown ones are ignored."""

    def search(
        self, queries: Vector, k: int, *, allowed: Allowed | None = None, ef: int | None = None
    ) -> tuple[Labels, NDArray[np.float32]]:
        """The nearest vectors of each query.

        Args:
            queries: shape (n, dimension).
            k: how many for each query; at least 1.
            allowed: if given, only these are returned; those of them that it does not have are ignored.
            ef: size of the candidate list of an approximate index; larger is more exact.

        Returns:
            Labels and distances of shape (n, min(k, number that can match)), each row sorted by
            (distance, label). Always that many columns: an approximate index does more work
            rather than return fewer.
        """

    def labels(self) -> Labels:
        """All labels that can be found, sorted."""

    def vectors(self, labels: Labels) -> Vector:
        """The vectors (n, dimension) of known labels, in their order; `NotFoundError` for others."""


class ComparingIndex(VectorIndex, Protocol):
    """What holds the vectors that are in no graph, and compares each."""

    def are_beyond(self, query: Vector, distance: float) -> bool:
        """Whether it is quick to tell that all its vectors are farther from the query (dimension,) than this.

        Where they are, they need not be searched: their distances would not even tie.
        """


class ApproximateIndex(VectorIndex, Protocol):
    """What vectors move into from the exact tail: it finds most neighbours without comparing all.

    `HnswIndex` is the one that vecdb brings. What another one needs beside this protocol is a way to be made from
    the options of a space, and to be read from its file: a pair of functions under the name of its kind.

    Attributes:
        ef: of a search that does not say its own.
    """

    ef: int

    def search_exactly(
        self, queries: Vector, k: int, *, allowed: Allowed | None = None
    ) -> tuple[Labels, NDArray[np.float32]]:
        """Like `search`, but every (allowed) vector is compared."""

    def scans(self, allowed: int, k: int, ef: int | None = None) -> bool:
        """Whether `search` with so many allowed labels compares each of them."""

    def estimates(self, allowed: int, k: int, ef: int | None = None) -> tuple[float, float]:
        """Seconds of a search of one query among so many labels, by comparing them, and approximately."""


class IndexParts(NamedTuple):
    """The indexes that together hold every vector of a space, each once.

    Attributes:
        approximate: None where there is none, or it is still being built.
        exact: those that hold anything.
    """

    approximate: ApproximateIndex | None
    exact: Sequence[ComparingIndex]

    @property
    def all(self) -> list[VectorIndex]:
        """Every one."""
        return [*self.exact] if self.approximate is None else [self.approximate, *self.exact]


def check_space(dimension: int, metric: str) -> None:
    """Refuse a dimension or a metric that no index can have, with `InvalidInputError`."""
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= MAX_DIMENSION:
        raise InvalidInputError(f"dimension must be a whole number from 1 to {MAX_DIMENSION}, not {shown(dimension)}")
    if metric not in METRICS:
        raise InvalidInputError(f"unknown metric {shown(metric)}; choose one of {', '.join(METRICS)}")


def check_k(k: int) -> int:
    """`k` as int; `InvalidInputError` if it is not a whole number from 1."""
    try:
        number = operator.index(k)
    except TypeError as error:
        raise InvalidInputError(f"k must be a whole number, not {shown(k)}") from error
    if number < 1:
        raise InvalidInputError(f"k must be at least 1, not {number}")
    return number


def check_range(name: str, value: int, low: int, high: int | None) -> None:
    """Refuse an option that is not a whole number from `low` to `high`, with `InvalidInputError`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise InvalidInputError(f"{name} must be a whole number {limits}, not {shown(value)}")


def check_queries(queries: Vector, dimension: int) -> Vector:
    """Like `as_vectors`, in a tenth of the time for arrays that need no conversion."""
    if (
        type(queries) is np.ndarray
        and queries.dtype == np.float32
        and queries.ndim == 2
        and queries.shape[1] == dimension
        and queries.flags.c_contiguous
        and math.isfinite(np.vdot(queries, queries))
    ):
        return queries
    return as_vectors(queries, dimension, what="queries")
