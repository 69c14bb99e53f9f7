"""Signed feature hashing of character n-grams.

K. Weinberger, A. Dasgupta, J. Langford, A. Smola, J. Attenberg: "Feature Hashing for Large Scale
Multitask Learning", ICML 2009. A hash chooses a feature's place in the vector, and its sign, so that
collisions cancel on average and dot products are unbiased. N-grams keep to words, as in fastText
(Bojanowski et al. 2017): "<ab", "ab>".
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

import vecdb


def ngrams(text: str, shortest: int, longest: int) -> Iterator[str]:
    """The character n-grams of each word of a text, its ends marked by "<" and ">"."""
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        marked = f"<{word}>"
        for length in range(shortest, longest + 1):
            for start in range(len(marked) - length + 1):
                yield marked[start : start + length]


class HashingEmbedder(vecdb.Embedder):
    """Places each n-gram by its hash, weighted by 1 + log(count)."""

    def load(self) -> None:
        """There are no weights to open; the options are checked."""
        if not 1 <= self.config.shortest <= self.config.longest:
            raise vecdb.InvalidInputError("hashing: shortest must be at least 1 and not above longest; correct them")
        if self.config.dimension < 8:
            raise vecdb.InvalidInputError("hashing: dimension must be at least 8; give more")

    @property
    def dimension(self) -> int:
        return int(self.config.dimension)

    def prepare(self, item: str) -> Counter[str]:
        counts = Counter(ngrams(item, self.config.shortest, self.config.longest))
        if not counts:
            raise vecdb.ItemError(f"no word is long enough for n-grams of {self.config.shortest} characters")
        return counts

    def encode(self, batch: Sequence[Counter[str]], role: str) -> np.ndarray:  # noqa: ARG002
        rows = np.zeros((len(batch), self.dimension), np.float32)
        for row, counts in zip(rows, batch, strict=True):
            for ngram, count in counts.items():
                digest = hashlib.blake2b(ngram.encode(), digest_size=8).digest()
                place, sign = divmod(int.from_bytes(digest, "little"), 2)
                row[place % self.dimension] += (2 * sign - 1) * (1 + math.log(count))
        return rows
