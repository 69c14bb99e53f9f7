"""One measurement, in a process of its own: `python -m tests.benchmarks.measure NAME FOLDER COUNT` prints JSON."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from tests.benchmarks import data
from tests.benchmarks.embedding import embedding

BATCH = 1000
K = 10
ROUNDS = 5
RECALL_QUERIES = 200


def ingest(folder: Path, count: int) -> dict[str, Any]:
    """`add` in batches of 1,000 until all is durable and searchable; then until the graph is complete."""
    stored, queries = data.vectors(count)
    texts, fields, ids = data.documents(count), data.metadata(count), [f"record-{i}" for i in range(count)]
    with vecdb.open(folder) as db:
        records = db.create_collection("records", dimension=data.DIMENSION)
        begin_cpu, begin = time.thread_time(), time.perf_counter()
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            records.add(texts[part], ids=ids[part], metadata=fields[part], vectors=stored[part])
        cpu, wall = time.thread_time() - begin_cpu, time.perf_counter() - begin
        found = records.search(stored[-1], k=1)[0].id
        searchable = time.thread_time() - begin_cpu
        records.optimize()
        complete_cpu, complete = time.process_time(), time.perf_counter() - begin
        del queries
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "add_per_cpu_second": count / cpu,
        "searchable_per_cpu_second": count / searchable,
        "add_per_second": count / wall,
        "last_record_found": found == ids[-1],
        "complete_seconds": complete,
        "complete_cpu_seconds": complete_cpu,
        "disk_bytes_per_record": size / count,
        "least_disk_bytes_per_record": (2 * stored.nbytes + sum(map(len, texts)) + len(json.dumps(fields))) / count,
    }


def first(folder: Path, count: int) -> dict[str, Any]:
    """Opening and answering the first query, libraries included; and once more, when they are loaded."""
    _, queries = data.vectors(1)
    costs = []
    for _ in range(2):
        begin_cpu, begin = time.process_time(), time.perf_counter()
        with vecdb.open(folder, read_only=True) as db:
            db.collection("records").search(queries[0], k=K)
            costs.append((time.process_time() - begin_cpu, time.perf_counter() - begin))
    (cpu_seconds, seconds), (again_cpu_seconds, again_seconds) = costs
    return {
        "cpu_seconds": cpu_seconds,
        "seconds": seconds,
        "again_cpu_seconds": again_cpu_seconds,
        "again_seconds": again_seconds,
    }


def bare_first(folder: Path, count: int) -> dict[str, Any]:
    """The same of hnswlib alone: loading the graph, and a query."""
    import hnswlib

    _, queries = data.vectors(1)
    begin_cpu, begin = time.process_time(), time.perf_counter()
    bare = hnswlib.Index(space="ip", dim=data.DIMENSION)
    bare.load_index(str(next((folder / "index").glob("*.hnsw"))))
    bare.knn_query(queries[0], k=K, num_threads=1)
    return {"cpu_seconds": time.process_time() - begin_cpu, "seconds": time.perf_counter() - begin}


def bare_add(folder: Path, count: int) -> dict[str, Any]:
    """CPU time of putting vectors into a graph of hnswlib alone."""
    import hnswlib

    stored, _ = data.vectors(count)
    bare = hnswlib.Index(space="ip", dim=data.DIMENSION)
    bare.init_index(count, M=16, ef_construction=200)
    begin = time.process_time()
    bare.add_items(stored, np.arange(count), num_threads=1)
    return {"per_cpu_second": count / (time.process_time() - begin)}


def recovery(folder: Path, count: int) -> dict[str, Any]:
    """Opening, and one query with its hits, when the index is lost; the folder is the caller's to lose."""
    _, queries = data.vectors(1)
    shutil.rmtree(folder / "index")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vecdb.IndexRebuiltWarning)
        begin, cpu = time.perf_counter(), time.process_time()
        db = vecdb.open(folder)
        hits = db.collection("records").search(queries[0], k=K)
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    db.close()
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "hits": len(hits)}


def search(folder: Path, count: int) -> dict[str, Any]:
    """A whole search call beside the bare hnswlib query on the same graph with the same `ef`; recall."""
    import hnswlib

    _, queries = data.vectors(count)
    with vecdb.open(folder, read_only=True) as db:
        records = db.collection("records")
        found = [[hit.id for hit in hits] for hits in records.search_batch(list(queries[:RECALL_QUERIES]), k=K)]
        true = [
            [hit.id for hit in hits]
            for hits in records.search_batch(list(queries[:RECALL_QUERIES]), k=K, exact=True)
        ]
        recall = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, true, strict=True)]))
        plan = records.explain(queries[0], k=K)
        bare = hnswlib.Index(space="ip", dim=data.DIMENSION)
        bare.load_index(str(next((folder / "index").glob("*.hnsw"))))
        bare.set_ef(plan.ef)
        whole_costs, bare_costs = [], []
        for _ in range(ROUNDS):  # in turn, so that both meet the same machine
            whole_costs.append(_cost(lambda query: records.search(query, k=K), queries))
            bare_costs.append(_cost(lambda query: bare.knn_query(query, k=K, num_threads=1), queries))
        filtered = {
            name: [
                _cost(lambda query, where=where: records.search(query, k=K, where=where), some)
                for some in (queries[:1], queries[1:101])  # the first one may bring its field into memory
            ]
            for name, where in {
                "50 %": {"price": {"$lt": 50.0}},
                "8 %": {"tag": "tag-3"},
                "0.1 %": {"price": {"$lt": 0.1}},
            }.items()
        }
        return {
            "strategy": plan.strategy,
            "ef": plan.ef,
            "recall": recall,
            "whole_us": float(np.median(whole_costs)) * 1e6,
            "bare_us": float(np.median(bare_costs)) * 1e6,
            "ratio": float(np.median(np.array(whole_costs) / np.array(bare_costs))),
            "filtered_ms": {name: [cost * 1e3 for cost in costs] for name, costs in filtered.items()},
        }


def _cost(call: Callable[[Any], Any], queries: Any) -> float:
    begin = time.thread_time()
    for query in queries:
        call(query)
    return (time.thread_time() - begin) / len(queries)


def memory(folder: Path, count: int) -> dict[str, Any]:
    """Growth of the process from before opening to after the first searches."""
    _, queries = data.vectors(1)
    vecdb.open(folder, read_only=True).close()  # libraries are loaded before counting begins
    before = _resident()
    with vecdb.open(folder, read_only=True) as db:
        for query in queries[:50]:
            db.collection("records").search(query, k=K)
        return {"bytes": _resident() - before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def bare_memory(folder: Path, count: int) -> dict[str, Any]:
    """The same growth for hnswlib alone with the same graph."""
    import hnswlib

    _, queries = data.vectors(1)
    before = _resident()
    bare = hnswlib.Index(space="ip", dim=data.DIMENSION)
    bare.load_index(str(next((folder / "index").glob("*.hnsw"))))
    for query in queries[:50]:
        bare.knn_query(query, k=K, num_threads=1)
    return {"bytes": _resident() - before}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


MEASURES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "ingest": ingest,
    "embedding": embedding,
    "first": first,
    "bare_first": bare_first,
    "bare_add": bare_add,
    "recovery": recovery,
    "search": search,
    "memory": memory,
    "bare_memory": bare_memory,
}

if __name__ == "__main__":
    name, folder, count = sys.argv[1:4]
    print(json.dumps(MEASURES[name](Path(folder), int(count))))
