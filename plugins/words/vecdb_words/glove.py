"""Word vectors whose products approximate the logarithms of co-occurrence counts.

Pennington, Socher, Manning: "GloVe: global vectors for word representation" (2014). The cost of a count
x of the words i and j is f(x) (w_i · c_j + b_i + d_j - log x)² / 2 with f(x) = min(1, (x / x_max)^alpha).
Steps are AdaGrad's, number by number, as in the authors' program: the squares of learning rate times
gradient are added up, from 1. That program takes the counts one by one and adds the square behind the
step; here a batch of them makes one step, with the squares of each of its counts already added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecdb_words.cooccurrence import PairCounts, count_pairs
from vecdb_words.corpus import Corpus
from vecdb_words.sparse import sums_by_row
from vecdb_words.training_config import GloveTraining
from vecdb_words.vectors import FloatArray, IntArray

_BATCH = 1000  # unordered pairs; each is two counts
_STEEPEST = 10.0


@dataclass(frozen=True, slots=True)
class GloveModel:
    """The two vectors of every word with their biases, each of shape (words, dimension + 2).

    Behind the vector, `words` have their bias and a 1, `contexts` a 1 and their bias, so that the
    product of a row with a row is all that is compared with the logarithm of a count.
    """

    words: FloatArray
    contexts: FloatArray

    @classmethod
    def random(cls, words: int, dimension: int, random: np.random.Generator) -> GloveModel:
        """Numbers between -0.5 and 0.5, divided by the dimension."""
        made = random.random((2, words, dimension + 2), np.float32)
        made -= np.float32(0.5)
        made /= np.float32(dimension)
        made[0, :, -1] = 1
        made[1, :, -2] = 1
        return cls(made[0], made[1])

    def vectors(self) -> FloatArray:
        """The sum of both vectors of each word, which the authors found best, shape (words, dimension)."""
        return self.words[:, :-2] + self.contexts[:, :-2]


def count_neighbours(corpus: Corpus, window: int) -> PairCounts:
    """Co-occurrence counts: a word that is d words away, on either side, counts 1 / d."""
    pairs = count_pairs(corpus, 1 / np.arange(1, window + 1))
    same = pairs.first == pairs.second
    return PairCounts(pairs.first, pairs.second, np.where(same, 2 * pairs.weights, pairs.weights))


def train_glove(
    pairs: PairCounts,
    model: GloveModel,
    options: GloveTraining,
    random: np.random.Generator,
    progress: Callable[[float], None],
) -> list[float]:
    """Train a model in place.

    `progress` is called with the part of the epoch that each batch was.

    Returns:
        the mean cost of a count in each epoch, at the time when it was met.
    """
    words = _AdaGrad(model.words, 1, options.learning_rate)
    contexts = _AdaGrad(model.contexts, 2, options.learning_rate)
    logarithms = np.log(pairs.weights).astype(np.float32)
    weights = np.minimum(1, (pairs.weights / options.x_max) ** options.alpha).astype(np.float32)
    costs = []
    for _ in range(options.epochs):
        order = random.permutation(len(pairs.weights))
        cost = 0.0
        counts = 0
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            first, second = pairs.first[batch], pairs.second[batch]
            apart = first != second  # the count of (w, v) is that of (v, w); (w, w) is one count
            rows = np.concatenate([first, second[apart]])
            columns = np.concatenate([second, first[apart]])
            both = np.concatenate([batch, batch[apart]])
            terms, to_words, to_contexts = cost_and_gradients(
                model.words[rows], model.contexts[columns], logarithms[both], weights[both]
            )
            words.move(rows, to_words)
            contexts.move(columns, to_contexts)
            cost += float(terms.sum(dtype=np.float64))
            counts += len(both)
            progress(len(batch) / len(order))
        costs.append(cost / max(counts, 1))
    return costs


def cost_and_gradients(
    words: FloatArray, contexts: FloatArray, logarithms: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The cost of each count, and its gradients by the row of its word and that of its context.

    Args:
        words, contexts: rows of a `GloveModel`, shape (n, dimension + 2).
        logarithms, weights: log x and f(x), shape (n,).
    """
    differences = np.einsum("ij,ij->i", words, contexts) - logarithms
    slopes = weights * differences
    costs = slopes * differences / 2
    np.clip(slopes, -_STEEPEST, _STEEPEST, out=slopes)
    return costs, contexts * slopes[:, None], words * slopes[:, None]


class _AdaGrad:
    """A matrix moved number by number. `constant`: the column from the end that stays as it is."""

    def __init__(self, matrix: FloatArray, constant: int, rate: float) -> None:
        self._matrix = matrix
        self._squares = np.ones_like(matrix)
        self._constant = matrix.shape[1] - constant
        self._rate = np.float32(rate)

    def move(self, rows: IntArray, gradients: FloatArray) -> None:
        """Step against the gradients, of which a row may have several."""
        gradients[:, self._constant] = 0
        gradients *= self._rate
        dimension = gradients.shape[1]
        both: NDArray[np.float32] = np.concatenate([gradients, gradients * gradients], axis=1)
        moved, sums = sums_by_row(rows, both)
        squares = self._squares[moved] + sums[:, dimension:]
        self._squares[moved] = squares
        self._matrix[moved] -= sums[:, :dimension] / np.sqrt(squares)
