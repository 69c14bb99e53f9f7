"""Milvus Lite through pymilvus, with its HNSW index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymilvus import DataType, MilvusClient

from tests.benchmarks.peers.base import EF_CONSTRUCTION, Hit, M, Metadata, Peer, Vector

NAME = "records"
FIELDS = ["year", "tag", "price", "document"]


class MilvusPeer(Peer):
    """Its index is made as the collection is loaded: that shows in the time to open."""

    packages = ("pymilvus", "milvus-lite")

    def create(self, folder: Path, dimension: int) -> None:
        self.client: Any = MilvusClient(str(folder / "records.db"))
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        schema.add_field("year", DataType.INT64)
        schema.add_field("tag", DataType.VARCHAR, max_length=16)
        schema.add_field("price", DataType.DOUBLE)
        schema.add_field("document", DataType.VARCHAR, max_length=4096)
        graph = self.client.prepare_index_params()
        options = {"M": M, "efConstruction": EF_CONSTRUCTION}
        graph.add_index("vector", index_type="HNSW", metric_type="IP", params=options)
        self.client.create_collection(NAME, schema=schema, index_params=graph)
        self.client.load_collection(NAME)

    def open(self, folder: Path, dimension: int) -> None:
        self.client = MilvusClient(str(folder / "records.db"))
        self.client.load_collection(NAME)

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        rows = zip(ids, documents, metadata, vectors, strict=True)
        self.client.insert(
            NAME,
            [{"id": id, "document": document, "vector": vector, **fields} for id, document, fields, vector in rows],
        )

    def finish(self) -> None:
        self.client.flush(NAME)

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        found = self.client.search(
            NAME, data=[query], limit=k, filter="" if below is None else f"price < {below}",
            search_params={"params": {"ef": knob}}, output_fields=FIELDS,
        )
        return [_hit(row) for row in found[0]]

    def close(self) -> None:
        self.client.close()


def _hit(row: Any) -> Hit:
    fields = dict(row["entity"])
    fields.pop("id", None)
    return Hit(row["id"], fields.pop("document"), fields)
