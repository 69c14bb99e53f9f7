"""First word vectors from counts of word pairs.

Levy, Goldberg: "Neural word embedding as implicit matrix factorization" (2014) and Levy, Goldberg,
Dagan (2015): the positive pointwise mutual information of words that stand near one another, with
smoothed frequencies, factorised. The factors come from a randomised subspace iteration (Halko,
Martinsson, Tropp 2011). From a small corpus this gives far better vectors than gradient steps alone.
"""

from __future__ import annotations

import numpy as np

from vecdb_words.cooccurrence import PairCounts, count_pairs
from vecdb_words.corpus import Corpus
from vecdb_words.sparse import SparseRows
from vecdb_words.vectors import FloatArray

_MAX_TOKENS = 5_000_000  # the pairs of more text add little to a mere starting point
_SMOOTHING = 0.875  # Levy et al. smooth one side by 0.75; this is the same, shared by both sides
_OVERSAMPLING = 10
_ITERATIONS = 2


def mutual_information_vectors(
    corpus: Corpus, dimension: int, window: int, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Vectors whose products approximate the mutual information of words.

    Returns:
        vectors of words as inputs and as outputs, each of shape (words, dimension). A word without
        neighbours has zeros; so have the last columns where there are fewer words than dimensions.
    """
    words = len(corpus.words)
    nearer_counts_more = np.arange(window, 0, -1) / window
    information = _mutual_information(count_pairs(corpus, nearer_counts_more, _MAX_TOKENS), words)
    basis = random.standard_normal((words, min(words, dimension + _OVERSAMPLING))).astype(np.float32)
    for _ in range(_ITERATIONS + 1):
        basis = np.linalg.qr(information @ basis)[0]
    small = basis.T.astype(np.float64) @ (information @ basis)
    values, directions = np.linalg.eigh((small + small.T) / 2)
    largest = np.argsort(-np.abs(values), kind="stable")[:dimension]
    inputs = np.zeros((words, dimension), np.float32)
    inputs[:, : len(largest)] = (basis @ directions[:, largest]) * np.sqrt(np.abs(values[largest]))
    outputs = inputs.copy()
    outputs[:, : len(largest)] *= np.sign(values[largest])
    return inputs, outputs


def _mutual_information(pairs: PairCounts, words: int) -> SparseRows:
    apart = pairs.first != pairs.second
    rows = np.concatenate([pairs.first, pairs.second[apart]])
    columns = np.concatenate([pairs.second, pairs.first[apart]])
    joint = np.concatenate([np.where(apart, pairs.weights, 2 * pairs.weights), pairs.weights[apart]])
    smoothed = np.bincount(rows, weights=joint, minlength=words) ** _SMOOTHING
    smoothed /= max(smoothed.sum(), 1e-300)
    values = np.log(joint / joint.sum() / (smoothed[rows] * smoothed[columns])) if len(joint) else joint
    positive = values > 0
    return SparseRows(rows[positive], columns[positive], values[positive].astype(np.float32), (words, words))
