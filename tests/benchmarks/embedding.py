"""`ingest` beside the bare model: the same loaded embedder, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import vecdb
from tests.quality.onnx import ready_made
from tests.quality.pipeline import sentences
from tests.quality.weights import WeightsUnavailableError

ROUNDS = 3
COUNT = 2000


def embedding(folder: Path, count: int) -> dict[str, Any]:
    """Wall and CPU seconds of ingest, as parts of the bare model's (MiniLM int8, one thread); or why not."""
    folder.mkdir(exist_ok=True)
    try:
        options = {"model": ready_made(folder), "threads": 1}
        texts = sentences(min(count, COUNT))
    except WeightsUnavailableError as error:
        return {"missing": str(error)}
    with vecdb.open(folder / "first.vecdb") as db:
        (space,) = db.create_collection("c", embedder="onnx", embedder_options=options)._all_spaces
        host = space.host()
        with host._life.lease() as lease:
            embedder = lease.current().embedder
            _bare(host.info, embedder, texts[:200])  # its memory is taken
            taken = []
            for turn in range(ROUNDS):
                alone = _cost(lambda: _bare(host.info, embedder, texts))
                with vecdb.open(folder / f"{turn}.vecdb") as fresh:
                    collection = fresh.create_collection("c", embedder="onnx", embedder_options=options)
                    collection._all_spaces[0]._host = host
                    stream = [vecdb.Record(str(n), text) for n, text in enumerate(texts)]
                    taken.append((alone, _cost(lambda collection=collection, stream=stream: collection.ingest(stream))))
                    collection._all_spaces[0]._host = None
    return {
        "per_second": len(texts) / statistics.median(whole[0] for _, whole in taken),
        "wall": statistics.median(whole[0] / alone[0] for alone, whole in taken),
        "cpu": statistics.median(whole[1] / alone[1] for alone, whole in taken),
    }


def _bare(info: vecdb.EmbedderInfo, embedder: vecdb.Embedder, texts: Sequence[str]) -> None:
    prepared = sorted(map(embedder.prepare, texts), key=embedder.cost, reverse=True)
    for start in range(0, len(prepared), info.batch_size):
        embedder.encode(prepared[start : start + info.batch_size], "document")


def _cost(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu
