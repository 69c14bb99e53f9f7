"""Qdrant Edge: the shard of Qdrant in the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from tests.benchmarks.peers.base import EF_CONSTRUCTION, THREADS, Hit, M, Metadata, Peer, Vector


class QdrantPeer(Peer):
    """Points are searched without a graph until `optimize` has built it."""

    packages = ("qdrant-edge-py",)

    def create(self, folder: Path, dimension: int) -> None:
        vectors = qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Dot)
        graph = qdrant.HnswIndexConfig(
            m=M, ef_construct=EF_CONSTRUCTION, full_scan_threshold=1000, max_indexing_threads=THREADS
        )
        config = qdrant.EdgeConfig(vectors=vectors, hnsw_config=graph)
        self.shard: Any = qdrant.EdgeShard.create(str(folder), config)

    def open(self, folder: Path, dimension: int) -> None:
        self.shard = qdrant.EdgeShard.load(str(folder))

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        rows = zip(ids, documents, metadata, vectors, strict=True)
        points = [
            qdrant.Point(id, vector.tolist(), {**fields, "document": document})
            for id, document, fields, vector in rows
        ]
        self.shard.update(qdrant.UpdateOperation.upsert_points(points))
        self.shard.flush()

    def finish(self) -> None:
        self.shard.update(qdrant.UpdateOperation.create_field_index("price", qdrant.PayloadSchemaType.Float))
        self.shard.optimize()
        self.shard.flush()

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        price = None
        if below is not None:
            price = qdrant.Filter(must=[qdrant.FieldCondition(key="price", range=qdrant.RangeFloat(lt=below))])
        request = qdrant.QueryRequest(
            limit=k, query=qdrant.Query.Nearest(query.tolist()), filter=price,
            params=qdrant.SearchParams(hnsw_ef=knob), with_payload=True, with_vector=False,
        )
        return [_hit(point) for point in self.shard.query(request)]

    def close(self) -> None:
        self.shard.close()


def _hit(point: Any) -> Hit:
    fields = dict(point.payload)
    return Hit(int(point.id), fields.pop("document"), fields)
