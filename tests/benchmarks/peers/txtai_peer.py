"""txtai with content, its hnsw backend, and vectors made elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from txtai import Embeddings  # it reads the variable

from tests.benchmarks.peers.base import EF_CONSTRUCTION, Hit, M, Metadata, Peer, Vector

STATEMENT = "SELECT id, text, year, tag, price, score FROM txtai WHERE similar(:query)"


class TxtaiPeer(Peer):
    """Durable with `save` only. It asks for the vector of a text, which a table of the batch answers."""

    packages = ("txtai",)

    def _transform(self) -> Callable[[list[Any]], Vector]:
        """A plain function: txtai calls anything else without arguments."""

        def transform(texts: list[Any]) -> Vector:
            return np.array([self.vectors[text] for text in texts], np.float32)

        return transform

    def create(self, folder: Path, dimension: int) -> None:
        self.folder, self.empty = folder / "records", True
        self.vectors: dict[str, Vector] = {}
        graph = {"m": M, "efconstruction": EF_CONSTRUCTION, "efsearch": 64}
        self.records: Any = Embeddings(
            method="external", transform=self._transform(), content=True, backend="hnsw", hnsw=graph
        )

    def open(self, folder: Path, dimension: int) -> None:
        self.vectors = {}
        self.records = Embeddings()
        self.records.load(str(folder / "records"), config={"transform": self._transform()})

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        self.vectors = dict(zip(documents, vectors, strict=True))
        rows = [
            (id, {"text": document, **fields}, None)
            for id, document, fields in zip(ids, documents, metadata, strict=True)
        ]
        (self.records.index if self.empty else self.records.upsert)(rows)
        self.empty = False

    def commit(self) -> None:
        self.records.save(str(self.folder))

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        if knob is not None:
            self.records.ann.config["hnsw"]["efsearch"] = knob
        statement = STATEMENT if below is None else f"{STATEMENT} AND price < {below}"
        found = self.records.search(statement, k, parameters={"query": query})
        return [
            Hit(int(row["id"]), row["text"], {field: row[field] for field in ("year", "tag", "price")}) for row in found
        ]

    def close(self) -> None:
        self.records.close()
