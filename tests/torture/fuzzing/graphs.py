"""Index files: what passes the check is loaded by hnswlib and searched, and must not lead it out of its memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from tests.torture.fuzzing.target import BrokenPromise, Target
from vecdb.errors import StorageError
from vecdb.index.hnsw import HnswIndex
from vecdb.index.hnsw_file import read_graph, unreachable_in

_DIMENSION, _M = 4, 3
_METRICS = ("l2", "cosine", "ip")


def _run(data: bytes, folder: Path) -> None:
    """The first byte says the metric; behind it the file."""
    metric = _METRICS[(data[0] if data else 0) % 3]
    path = folder / "graph.hnsw"
    path.write_bytes(data[1:])
    with contextlib.suppress(StorageError):
        unreachable_in(path, dimension=_DIMENSION, M=_M)
    try:
        graph = read_graph(path, dimension=_DIMENSION, M=_M, unit_length=metric == "cosine")
        index = HnswIndex.load(path, dimension=_DIMENSION, metric=metric, M=_M, ef_construction=20)
    except StorageError:
        return
    _use(index, graph.labels[~graph.deleted])


def _use(index: HnswIndex, live) -> None:
    queries = np.random.default_rng(1).standard_normal((3, _DIMENSION)).astype(np.float32)
    searches = [{"ef": 50}, {"ef": 1}, {"allowed": np.sort(live)[::2]}]
    for options in searches:
        for k in (1, 5, len(live) + 3):
            labels, distances = index.search(queries, k, **options)
            if not np.isin(labels, live).all() or np.isnan(distances).any():
                raise BrokenPromise(f"a search gives {labels} and {distances}")
    index.add(np.array([2**40]), queries[:1])
    index.remove(np.array([2**40]))
    index.vectors(index.labels())


def _seeds(folder: Path) -> list[bytes]:
    seeds = []
    chance = np.random.default_rng(3)
    for number, metric in enumerate(_METRICS):
        for count, removed in ((0, 0), (1, 0), (1, 1), (12, 0), (40, 7)):
            index = HnswIndex(_DIMENSION, metric, M=_M, ef_construction=20, capacity=max(count, 1))
            vectors = chance.standard_normal((count, _DIMENSION))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            index.add(np.arange(1, count + 1), vectors.astype(np.float32))
            index.remove(np.arange(1, removed + 1))
            path = folder / f"{metric}-{count}-{removed}.hnsw"
            index.save(path)
            seeds.append(bytes([number]) + path.read_bytes())
    return seeds


TARGETS = [Target("graphs", _seeds, _run, longest=4096)]
