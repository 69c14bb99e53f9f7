"""A table of random rows, as torch.nn.Embedding begins with: from the standard normal distribution."""

from __future__ import annotations

import numpy as np

from vecdb_tables.table import FloatArray, Table

_BLOCK = 1 << 20


def random_table(num_embeddings: int, embedding_dim: int, seed: int) -> Table:
    """Independent standard normal numbers, the same for a seed on every machine.

    The rows of a smaller table are the first rows of a larger one. Made from the bits of PCG64, whose
    stream numpy promises to keep (it does not for its own normal numbers), by the transform of Box and
    Muller ("A Note on the Generation of Random Normal Deviates", 1958).
    """
    bits = np.random.PCG64(seed)
    matrix: FloatArray = np.empty((num_embeddings, embedding_dim), np.float32)
    numbers = matrix.reshape(-1)
    for start in range(0, len(numbers), _BLOCK):
        part = numbers[start : start + _BLOCK]
        part[:] = _normal(bits, len(part) + len(part) % 2)[: len(part)]
    return Table(matrix)


def _normal(bits: np.random.PCG64, count: int) -> FloatArray:
    uniform = (bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[::2]))
    angle = 2 * np.pi * uniform[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1).astype(np.float32)
