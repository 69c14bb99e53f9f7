"""Embedding tables: the hook. The work is done in the modules beside it."""

from __future__ import annotations

from vecdb import EmbedderInfo, hookimpl
from vecdb_tables.config import EmbeddingTableConfig


@hookimpl
def vecdb_register_embedders() -> list[EmbedderInfo]:
    """`embedding-table`."""
    return [
        EmbedderInfo(
            name="embedding-table",
            summary="the rows of a torch.nn.Embedding table (safetensors, npy, npz, state dict), by id or by token",
            modalities=frozenset({"ids", "text"}),
            config=EmbeddingTableConfig,
            factory="vecdb_tables.embedder:EmbeddingTableEmbedder",
            batch_size=256,
        ),
    ]
