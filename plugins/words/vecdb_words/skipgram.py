"""Skip-gram with negative sampling over subwords, in blocks of dense matrix products.

Mikolov et al.: "Distributed representations of words and phrases" (2013); Bojanowski et al. (2017) for
subwords. A block of tokens shares its negative samples, as in Ji, Satish, Li, Dubey: "Parallelizing
Word2Vec in shared and distributed memory" (2016), so that scores and gradients of all its pairs are
three matrix products. Steps are AdaGrad's (Duchi, Hazan, Singer 2011) with one accumulator a row: the
gradient of a frequent row is a sum of many pairs, and a plain step would diverge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecdb_words.config import FastTextTraining
from vecdb_words.corpus import Corpus
from vecdb_words.subword_table import SubwordTable
from vecdb_words.vectors import FloatArray

_BLOCK_TOKENS = 2000
_SHARED_NEGATIVES = 200
_NOISE_POWER = 0.75
_MAX_SCORE = 8.0
_LAST_RATE = 0.01


class AdaGradRows:
    """A matrix whose rows are moved by AdaGrad."""

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self._squares = np.full(len(matrix), 1e-8, np.float32)

    def move(self, rows: NDArray[np.int64], gradients: FloatArray, rate: float) -> None:
        """Step `rows` (each at most once) along their gradients."""
        self._squares[rows] += np.einsum("ij,ij->i", gradients, gradients) / np.float32(gradients.shape[1])
        gradients *= (np.float32(rate) / np.sqrt(self._squares[rows]))[:, None]
        self.matrix[rows] += gradients


def train_skipgram(
    *,
    corpus: Corpus,
    table: SubwordTable,
    inputs: FloatArray,
    outputs: FloatArray,
    options: FastTextTraining,
    random: np.random.Generator,
    progress: Callable[[int], None],
) -> None:
    """Train `inputs` (table.height, dimension) and `outputs` (words, dimension) in place.

    `progress` is called with the number of tokens that each block stood for.
    """
    frequencies = corpus.counts / corpus.counts.sum()
    kept = np.minimum(1.0, np.sqrt(options.sample / frequencies) + options.sample / frequencies)
    noise = np.cumsum(corpus.counts**_NOISE_POWER)
    noise /= noise[-1]
    input_rows, output_rows = AdaGradRows(inputs), AdaGradRows(outputs)
    total = options.epochs * len(corpus.tokens)
    done = 0
    for _ in range(options.epochs):
        chosen = np.flatnonzero(random.random(len(corpus.tokens)) < kept[corpus.tokens])
        for start in range(0, len(chosen), _BLOCK_TOKENS):
            places = chosen[start : start + _BLOCK_TOKENS]
            words, numbers = np.unique(corpus.tokens[places], return_inverse=True)
            pairs = _pair_counts(numbers, corpus.documents[places], len(words), options.window, random)
            negatives = np.unique(np.searchsorted(noise, random.random(_SHARED_NEGATIVES)))
            _step(
                input_rows,
                output_rows,
                table=table,
                words=words.astype(np.int64),
                pairs=pairs,
                negatives=negatives,
                negatives_each=options.negatives,
                rate=options.learning_rate * max(_LAST_RATE, 1 - done / total),
            )
            stood_for = len(corpus.tokens) * (start + len(places)) // len(chosen)
            stood_for -= len(corpus.tokens) * start // len(chosen)
            done += stood_for
            progress(stood_for)


def _pair_counts(
    numbers: NDArray[np.int64],
    documents: NDArray[np.int32],
    words: int,
    window: int,
    random: np.random.Generator,
) -> FloatArray:
    """How often each word (row) stands in the window of each word (column) of the block.

    The window of each token is drawn from 1 to `window`, so that nearer pairs are seen more often.
    """
    reach = random.integers(1, window + 1, len(numbers))
    cells = [np.empty(0, np.int64)]
    for distance in range(1, min(window, len(numbers) - 1) + 1):
        near = documents[distance:] == documents[:-distance]
        left, right = numbers[:-distance], numbers[distance:]
        forward = near & (reach[:-distance] >= distance)
        backward = near & (reach[distance:] >= distance)
        cells += [right[forward] * words + left[forward], left[backward] * words + right[backward]]
    return np.bincount(np.concatenate(cells), minlength=words * words).reshape(words, words).astype(np.float32)


def _step(
    inputs: AdaGradRows,
    outputs: AdaGradRows,
    *,
    table: SubwordTable,
    words: NDArray[np.int64],
    pairs: FloatArray,
    negatives: NDArray[np.int64],
    negatives_each: int,
    rate: float,
) -> None:
    """One step along the gradient of a block's log-likelihood."""
    count = len(words)
    selection = table.select(words)
    hidden = selection.means(inputs.matrix)
    targets = outputs.matrix[np.concatenate([words, negatives])]
    scores = np.clip(hidden @ targets.T, -_MAX_SCORE, _MAX_SCORE)
    gradients = -1 / (1 + np.exp(-scores))
    gradients[:, :count] = (gradients[:, :count] + 1) * pairs
    gradients[:, count:] *= pairs.sum(axis=1)[:, None] * np.float32(negatives_each / len(negatives))
    hidden_gradients = gradients @ targets
    target_gradients = gradients.T @ hidden
    inputs.move(*selection.spread(hidden_gradients), rate)
    outputs.move(words, target_gradients[:count], rate)
    outputs.move(negatives, target_gradients[count:], rate)
