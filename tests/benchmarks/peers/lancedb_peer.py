"""LanceDB with an IVF_HNSW_SQ index of one partition: a graph over vectors of one byte a dimension."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa

from tests.benchmarks.peers.base import EF_CONSTRUCTION, Hit, M, Metadata, Peer, Vector

NAME = "records"
FIELDS = ["year", "tag", "price"]
REFINE = 2  # so many times k are compared again by the full vectors


class LancedbPeer(Peer):
    """The index is built by `create_index`, the filtered field has a scalar index."""

    packages = ("lancedb",)
    knob = (20, 1280)  # it refuses an ef below REFINE * k

    def create(self, folder: Path, dimension: int) -> None:
        vector = pa.list_(pa.float32(), dimension)
        self.schema = pa.schema(
            [("id", pa.int64()), ("document", pa.string()), ("year", pa.int32()),
             ("tag", pa.string()), ("price", pa.float64()), ("vector", vector)]
        )
        self.table: Any = lancedb.connect(str(folder)).create_table(NAME, schema=self.schema)

    def open(self, folder: Path, dimension: int) -> None:
        self.table = lancedb.connect(str(folder)).open_table(NAME)
        self.schema = self.table.schema

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        columns: dict[str, Any] = {field: [fields[field] for fields in metadata] for field in FIELDS}
        batch = pa.table({"id": ids, "document": documents, **columns, "vector": rows}, schema=self.schema)
        self.table.add(batch)

    def finish(self) -> None:
        self.table.optimize(cleanup_older_than=dt.timedelta(0))
        self.table.create_index(
            metric="dot", vector_column_name="vector", index_type="IVF_HNSW_SQ", num_partitions=1,
            m=M, ef_construction=EF_CONSTRUCTION,
        )
        self.table.create_scalar_index("price")
        self.table.optimize(cleanup_older_than=dt.timedelta(0))

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        wanted = self.table.search(query, vector_column_name="vector").distance_type("dot").limit(k)
        wanted = wanted.select(["id", "document", *FIELDS, "_distance"])
        wanted = wanted.nprobes(1).ef(knob).refine_factor(REFINE)
        if below is not None:
            wanted = wanted.where(f"price < {below}", prefilter=True)
        rows = wanted.to_arrow().to_pylist()
        return [Hit(row["id"], row["document"], {field: row[field] for field in FIELDS}) for row in rows]

    def close(self) -> None:
        del self.table
