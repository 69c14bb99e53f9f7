"""Chroma: `PersistentClient`, embeddings made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from tests.benchmarks.peers.base import EF_CONSTRUCTION, THREADS, Hit, M, Metadata, Peer, Vector

NAME = "records"


class ChromaPeer(Peer):
    """Its `ef_search` belongs to the collection, not to a query, and is read when a collection is loaded."""

    packages = ("chromadb",)

    def _client(self, folder: Path) -> None:
        self.folder = folder
        self.client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        self.ef: int | None = None

    def create(self, folder: Path, dimension: int) -> None:
        self._client(folder)
        graph = {"space": "ip", "max_neighbors": M, "ef_construction": EF_CONSTRUCTION, "num_threads": THREADS}
        self.records: Any = self.client.create_collection(
            NAME, embedding_function=None, configuration={"hnsw": graph}
        )

    def open(self, folder: Path, dimension: int) -> None:
        self._client(folder)
        self.records = self.client.get_collection(NAME, embedding_function=None)

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        self.records.add(ids=[str(id) for id in ids], documents=documents, metadatas=metadata, embeddings=vectors)

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        if knob is not None and knob != self.ef:
            self._set_ef(knob)
        where = None if below is None else {"price": {"$lt": below}}
        found = self.records.query(
            query_embeddings=[query], n_results=k, where=where, include=["documents", "metadatas", "distances"]
        )
        rows = zip(found["ids"][0], found["documents"][0], found["metadatas"][0], strict=True)
        return [Hit(int(id), document, dict(metadata)) for id, document, metadata in rows]

    def _set_ef(self, ef: int) -> None:
        """An open collection keeps the ef that it was loaded with: so it is written, closed and loaded again."""
        self.records.modify(configuration={"hnsw": {"ef_search": ef}})
        folder = self.folder
        self.close()
        self.open(folder, 0)
        self.ef = ef

    def close(self) -> None:
        self.client.close()
        self.client.clear_system_cache()
