"""zvec with an HNSW index, of float32 or of int8 codes with refinement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zvec

from tests.benchmarks.peers.base import EF_CONSTRUCTION, THREADS, Hit, M, Metadata, Peer, Vector

FIELDS = ["year", "tag", "price", "document"]


class ZvecPeer(Peer):
    """Inserted vectors are found at once; `optimize` builds the graph of them."""

    packages = ("zvec",)
    codes = False

    def __init__(self) -> None:
        zvec.init(log_level=zvec.LogLevel.ERROR, query_threads=THREADS, optimize_threads=THREADS)

    def create(self, folder: Path, dimension: int) -> None:
        types = zvec.DataType
        price = zvec.InvertIndexParam(enable_range_optimization=True)
        fields = [
            zvec.FieldSchema("year", types.INT32),
            zvec.FieldSchema("tag", types.STRING),
            zvec.FieldSchema("price", types.DOUBLE, index_param=price),
            zvec.FieldSchema("document", types.STRING),
        ]
        quantized = {"quantize_type": zvec.QuantizeType.INT8} if self.codes else {}
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.IP, m=M, ef_construction=EF_CONSTRUCTION, **quantized
        )
        vectors = zvec.VectorSchema("vector", types.VECTOR_FP32, dimension, index_param=graph)
        schema = zvec.CollectionSchema(name="records", fields=fields, vectors=vectors)
        self.records: Any = zvec.create_and_open(str(folder / "records"), schema)

    def open(self, folder: Path, dimension: int) -> None:
        self.records = zvec.open(str(folder / "records"))

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        rows = zip(ids, documents, metadata, vectors, strict=True)
        states = self.records.insert(
            [
                zvec.Doc(id=str(id), vectors={"vector": vector}, fields={**fields, "document": document})
                for id, document, fields, vector in rows
            ]
        )
        for state in states if isinstance(states, list) else [states]:
            if not state.ok():
                raise RuntimeError(f"zvec refused a record: {state}")

    def commit(self) -> None:
        self.records.flush()

    def finish(self) -> None:
        self.records.optimize(zvec.OptimizeOption(concurrency=THREADS))
        self.records.flush()

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        found = self.records.query(
            zvec.Query(
                field_name="vector", vector=query,
                param=zvec.HnswQueryParam(ef=knob, is_using_refiner=self.codes),
            ),
            topk=k,
            filter=None if below is None else f"price < {below}",
            output_fields=FIELDS,
        )
        return [_hit(document) for document in found]

    def close(self) -> None:
        del self.records  # the last reference: it has no close


class ZvecCodesPeer(ZvecPeer):
    """The graph of int8 codes; the best are compared again by the full vectors."""

    codes = True


def _hit(document: Any) -> Hit:
    fields = dict(document.fields)
    return Hit(int(document.id), fields.pop("document"), fields)
