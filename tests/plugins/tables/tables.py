"""Small tables and files of them, for the tests of `embedding-table`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vecdb_tables import vecdb_register_embedders
from vecdb_tables.embedder import EmbeddingTableEmbedder

[INFO] = vecdb_register_embedders()
WORDS = ["<pad>", "<unk>", "cat", "kitten", "dog", "car", "train"]


def matrix(rows: int = 7, dimension: int = 4) -> np.ndarray:
    """Random rows; "kitten" is near "cat"."""
    table = np.random.default_rng(3).standard_normal((rows, dimension)).astype(np.float32)
    if rows > 3:
        table[3] = table[2] + 0.1
    return table


def loaded(**options: Any) -> EmbeddingTableEmbedder:
    """A loaded embedder with these options."""
    embedder = INFO.create(INFO.configure(options))
    embedder.load()
    return embedder


def embed(item: str, **options: Any) -> np.ndarray:
    """The vector of one item."""
    embedder = loaded(**options)
    return embedder.encode([embedder.prepare(item)], "document")[0]


def npy(folder: Path, table: np.ndarray | None = None) -> Path:
    """A `.npy` file of a table."""
    path = folder / "table.npy"
    np.save(path, matrix() if table is None else table)
    return path


def words(folder: Path, tokens: list[str] = WORDS) -> Path:
    """A vocabulary, one token a line."""
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in tokens), "utf-8")
    return path


def safetensors_bytes(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def described(table: np.ndarray, dtype: str = "F32", **lies: Any) -> dict[str, Any]:
    """What a safetensors header says of a table that stands alone."""
    return {"dtype": dtype, "shape": list(table.shape), "data_offsets": [0, table.nbytes], **lies}
