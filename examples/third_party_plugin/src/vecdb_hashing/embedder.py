"""Feature hashing (Weinberger et al., ICML 2009) of the character n-grams of words, as fastText cuts them."""

import hashlib
import math
import unicodedata
from collections import Counter

import numpy as np

import vecdb


def ngrams_of(text, shortest, longest):
    """The character n-grams of each word of a text, its ends marked by "<" and ">"."""
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        marked = f"<{word}>"
        for length in range(shortest, longest + 1):
            for start in range(len(marked) - length + 1):
                yield marked[start : start + length]


class HashingEmbedder(vecdb.Embedder):
    """A hash chooses the place of an n-gram in the vector, and its sign: collisions cancel on average."""

    def load(self):
        """Nothing to open: there are no weights."""

    @property
    def dimension(self):
        return self.config.dimension

    def prepare(self, item):
        counts = Counter(ngrams_of(item, self.config.shortest, self.config.longest))
        if not counts:
            raise vecdb.ItemError(f"no word is long enough for n-grams of {self.config.shortest}; lower `shortest`")
        return counts

    def encode(self, batch, role):  # noqa: ARG002  (a query is a text as any other)
        rows = np.zeros((len(batch), self.dimension), np.float32)
        for row, counts in zip(rows, batch, strict=True):
            for ngram, count in counts.items():
                digest = hashlib.blake2b(ngram.encode(), digest_size=8).digest()
                place, sign = divmod(int.from_bytes(digest, "little"), 2)
                row[place % self.dimension] += (2 * sign - 1) * (1 + math.log(count))
        return rows
