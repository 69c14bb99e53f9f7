"""One vector from the vectors of words.

SIF weights: Arora, Liang, Ma: "A simple but tough-to-beat baseline for sentence embeddings" (2017).
All but the top: Mu, Viswanath: "All-but-the-top" (2018). Both depend on the model alone, never on the
texts of a collection: a vector keeps its meaning whatever is added later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb_words.files import errors_named, unusable
from vecdb_words.vectors import FloatArray, IntArray

_ZIPF_SHIFT = 2.7  # Mandelbrot's correction: the first ranks of a language are less frequent than 1/rank
_BLOCK_ROWS = 1 << 15


def frequencies_by_rank(words: int) -> NDArray[np.float64]:
    """Relative frequencies of words sorted by frequency, by the Zipf-Mandelbrot law: 1 / (rank + 2.7)."""
    falling: NDArray[np.float64] = np.reciprocal(np.arange(1, words + 1) + _ZIPF_SHIFT, dtype=np.float64)
    falling /= falling.sum()
    return falling


def frequencies_of_counts(counts: IntArray, total: int) -> NDArray[np.float64]:
    """Relative frequencies from counts; `total` may be larger than their sum (words that were left out)."""
    return counts / max(int(counts.sum()), total, 1)


def read_frequencies(path: Path, index: Mapping[str, int], words: int) -> NDArray[np.float64]:
    """Relative frequencies from a file of lines 'word count'; a word that is not in it counts as its rarest.

    Raises:
        EmbedderUnavailableError: the file is missing or a line is not 'word count'.
    """
    known: NDArray[np.float64] = np.zeros(words)
    total = 0.0
    rarest = np.inf
    with errors_named(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            word, _, count = line.decode("utf-8", "replace").strip().replace("\t", " ").rpartition(" ")
            try:
                value = float(count)
            except ValueError:
                value = -1.0
            if not word.strip() or not 0 < value < np.inf:
                raise unusable(path, f"line {number} is not a word and its count", "write 'word count' on each line")
            total += value
            rarest = min(rarest, value)
            row = index.get(word.strip())
            if row is not None:
                known[row] = value
    if not total:
        raise unusable(path, "there is no word in it", "write 'word count' on each line")
    known[known == 0] = rarest
    known /= max(total, float(known.max()))
    return known


def sif_weights(frequencies: NDArray[np.float64], a: float) -> FloatArray:
    """a / (a + frequency), for each word."""
    return (a / (a + frequencies)).astype(np.float32)


def weighted_mean(matrix: FloatArray, rows: IntArray, weights: FloatArray) -> FloatArray:
    """The mean of `matrix[rows]` weighted by `weights` (positive, same length), shape (dimension,)."""
    total = np.zeros(matrix.shape[1], np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):  # a long text must not copy more than a block of rows
        chosen = slice(start, start + _BLOCK_ROWS)
        total += weights[chosen] @ matrix[rows[chosen]]
    mean: FloatArray = total / np.float32(weights.sum(dtype=np.float64))
    return mean


class TopComponents:
    """The mean and the main directions of a vocabulary, to be taken out of every vector.

    Args:
        sample: vectors of frequent words, shape (n, dimension).
        count: how many directions; at most dimension - 1.
    """

    def __init__(self, sample: FloatArray, count: int) -> None:
        exact = sample.astype(np.float64)
        self._mean = exact.mean(axis=0)
        exact -= self._mean
        _, directions = np.linalg.eigh(exact.T @ exact)
        self._directions: Any = directions[:, -count:]

    def remove_from(self, vectors: FloatArray) -> FloatArray:
        """`vectors`, shape (n, dimension), without mean and directions."""
        centred = vectors - self._mean
        # row by row: a matrix product may sum in another order for another number of rows
        return np.stack([row - self._directions @ (row @ self._directions) for row in centred]).astype(np.float32)
