"""How often words of a corpus stand near one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecdb_words.corpus import Corpus
from vecdb_words.sparse import segment_starts
from vecdb_words.vectors import IntArray

_BLOCK_TOKENS = 1 << 19


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Unordered pairs of words, each once.

    Attributes:
        first, second: numbers of the two words; first <= second.
        weights: their count; of a pair of a word with itself, each occurrence counts once.
    """

    first: IntArray
    second: IntArray
    weights: NDArray[np.float64]


def count_pairs(corpus: Corpus, by_distance: NDArray[np.float64], max_tokens: int | None = None) -> PairCounts:
    """Count the pairs of words of one text that stand near one another.

    Args:
        by_distance: what a pair counts whose words are 1, 2, … words apart; its length is the window.
        max_tokens: stop after so many words of the corpus.
    """
    words = len(corpus.words)
    runs: list[tuple[IntArray, NDArray[np.float64]]] = []
    limit = len(corpus.tokens) if max_tokens is None else min(len(corpus.tokens), max_tokens)
    for start in range(0, limit, _BLOCK_TOKENS):
        runs.append(_count_block(corpus, start, by_distance))
        # runs of falling size, as a merge sort keeps them: a key is moved only a few times in all
        while len(runs) > 1 and len(runs[-2][0]) <= 2 * len(runs[-1][0]):
            runs[-2:] = [_merge(*runs[-2:])]
    while len(runs) > 1:
        runs[-2:] = [_merge(*runs[-2:])]
    keys, weights = runs[0] if runs else (np.empty(0, np.int64), np.empty(0))
    first, second = np.divmod(keys, words)
    return PairCounts(first, second, weights)


def _count_block(corpus: Corpus, start: int, by_distance: NDArray[np.float64]) -> tuple[IntArray, NDArray[np.float64]]:
    """Keys of pairs whose first word is in this block, rising, and their counts."""
    words, window = len(corpus.words), len(by_distance)
    end = start + _BLOCK_TOKENS
    tokens = corpus.tokens[start : end + window].astype(np.int64)
    documents = corpus.documents[start : end + window]
    found = [np.empty(0, np.int64)]
    for distance in range(1, min(window, len(tokens) - 1) + 1):
        count = min(_BLOCK_TOKENS, len(tokens) - distance)
        near = documents[distance : distance + count] == documents[:count]
        left, right = tokens[:count][near], tokens[distance : distance + count][near]
        found.append((np.minimum(left, right) * words + np.maximum(left, right)) * window + distance - 1)
    # the distance rides in the key: one plain sort is several times faster than sorting an order
    keys, distances = np.divmod(np.sort(np.concatenate(found)), window)
    return _summed(keys, by_distance[distances])


def _merge(
    one: tuple[IntArray, NDArray[np.float64]], other: tuple[IntArray, NDArray[np.float64]]
) -> tuple[IntArray, NDArray[np.float64]]:
    keys = np.concatenate([one[0], other[0]])
    order = np.argsort(keys, kind="stable")
    return _summed(keys[order], np.concatenate([one[1], other[1]])[order])


def _summed(keys: IntArray, weights: NDArray[np.float64]) -> tuple[IntArray, NDArray[np.float64]]:
    starts = segment_starts(keys)
    return keys[starts], np.add.reduceat(weights, starts) if len(starts) else weights[:0]
