"""hnswlib alone, the reference for search time and memory.

It has no records and no filter, and nothing is durable before it is saved.
"""

from __future__ import annotations

from pathlib import Path

import hnswlib

from tests.benchmarks.peers.base import EF_CONSTRUCTION, THREADS, Hit, M, Metadata, Peer, Vector

FILE = "index.hnsw"


class HnswlibPeer(Peer):
    """The index is made for as many vectors as come, doubling its room as a caller must."""

    packages = ("hnswlib",)
    keeps_records = False

    def create(self, folder: Path, dimension: int) -> None:
        self.file = str(folder / FILE)
        self.index = hnswlib.Index(space="ip", dim=dimension)
        self.index.init_index(1024, M=M, ef_construction=EF_CONSTRUCTION)

    def open(self, folder: Path, dimension: int) -> None:
        self.index = hnswlib.Index(space="ip", dim=dimension)
        self.index.load_index(str(folder / FILE))

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        if self.index.element_count + len(ids) > self.index.max_elements:
            self.index.resize_index(2 * self.index.max_elements)
        self.index.add_items(vectors, ids, num_threads=THREADS)

    def commit(self) -> None:
        self.index.resize_index(self.index.element_count)  # else the file is as large as the room
        self.index.save_index(self.file)

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        self.index.set_ef(knob)
        return [Hit(int(label)) for label in self.index.knn_query(query, k, num_threads=1)[0][0]]

    def close(self) -> None:
        del self.index
