"""The records that are measured: 100,000 vectors of 384 dimensions with a document and three metadata fields.

Sentence embeddings lie near a surface of some tens of dimensions in their space, in loose clusters.
The made ones do too: a mixture of 2,000 clusters in 32 dimensions, mapped linearly into 384, with a
little noise in all of them, then scaled to length 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
QUERIES = 500
_CLUSTERS, _INNER = 2000, 32


def vectors(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(count, 384) vectors to store and (500, 384) queries from the same mixture, none of them stored."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(_CLUSTERS, _INNER))
    spread = random.normal(size=(_INNER, DIMENSION)) / np.sqrt(_INNER)
    total = count + QUERIES
    made = np.empty((total, DIMENSION), np.float32)
    for start in range(0, total, 10_000):
        size = min(10_000, total - start)
        inner = centres[random.integers(0, _CLUSTERS, size)] + 0.7 * random.normal(size=(size, _INNER))
        made[start : start + size] = inner @ spread + 0.1 * random.normal(size=(size, DIMENSION))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made[:count], made[count:]


def documents(count: int) -> list[str]:
    """Short texts, about as long as a gloss."""
    return [f"Record {i}: something of the kind {i % 97}, said in as many words as a gloss has." for i in range(count)]


def metadata(count: int) -> list[dict[str, object]]:
    """Three fields: an integer, a word, a number."""
    return [{"year": 1990 + i % 35, "tag": f"tag-{i % 12}", "price": i * 37 % 10_000 / 100} for i in range(count)]
