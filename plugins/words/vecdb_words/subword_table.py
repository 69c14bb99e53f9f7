"""Which rows of a fastText matrix make up each word of a vocabulary, and sums over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecdb_words.sparse import SparseRows, sums_by_row
from vecdb_words.subwords import subword_hashes
from vecdb_words.vectors import FloatArray

_RIDGE = 0.03
_ITERATIONS = 8


class SubwordTable:
    """For each word its own row and the rows of its n-grams; a word is the mean of its rows.

    Args:
        words: the vocabulary.
        min_n, max_n: lengths of n-grams; max_n 0 means that there are none.
        buckets: number of n-gram rows, which follow the rows of words.
    """

    def __init__(self, words: list[str], min_n: int, max_n: int, buckets: int) -> None:
        count = len(words)
        rows = [
            [number, *(count + value % buckets for value in subword_hashes(word, min_n, max_n))]
            for number, word in enumerate(words)
        ]
        self.height = count + (buckets if max_n > 0 else 0)
        self._lengths = np.array([len(found) for found in rows], np.int64)
        self._bounds = np.r_[0, np.cumsum(self._lengths)]
        self._rows = np.array([row for found in rows for row in found], np.int64)

    def select(self, words: NDArray[np.int64]) -> Selection:
        """The rows of some words."""
        lengths = self._lengths[words]
        starts = np.r_[0, np.cumsum(lengths)[:-1]]
        within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
        return Selection(self._rows[within + np.repeat(self._bounds[words], lengths)], starts, lengths)

    def fit(self, vectors: FloatArray, weights: FloatArray) -> FloatArray:
        """Rows, shape (height, dimension), whose means come near the vectors of the words.

        Ridge regression by conjugate gradients; the penalty makes words share n-grams, so that an
        unseen word lands near those that it is spelt like.
        """
        owners = np.repeat(np.arange(len(self._lengths)), self._lengths)
        share = (1.0 / self._lengths).astype(np.float32)[owners]
        means = SparseRows(owners, self._rows, share, (len(self._lengths), self.height))
        spread = SparseRows(self._rows, owners, share, (self.height, len(self._lengths)))
        rows = np.zeros((self.height, vectors.shape[1]), np.float32)
        residual = spread @ (weights[:, None] * vectors)
        direction = residual.copy()
        energy = np.einsum("ij,ij->j", residual, residual)
        for _ in range(_ITERATIONS):
            image = spread @ (weights[:, None] * (means @ direction)) + _RIDGE * direction
            step = energy / np.maximum(np.einsum("ij,ij->j", direction, image), 1e-30)
            rows += step * direction
            residual -= step * image
            previous, energy = energy, np.einsum("ij,ij->j", residual, residual)
            direction = residual + energy / np.maximum(previous, 1e-30) * direction
        return rows


class Selection:
    """The rows of some words, one word behind the other."""

    def __init__(self, rows: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self._rows = rows
        self._starts = starts
        self._lengths = lengths

    def means(self, matrix: FloatArray) -> FloatArray:
        """The vector of each word, shape (words, dimension)."""
        summed = np.add.reduceat(np.take(matrix, self._rows, axis=0), self._starts, axis=0)
        summed /= self._lengths[:, None].astype(np.float32)
        means: FloatArray = summed
        return means

    def spread(self, gradients: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        """Gradients of words summed for each row that they share: the rows, and a gradient for each."""
        owners = np.repeat(np.arange(len(self._lengths)), self._lengths)
        return sums_by_row(self._rows, gradients, owners)
