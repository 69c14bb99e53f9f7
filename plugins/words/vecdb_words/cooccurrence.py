"""First word vectors from counts of word pairs.

Levy, Goldberg: "Neural word embedding as implicit matrix factorization" (2014) and Levy, Goldberg,
Dagan (2015): the positive pointwise mutual information of words that stand near one another, with
smoothed frequencies, factorised. The factors come from a randomised subspace iteration (Halko,
Martinsson, Tropp 2011). From a small corpus this gives far better vectors than gradient steps alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecdb_words.corpus import Corpus
from vecdb_words.sparse import SparseRows, segment_starts
from vecdb_words.vectors import FloatArray

_BLOCK_TOKENS = 1 << 19
_MAX_TOKENS = 5_000_000  # the pairs of more text add little to a mere starting point
_SMOOTHING = 0.875  # Levy et al. smooth one side by 0.75; this is the same, shared by both sides
_OVERSAMPLING = 10
_ITERATIONS = 2


def cooccurrence_vectors(
    corpus: Corpus, dimension: int, window: int, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Vectors whose products approximate the mutual information of words.

    Returns:
        vectors of words as inputs and as outputs, each of shape (words, dimension). A word without
        neighbours has zeros; so have the last columns where there are fewer words than dimensions.
    """
    words = len(corpus.words)
    first, second, weights = _pairs(corpus, window)
    information = _mutual_information(first, second, weights, words)
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


def _pairs(corpus: Corpus, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Unordered pairs of words of one text within `window`, and their weights: nearer pairs count more."""
    words = len(corpus.words)
    keys = np.empty(0, np.int64)
    sums = np.empty(0, np.float64)
    for start in range(0, min(len(corpus.tokens), _MAX_TOKENS), _BLOCK_TOKENS):
        tokens = corpus.tokens[start : start + _BLOCK_TOKENS].astype(np.int64)
        documents = corpus.documents[start : start + _BLOCK_TOKENS]
        found = []
        for distance in range(1, min(window, len(tokens) - 1) + 1):
            near = documents[distance:] == documents[:-distance]
            left, right = tokens[:-distance][near], tokens[distance:][near]
            pair = np.minimum(left, right) * words + np.maximum(left, right)
            found.append(pair * (window + 1) + (window + 1 - distance))
        # the weight rides in the key: one plain sort is several times faster than sorting an order
        packed = np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
        block_keys, block_weights = np.divmod(packed, window + 1)
        starts = segment_starts(block_keys)
        keys = np.concatenate([keys, block_keys[starts]])
        block_sums = np.add.reduceat(block_weights, starts) / window if len(starts) else sums[:0]
        sums = np.concatenate([sums, block_sums])
        order = np.argsort(keys, kind="stable")
        keys, sums = keys[order], sums[order]
        starts = segment_starts(keys)
        keys, sums = keys[starts], np.add.reduceat(sums, starts) if len(starts) else sums
    first, second = np.divmod(keys, words)
    return first, second, sums


def _mutual_information(
    first: NDArray[np.int64], second: NDArray[np.int64], weights: NDArray[np.float64], words: int
) -> SparseRows:
    apart = first != second
    rows = np.concatenate([first, second[apart]])
    columns = np.concatenate([second, first[apart]])
    joint = np.concatenate([np.where(apart, weights, 2 * weights), weights[apart]])
    smoothed = np.bincount(rows, weights=joint, minlength=words) ** _SMOOTHING
    smoothed /= max(smoothed.sum(), 1e-300)
    values = np.log(joint / joint.sum() / (smoothed[rows] * smoothed[columns])) if len(joint) else joint
    positive = values > 0
    return SparseRows(rows[positive], columns[positive], values[positive].astype(np.float32), (words, words))
