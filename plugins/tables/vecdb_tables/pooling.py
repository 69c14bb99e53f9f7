"""Several rows to one vector, as torch.nn.EmbeddingBag does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vecdb_tables.table import FloatArray, IdArray, Table

_BLOCK = 1 << 22  # numbers that are gathered at a time, so that long items need no more memory


def pooled(table: Table, items: Sequence[IdArray], pooling: str) -> FloatArray:
    """Mean, sum or maximum of the rows of each item.

    Args:
        table: of shape (num_embeddings, embedding_dim).
        items: one or more ids each.
        pooling: "mean", "sum" or "max".

    Returns:
        Shape (len(items), embedding_dim); a row depends on its item alone.
    """
    reduce = np.maximum.reduce if pooling == "max" else np.add.reduce
    block = max(1, _BLOCK // table.shape[1])
    vectors = np.empty((len(items), table.shape[1]), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found by the caller
        for first, last in _groups([len(ids) for ids in items], block):
            if last - first == 1:
                ids = items[first]
                parts = [reduce(table.rows(ids[start : start + block])) for start in range(0, len(ids), block)]
                reduce(parts, out=vectors[first])
                continue
            gathered = table.rows(np.concatenate(items[first:last]))
            start = 0
            for vector, ids in zip(vectors[first:last], items[first:last], strict=True):
                reduce(gathered[start : start + len(ids)], out=vector)
                start += len(ids)
        if pooling == "mean":
            vectors /= np.array([[len(ids)] for ids in items], np.float32)
    return vectors


def _groups(lengths: Sequence[int], block: int) -> Iterator[tuple[int, int]]:
    """Runs of items, first and last (exclusive), that have up to `block` ids; a longer item stands alone."""
    first = held = 0
    for last, length in enumerate(lengths):
        if last > first and held + length > block:
            yield first, last
            first, held = last, 0
        held += length
    yield first, len(lengths)
