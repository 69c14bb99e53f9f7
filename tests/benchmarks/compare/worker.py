"""One peer in one process, in the peer's environment: `python -m tests.benchmarks.compare.worker MODULE CLASS`.

Each line of stdin is a JSON object with what to do and its arguments, each line of stdout the answer:
`{"ok": …}` or `{"error": "…"}`. What the peer itself prints goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.compare import dataset, process
from tests.benchmarks.compare.dataset import Dataset, K
from tests.benchmarks.peers.base import Hit, Peer

BATCH = 1000
FIRST_QUERIES = 50  # after which the memory of an open collection is read


class Worker:
    """The peer, and the data that is loaded."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.data: Dataset | None = None
        self.folder = Path()
        self.import_seconds = 0.0

    def load(self, data: str, count: int) -> Dataset:
        """The data set, read once."""
        if self.data is None or self.folder != Path(data) or len(self.data.vectors) != count:
            self.folder, self.data = Path(data), dataset.load(Path(data), count)
        return self.data

    def hello(self) -> dict[str, Any]:
        """What is measured, and how its recall is chosen."""
        peer = self.peer
        return {
            "versions": peer.versions(),
            "knob": peer.knob,
            "keeps_records": peer.keeps_records,
            "import_seconds": self.import_seconds,
        }

    def _warm(self) -> None:
        """A tiny collection made and searched, so that no measurement counts libraries that are loaded late."""
        random = np.random.default_rng(5)
        vectors = random.normal(size=(50, 16)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with tempfile.TemporaryDirectory() as temporary:
            self.peer.create(Path(temporary), vectors.shape[1])
            texts = [f"text {number}" for number in range(len(vectors))]
            self.peer.insert(list(range(len(vectors))), texts, dataset.metadata(len(vectors)), vectors)
            self.peer.commit()
            self.peer.search(vectors[0], 1, self._some_knob())
            self.peer.close()
        gc.collect()

    def ingest(self, folder: str, data: str, count: int) -> dict[str, Any]:
        """Insert all in batches; until it is durable and the last is found; until the index is complete."""
        records = self.load(data, count)
        Path(folder).mkdir(parents=True)
        self._warm()
        before = process.resident()
        process.forget_peak()
        self.peer.create(Path(folder), records.dimension)
        meter = process.Meter()
        begin, begin_cpu = time.perf_counter(), meter.cpu()
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            ids = list(range(start, min(start + BATCH, count)))
            self.peer.insert(ids, records.documents[part], records.metadata[part], records.vectors[part])
        self.peer.commit()
        found = self.peer.search(records.vectors[-1], 1, self._some_knob())
        searchable, searchable_cpu = time.perf_counter() - begin, meter.cpu() - begin_cpu
        self.peer.finish()
        complete, complete_cpu = time.perf_counter() - begin, meter.cpu() - begin_cpu
        memory = process.peak() - before
        self.peer.close()
        if [hit.id for hit in found] != [count - 1]:
            raise RuntimeError(f"the last record is not found after it was inserted, but {found}")
        return {
            "searchable_seconds": searchable,
            "searchable_cpu": searchable_cpu,
            "complete_seconds": complete,
            "complete_cpu": complete_cpu,
            "peak_memory": memory,
            "disk": process.disk(Path(folder)),
        }

    def first(self, folder: str, data: str) -> dict[str, Any]:
        """Open it and answer one query; the module of the peer is imported already, which is told beside."""
        queries = np.load(Path(data) / "query.npy")
        begin, begin_cpu = time.perf_counter(), process.Meter().cpu()
        self.peer.open(Path(folder), queries.shape[1])
        self.peer.search(queries[0], K, self._some_knob())
        seconds = time.perf_counter() - begin
        cpu = process.Meter().cpu() - begin_cpu
        self.peer.close()
        return {"seconds": seconds, "cpu": cpu, "import_seconds": self.import_seconds}

    def memory(self, folder: str, data: str) -> dict[str, Any]:
        """How much the process grows by opening it and answering some queries."""
        queries = np.load(Path(data) / "query.npy")
        self._warm()
        before = process.resident()
        self.peer.open(Path(folder), queries.shape[1])
        for query in queries[:FIRST_QUERIES]:
            self.peer.search(query, K, self._some_knob())
        gc.collect()
        memory = process.resident() - before
        self.peer.close()
        return {"memory": memory}

    def open(self, folder: str, data: str, count: int) -> dict[str, Any]:
        """Open it for the measurements of searching; check that documents and metadata come with the hits."""
        records = self.load(data, count)
        self.peer.open(Path(folder), records.dimension)
        for query in records.queries[:20]:
            for hit in self.peer.search(query, K, self._some_knob()):
                self._check(hit, records)
        return {}

    def _check(self, hit: Hit, records: Dataset) -> None:
        if not self.peer.keeps_records:
            return
        wanted = (records.documents[hit.id], records.metadata[hit.id])
        if (hit.document, hit.metadata) != wanted:
            raise RuntimeError(f"record {hit.id} came back as {hit.document!r}, {hit.metadata!r}, not as {wanted!r}")

    def _some_knob(self) -> int | None:
        return None if self.peer.knob is None else 100

    def search(self, queries: int, knob: int | None, share: float | None = None) -> dict[str, Any]:
        """One query a call, one caller: CPU and wall time of each, and recall."""
        records = self._loaded()
        true = dataset.truth(self.folder, len(records.vectors), share)
        meter = process.Meter()
        for query in records.queries[-5:]:
            self.peer.search(query, K, knob, share)
        seconds, found = [], []
        begin_cpu = meter.cpu()
        for query in records.queries[:queries]:
            begin = time.perf_counter()
            hits = self.peer.search(query, K, knob, share)
            seconds.append(time.perf_counter() - begin)
            found.append([hit.id for hit in hits])
        cpu = (meter.cpu() - begin_cpu) / queries
        middle, slowest = np.percentile(seconds, (50, 99))
        return {
            "cpu": cpu, "p50": float(middle), "p99": float(slowest), "mean": float(np.mean(seconds)),
            "recall": dataset.recall(found, true),
        }

    def threads(self, queries: int, knob: int | None, threads: int) -> dict[str, Any]:
        """Queries a second of wall time when `threads` threads share the work."""
        records = self._loaded()
        errors: list[Exception] = []

        def share(start: int) -> None:
            try:
                for query in records.queries[start:queries:threads]:
                    self.peer.search(query, K, knob)
            except Exception as error:
                errors.append(error)

        running = [threading.Thread(target=share, args=(start,)) for start in range(threads)]
        begin = time.perf_counter()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        if errors:
            raise errors[0]
        return {"rate": queries / (time.perf_counter() - begin)}

    def _loaded(self) -> Dataset:
        if self.data is None:
            raise RuntimeError("open comes first")
        return self.data

    def close(self) -> dict[str, Any]:
        """Close what `open` opened."""
        self.peer.close()
        return {}


def main(module: str, name: str) -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to stdout as they like
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if worker is None:  # here, so that a peer that cannot be imported is an answer, too
                begin = time.perf_counter()
                worker = Worker(getattr(importlib.import_module(module), name)())
                worker.import_seconds = time.perf_counter() - begin
            action: Callable[..., dict[str, Any]] = getattr(worker, request.pop("do"))
            answer: dict[str, Any] = {"ok": action(**request)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    answers.flush()
    os._exit(0)  # threads of a peer may never end


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
