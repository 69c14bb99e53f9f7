"""Small models that the tests write, and figures of similarity."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vecdb import Embedder
from vecdb_words import vecdb_register_embedders

WORDS = ["the", "king", "queen", "potato", "water", "new york", "don't", "naïve", "물", "c++"]
DIMENSION = 7
VECTORS = np.random.default_rng(5).standard_normal((len(WORDS), DIMENSION)).astype(np.float32)


def embedder(name: str, **options: Any) -> Embedder:
    """A loaded embedder, made as the host makes it."""
    info = next(found for found in vecdb_register_embedders() if found.name == name)
    made = info.create(info.configure(options))
    made.load()
    return made


def embed(made: Embedder, texts: Sequence[str]) -> np.ndarray:
    return np.asarray(made.encode([made.prepare(text) for text in texts], "document"))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


def ranks(values: Iterable[float]) -> np.ndarray:
    """Ranks, equal values sharing their mean rank."""
    _, positions, counts = np.unique(np.asarray(list(values)), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((2 * ends - counts - 1) / 2)[positions]


def spearman(first: Iterable[float], second: Iterable[float]) -> float:
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def text_bytes(words: Sequence[str] = WORDS, vectors: np.ndarray = VECTORS, *, header: bool, end: str = "\n") -> bytes:
    lines = [f"{len(words)} {vectors.shape[1]}"] if header else []
    for word, row in zip(words, vectors, strict=True):
        lines.append(" ".join([word, *(repr(float(value)) for value in row)]))
    return (end.join(lines) + end).encode()


def binary_bytes(words: Sequence[str] = WORDS, vectors: np.ndarray = VECTORS, *, newline: bool = False) -> bytes:
    out = f"{len(words)} {vectors.shape[1]}\n".encode()
    for word, row in zip(words, vectors, strict=True):
        out += word.replace(" ", "_").encode() + b" " + row.astype("<f4").tobytes() + (b"\n" if newline else b"")
    return out


def fasttext_bytes(
    words: Sequence[str], inputs: np.ndarray, *, buckets: int, min_n: int = 2, max_n: int = 4, version: int = 12
) -> bytes:
    """A model with falling counts, written out field by field as the official program does."""
    dimension = inputs.shape[1]
    out = struct.pack("<2i", 793712314, version)
    out += struct.pack("<12id", dimension, 5, 1, 1, 5, 1, 2, 2, buckets, min_n, max_n, 100, 1e-4)
    out += struct.pack("<3i2q", len(words), len(words), 0, 10 * len(words) ** 2, -1)
    for number, word in enumerate(words):
        out += word.encode() + b"\0" + struct.pack("<qb", 10 * (len(words) - number), 0)
    for matrix in (inputs, np.zeros((len(words), dimension))):
        out += struct.pack("<?2q", False, *matrix.shape) + matrix.astype("<f4").tobytes()
    return out
