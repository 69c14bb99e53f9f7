"""The pairs of neighbouring words that models learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecdb_words.corpus import Corpus
from vecdb_words.vectors import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Block:
    """Some tokens of a corpus, one behind the other, with the pairs of neighbours among them.

    Attributes:
        words: the different words of the block, rising, shape (words,).
        numbers: for each token, its position in `words`.
        centres, neighbours: positions of tokens; pair i is a token and one in its window.
        tokens: number of tokens of the corpus that the block stands for, passed-over ones as well.
    """

    words: IntArray
    numbers: NDArray[np.intp]
    centres: NDArray[np.intp]
    neighbours: NDArray[np.intp]
    tokens: int

    def pair_counts(self) -> FloatArray:
        """How often each word (row) stands in the window of each word (column), shape (words, words)."""
        count = len(self.words)
        cells = self.numbers[self.neighbours] * count + self.numbers[self.centres]
        return np.bincount(cells, minlength=count * count).reshape(count, count).astype(np.float32)

    def contexts(self) -> FloatArray:
        """How often each word (column) stands in the window of each token (row), shape (tokens, words)."""
        count = len(self.words)
        cells = self.centres * count + self.numbers[self.neighbours]
        found = np.bincount(cells, minlength=len(self.numbers) * count)
        return found.reshape(len(self.numbers), count).astype(np.float32)


def blocks(corpus: Corpus, size: int, window: int, sample: float, random: np.random.Generator) -> Iterator[Block]:
    """One pass over the corpus in blocks of `size` tokens.

    A word of frequency f is kept with the probability sqrt(sample / f) + sample / f, as word2vec does
    (Mikolov et al. 2013, in the form of their program).
    """
    frequencies = corpus.counts / corpus.counts.sum()
    kept = np.sqrt(sample / frequencies) + sample / frequencies
    chosen = np.flatnonzero(random.random(len(corpus.tokens)) < kept[corpus.tokens])
    for start in range(0, len(chosen), size):
        places = chosen[start : start + size]
        words, numbers = np.unique(corpus.tokens[places], return_inverse=True)
        centres, neighbours = pairs(corpus.documents[places], window, random)
        stood_for = len(corpus.tokens) * (start + len(places)) // len(chosen)
        stood_for -= len(corpus.tokens) * start // len(chosen)
        yield Block(words.astype(np.int64), numbers, centres, neighbours, stood_for)


def pairs(
    documents: NDArray[np.int32], window: int, random: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of tokens and of their neighbours in the same document.

    The window of each token is drawn from 1 to `window`, so that nearer pairs are seen more often.
    """
    reach = random.integers(1, window + 1, len(documents))
    centres = [np.empty(0, np.intp)]
    neighbours = [np.empty(0, np.intp)]
    for distance in range(1, min(window, len(documents) - 1) + 1):
        near = documents[distance:] == documents[:-distance]
        forward = np.flatnonzero(near & (reach[:-distance] >= distance))
        backward = np.flatnonzero(near & (reach[distance:] >= distance))
        centres += [forward, backward + distance]
        neighbours += [forward + distance, backward]
    return np.concatenate(centres), np.concatenate(neighbours)
