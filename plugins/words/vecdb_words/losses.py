"""What it means to predict a word: yes-or-no questions that a hidden vector answers.

Each question has a row of the output matrix; the probability of "yes" is the logistic function of the
product of that row with the hidden vector. Negative sampling (Mikolov et al.: "Distributed
representations of words and phrases", 2013) asks whether a word is the right one or was drawn at
random. The hierarchical softmax (Morin, Bengio 2005; Mikolov et al. 2013) asks at each node on the way
to the word in a Huffman tree which child comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vecdb_words.corpus import Corpus
from vecdb_words.huffman import huffman_tree
from vecdb_words.vectors import FloatArray, IntArray

_NOISE_POWER = 0.75
_SHARED_NEGATIVES = 100
_MAX_SCORE = 8.0


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions to some hidden vectors.

    Attributes:
        rows: rows of the output matrix, each once, shape (rows,).
        right: how often the answer of hidden vector i to question j should be "yes", shape (n, rows).
        asked: how often it is asked at all, same shape.
    """

    rows: IntArray
    right: FloatArray
    asked: FloatArray


class Loss(Protocol):
    """Turns words to be predicted into questions. `height`: number of rows of the output matrix."""

    height: int

    def questions(self, words: IntArray, counts: FloatArray, random: np.random.Generator) -> Questions:
        """The questions where hidden vector i should predict words[j] counts[i, j] times; `words` rise."""


class NegativeSampling:
    """Each right word is told from `negative` words drawn by their frequency to the power of 0.75.

    All predictions of a block share their draws (Ji et al.: "Parallelizing Word2Vec in shared and
    distributed memory", 2016), so that their scores are one matrix product; a draw that is the right
    word is passed over.
    """

    def __init__(self, corpus: Corpus, negative: int) -> None:
        self.height = len(corpus.words)
        noise = np.cumsum(corpus.counts**_NOISE_POWER)
        self._noise = noise / noise[-1]
        self._negative = negative

    def questions(self, words: IntArray, counts: FloatArray, random: np.random.Generator) -> Questions:
        """The right words and the draws."""
        draws = np.searchsorted(self._noise, random.random(_SHARED_NEGATIVES))
        drawn, times = np.unique(draws, return_counts=True)
        rows = np.union1d(words, drawn).astype(np.int64)
        right = np.zeros((len(counts), len(rows)), np.float32)
        right[:, np.searchsorted(rows, words)] = counts
        weights = np.zeros(len(rows), np.float32)
        weights[np.searchsorted(rows, drawn)] = times * (self._negative / _SHARED_NEGATIVES)
        others = counts.sum(axis=1, keepdims=True) - right
        others *= weights
        others += right
        return Questions(rows, right, others)


class HierarchicalSoftmax:
    """Each right word is a way down a Huffman tree; its questions are the nodes on the way."""

    def __init__(self, corpus: Corpus) -> None:
        self._tree = huffman_tree(corpus.counts)
        self.height = len(corpus.words) - 1

    def questions(self, words: IntArray, counts: FloatArray, random: np.random.Generator) -> Questions:  # noqa: ARG002
        """The nodes on the ways to the words; "yes" is the turn 0."""
        tree = self._tree
        lengths = np.diff(tree.bounds)[words]
        starts = np.cumsum(lengths) - lengths
        within = np.arange(lengths.sum()) - np.repeat(starts, lengths) + np.repeat(tree.bounds[words], lengths)
        rows, places = np.unique(tree.nodes[within], return_inverse=True)
        hidden, predicted = np.nonzero(counts)
        often = lengths[predicted]
        step = np.arange(often.sum()) - np.repeat(np.cumsum(often) - often, often) + np.repeat(starts[predicted], often)
        cells = np.repeat(hidden * len(rows), often) + places[step]
        weights = np.repeat(counts[hidden, predicted], often)
        shape = (len(counts), len(rows))
        asked = np.bincount(cells, weights, shape[0] * shape[1]).reshape(shape)
        left = tree.turns[within][step] == 0
        right = np.bincount(cells[left], weights[left], shape[0] * shape[1]).reshape(shape)
        return Questions(rows, right.astype(np.float32), asked.astype(np.float32))


def gradients(hidden: FloatArray, outputs: FloatArray, questions: Questions) -> tuple[FloatArray, FloatArray]:
    """Gradients of the log-likelihood of the answers.

    Args:
        hidden: the hidden vectors, shape (n, dimension).
        outputs: the rows of the questions, shape (rows, dimension).

    Returns:
        those of `hidden` and those of `outputs`.
    """
    scores = hidden @ outputs.T
    np.clip(scores, -_MAX_SCORE, _MAX_SCORE, out=scores)
    np.negative(scores, out=scores)
    np.exp(scores, out=scores)
    scores += 1
    errors = questions.right - questions.asked / scores
    return errors @ outputs, errors.T @ hidden
