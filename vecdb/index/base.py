"""The protocol of a vector index."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecdb.types import Labels, Metric, Vector

NO_LABEL = -1


class VectorIndex(Protocol):
    """Knows vectors by labels and finds the nearest ones.

    A label is a positive integer that is never reused and never updated in place. For the metric
    cosine all vectors, queries too, have length 1. Safe to use from several threads.
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
        self, queries: Vector, k: int, *, allowed: Labels | None = None, ef: int | None = None
    ) -> tuple[Labels, NDArray[np.float32]]:
        """The nearest vectors of each query.

        Args:
            queries: shape (n, dimension).
            k: how many for each query; at least 1.
            allowed: if given, sorted distinct labels; only these are returned.
            ef: size of the candidate list of an approximate index; larger is more exact.

        Returns:
            Labels and distances of shape (n, min(k, number that can match)), each row sorted by
            (distance, label). Always that many columns: an approximate index does more work
            rather than return fewer.
        """

    def labels(self) -> Labels:
        """All labels that can be found, sorted."""

    def vectors(self, labels: Labels) -> Vector:
        """The vectors (n, dimension) of known labels, in their order."""

    def save(self, path: Path) -> None:
        """Write the index to a new file, completely, or raise `StorageError`."""

    @classmethod
    def load(cls, path: Path, *, dimension: int, metric: Metric) -> VectorIndex:
        """Read what `save` wrote, or raise `StorageError`; never return a damaged index."""
