"""Sums of rows: what training needs of sparse matrices, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb_words.vectors import FloatArray

_BLOCK_ENTRIES = 1 << 17


def segment_starts(sorted_keys: NDArray[Any]) -> NDArray[np.intp]:
    """Where each run of equal keys begins."""
    if not len(sorted_keys):
        return np.empty(0, np.intp)
    return np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])


class SparseRows:
    """A sparse matrix by rows.

    Args:
        rows, columns: where the entries are.
        values: the entries, float32.
        shape: rows and columns of the matrix.
    """

    def __init__(
        self, rows: NDArray[Any], columns: NDArray[Any], values: FloatArray, shape: tuple[int, int]
    ) -> None:
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        self._columns = columns[order]
        self._values = values[order]
        starts = segment_starts(sorted_rows)
        self._filled = sorted_rows[starts]
        self._bounds = np.r_[starts, len(rows)]
        self._height = shape[0]

    def __matmul__(self, dense: FloatArray) -> FloatArray:
        """The product with a dense matrix, in blocks of entries so that memory stays bounded."""
        product = np.zeros((self._height, dense.shape[1]), np.float32)
        first, count = 0, len(self._filled)
        while first < count:
            limit = self._bounds[first] + _BLOCK_ENTRIES
            last = max(first + 1, int(np.searchsorted(self._bounds, limit, side="right")) - 1)
            entries = slice(self._bounds[first], self._bounds[last])
            terms = np.take(dense, self._columns[entries], axis=0)
            terms *= self._values[entries, None]
            product[self._filled[first:last]] = np.add.reduceat(terms, self._bounds[first:last] - entries.start, axis=0)
            first = last
        return product
