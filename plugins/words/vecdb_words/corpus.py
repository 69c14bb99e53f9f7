"""A training text as numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecdb_words.tokenise import words_of
from vecdb_words.vectors import IntArray


@dataclass(frozen=True)
class Corpus:
    """The frequent words of some texts.

    Attributes:
        words: the vocabulary, most frequent first.
        counts: how often each stands in the texts.
        tokens: the texts as numbers of words, one behind the other, without rare words.
        documents: for each token, the number of its text.
        texts: number of texts read.
        total: number of words read, rare ones as well.
    """

    words: list[str]
    counts: IntArray
    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]
    texts: int
    total: int


def read_corpus(texts: Iterable[str], min_count: int) -> Corpus:
    """Read texts once; words that stand in them less than `min_count` times are left out."""
    numbers: dict[str, int] = {}
    tokens = array("i")
    lengths = array("i")
    for text in texts:
        found = words_of(text)
        lengths.append(len(found))
        tokens.extend([numbers.setdefault(word, len(numbers)) for word in found])
    all_tokens = np.frombuffer(tokens, np.int32) if tokens else np.empty(0, np.int32)
    counts = np.bincount(all_tokens, minlength=len(numbers))
    names = list(numbers)
    frequent = [number for number in range(len(names)) if counts[number] >= min_count]
    frequent.sort(key=lambda number: (-counts[number], names[number]))
    renumbered = np.full(len(names) + 1, -1, np.int32)
    renumbered[frequent] = np.arange(len(frequent), dtype=np.int32)
    kept = renumbered[all_tokens]
    documents = np.repeat(np.arange(len(lengths), dtype=np.int32), np.frombuffer(lengths, np.int32) if lengths else 0)
    return Corpus(
        words=[names[number] for number in frequent],
        counts=counts[frequent].astype(np.int64),
        tokens=kept[kept >= 0],
        documents=documents[kept >= 0],
        texts=len(lengths),
        total=len(all_tokens),
    )
