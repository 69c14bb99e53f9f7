"""The data that is measured on, as files in the cache folder; read by the parent and by every worker.

A worker runs in the environment of a peer, so this module needs numpy only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUERIES = 2000
K = 10
SHARES = (0.5, 0.1, 0.01, 0.001)
Vectors = NDArray[np.float32]
Metadata = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """Vectors of length 1 with a document and metadata each, and queries that are not among them."""

    name: str
    vectors: Vectors
    queries: Vectors
    documents: list[str]
    metadata: list[Metadata]

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])


def load(folder: Path, count: int) -> Dataset:
    """The first `count` records of the data set in `folder`."""
    documents = json.loads((folder / "documents.json").read_text("utf-8"))
    return Dataset(
        folder.name,
        np.array(np.load(folder / "base.npy", mmap_mode="r")[:count]),
        np.load(folder / "query.npy"),
        documents[:count],
        metadata(count),
    )


def size(folder: Path) -> int:
    """How many records there are."""
    return int(np.load(folder / "base.npy", mmap_mode="r").shape[0])


def dimension(folder: Path) -> int:
    """Length of its vectors."""
    return int(np.load(folder / "base.npy", mmap_mode="r").shape[1])


def prices(count: int) -> NDArray[np.float64]:
    """Uniform in [0, 1): the filter `price < s` lets the share s through."""
    return np.round(np.random.default_rng(11).random(count), 6)


def metadata(count: int) -> list[Metadata]:
    """Three fields: an integer, a word, a number."""
    random = np.random.default_rng(12)
    years, tags = random.integers(1975, 2025, count), random.integers(0, 20, count)
    return [
        {"year": int(year), "tag": f"t{tag:02d}", "price": float(price)}
        for year, tag, price in zip(years, tags, prices(count), strict=True)
    ]


def truth_path(folder: Path, count: int, share: float | None) -> Path:
    """Where the exact answers of the first `count` records are, under the filter `price < share`."""
    return folder / (f"truth-{count}.npy" if share is None else f"truth-{count}-{share}.npy")


def truth(folder: Path, count: int, share: float | None = None) -> NDArray[np.int64]:
    """(queries, K) row numbers of the nearest, computed once; -1 where fewer than K match."""
    path = truth_path(folder, count, share)
    if not path.exists():
        base = np.load(folder / "base.npy", mmap_mode="r")[:count]
        allowed = np.arange(count) if share is None else np.flatnonzero(prices(count) < share)
        found = nearest(np.asarray(base), np.load(folder / "query.npy"), allowed)
        temporary = path.with_suffix(".partial.npy")
        np.save(temporary, found)
        temporary.rename(path)
    answers: NDArray[np.int64] = np.load(path)
    return answers


def nearest(base: Vectors, queries: Vectors, allowed: NDArray[np.int64]) -> NDArray[np.int64]:
    """The K rows of `allowed` with the largest dot product with each query; -1 fills up."""
    rows = base if len(allowed) == len(base) else base[allowed]
    answers = np.full((len(queries), K), -1, np.int64)
    wanted = min(K, len(allowed))
    if not wanted:
        return answers
    step = max(1, 30_000_000 // len(rows))  # so that the products take 120 MB, whatever the size
    for start in range(0, len(queries), step):
        products = queries[start : start + step] @ rows.T
        best = np.argpartition(-products, wanted - 1, axis=1)[:, :wanted]
        order = np.argsort(-np.take_along_axis(products, best, 1), axis=1)
        answers[start : start + step, :wanted] = allowed[np.take_along_axis(best, order, 1)]
    return answers


def recall(found: list[list[int]], true: NDArray[np.int64]) -> float:
    """Share of the true nearest that were found."""
    wanted = [set(row[row >= 0].tolist()) for row in true[: len(found)]]
    hits = sum(len(want & set(got)) for want, got in zip(wanted, found, strict=True))
    return hits / max(1, sum(len(want) for want in wanted))
