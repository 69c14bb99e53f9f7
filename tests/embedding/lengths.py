"""A small embedder that writes down what the host does with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import vecdb
from vecdb.embedding import EmbedderHost
from vecdb.errors import (
    ItemError,
)


@dataclass(frozen=True)
class Config:
    dimension: int = vecdb.option(3, help="length of the vectors")
    token: str = vecdb.option("env:VECDB_TEST_TOKEN", affects="secret", help="a secret")
    device: str = vecdb.option("cpu", affects="runtime", help="no matter")
    model: Path | None = vecdb.option(None, affects="location", help="a file")


class Lengths(vecdb.Embedder):
    """(length, number of a's, 1) of a text; it writes down what the host does with it."""

    made: list[Lengths] = []
    capacity = 1000  # items that fit into memory

    def __init__(self, config):
        super().__init__(config)
        self.calls = []
        self.loads = 0
        self.closed = 0
        self.made.append(self)

    def load(self):
        self.loads += 1

    def close(self):
        self.closed += 1

    @property
    def dimension(self):
        return self.config.dimension

    def weights(self):
        return [self.config.model] if self.config.model else []

    def prepare(self, item):
        if isinstance(item, str) and "unreadable" in item:
            raise ValueError("cannot read this")
        if isinstance(item, str) and "refused" in item:
            raise ItemError("it is refused")
        return item

    def cost(self, prepared):
        return len(prepared) if isinstance(prepared, str) else 1

    def encode(self, batch, role):
        self.calls.append(list(batch))
        if len(batch) > self.capacity:
            raise MemoryError
        if any(item == "poison" for item in batch):
            raise RuntimeError("poisoned")
        rows = []
        for item in batch:
            text = item if isinstance(item, str) else item.name if isinstance(item, Path) else "sound"
            row = [len(text), text.count("a"), 2.0 if role == "query" else 1.0]
            rows.append([0, 0, 0] if text == "nothing" else [np.nan, 1, 1] if text == "nan" else row)
        return np.array(rows, np.float64)


INFO = vecdb.EmbedderInfo(
    name="lengths", summary="for the tests", modalities=frozenset({"text"}), config=Config,
    factory=f"{__name__}:Lengths", batch_size=4,
)  # fmt: skip


def host_of(factory=Lengths, *, config=None, **changes):
    """A host of this embedder class, made known to the module so that the factory finds it."""
    globals()[factory.__name__] = factory
    return EmbedderHost(replace(INFO, factory=f"{__name__}:{factory.__name__}", **changes), config or Config())
