"""Steps of AdaGrad for rows of a matrix (Duchi, Hazan, Singer: "Adaptive subgradient methods", 2011)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecdb_words.vectors import FloatArray


class AdaGradRows:
    """A matrix whose rows are moved by AdaGrad with one accumulator a row.

    The gradient of a frequent row is a sum over many pairs of words, and a plain step would diverge.
    """

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self._squares = np.full(len(matrix), 1e-8, np.float32)

    def move(self, rows: NDArray[np.int64], gradients: FloatArray, rate: float) -> None:
        """Step `rows` (each at most once) up along their gradients, which are used up."""
        self._squares[rows] += np.einsum("ij,ij->i", gradients, gradients) / np.float32(gradients.shape[1])
        gradients *= (np.float32(rate) / np.sqrt(self._squares[rows]))[:, None]
        self.matrix[rows] += gradients
