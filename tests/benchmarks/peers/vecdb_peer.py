"""vecdb, through its public API and with its defaults."""

from __future__ import annotations

from pathlib import Path

import vecdb
from tests.benchmarks.peers.base import Hit, Metadata, Peer, Vector


class VecdbPeer(Peer):
    """`vecdb.open`, `create_collection`, `add`, `search`, `optimize`."""

    packages = ("vecdb-engine", "hnswlib", "numpy")

    def versions(self) -> str:
        return f"vecdb {vecdb.__version__}"

    def create(self, folder: Path, dimension: int) -> None:
        self.database = vecdb.open(folder / "records.vecdb")
        self.records = self.database.create_collection("records", dimension=dimension)

    def open(self, folder: Path, dimension: int) -> None:
        self.database = vecdb.open(folder / "records.vecdb")
        self.records = self.database.collection("records")

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        self.records.add(documents, ids=[str(id) for id in ids], metadata=metadata, vectors=vectors)

    def finish(self) -> None:
        self.records.optimize()

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        where = None if below is None else {"price": {"$lt": below}}
        hits = self.records.search(query, k=k, ef=knob, where=where)
        return [Hit(int(hit.id), str(hit.content), dict(hit.metadata)) for hit in hits]

    def close(self) -> None:
        self.database.close()
