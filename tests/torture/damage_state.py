"""What a database holds, as plain values, and the answers that follow from it. Knows nothing of how it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import vecdb
from tests.storage.embedders import Config, Counting
from tests.storage.filter_oracle import matches

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as a reader sees it; `metadata` as JSON, because 1, 1.0 and True are equal in Python."""

    id: str
    content: Any
    metadata: str
    vectors: tuple[tuple[str, bytes], ...]
    truncated: tuple[str, ...]

    def vector(self, space: str) -> np.ndarray | None:
        found = dict(self.vectors).get(space)
        return None if found is None else np.frombuffer(found, np.float32)


@dataclass(frozen=True, slots=True)
class Collected:
    """A collection: what is remembered of its spaces, its records in order, and what was set aside."""

    spaces: tuple[tuple[str, str], ...]
    metrics: tuple[tuple[str, str], ...]
    records: tuple[Kept, ...]
    failures: tuple[str, ...]


State = Mapping[str, Collected]


def as_json(metadata: Any) -> str:
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def kept(record: vecdb.Record, spaces: Iterable[str]) -> Kept:
    held = record.vectors if isinstance(record.vectors, dict) else {"default": record.vectors}
    vectors = tuple((name, held[name].tobytes()) for name in sorted(spaces) if held.get(name) is not None)
    return Kept(record.id, record.content, as_json(record.metadata), vectors, tuple(sorted(record.truncated)))


def collected(collection: vecdb.Collection) -> Collected:
    """Everything that can be read of a collection."""
    spaces = collection.spaces
    return Collected(
        described(spaces),
        tuple((name, spaces[name].metric) for name in sorted(spaces)),
        tuple(kept(record, spaces) for record in collection),
        tuple(as_failure(failure) for failure in collection.failures()),
    )


def described(spaces: Mapping[str, vecdb.SpaceInfo]) -> tuple[tuple[str, str], ...]:
    return tuple((name, repr(spaces[name])) for name in sorted(spaces))


def as_failure(failure: vecdb.Failure) -> str:
    return repr((failure.id, failure.content, as_json(failure.metadata), failure.error, failure.retryable))


def state_of(database: vecdb.Database) -> State:
    """Everything that can be read of a database."""
    return {name: collected(database.collection(name)) for name in database.collections()}


def embedded(text: str, metric: str) -> np.ndarray:
    """The vector that the embedder of these databases gives a text, as it is stored."""
    row = Counting(Config()).row(text.encode()).astype(np.float32)
    return (row / np.linalg.norm(row.astype(np.float64))).astype(np.float32) if metric == "cosine" else row


Answer = list[tuple[str, float, Any, str]]
"""Hits: id, distance, content, metadata as JSON."""


def nearest(
    records: Iterable[Kept], metric: str, space: str, query: np.ndarray, k: int, where: dict[str, Any] | None = None
) -> Answer:
    """The k nearest records, by their own vectors, in numpy; ties by the order of the records."""
    found = [
        (record, vector)
        for record in records
        if (vector := record.vector(space)) is not None
        and (where is None or matches(where, json.loads(record.metadata)))
    ]
    if not found:
        return []
    wide, at = np.stack([vector for _, vector in found]).astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        at = at / np.linalg.norm(at)
    distances = ((wide - at) ** 2).sum(axis=1) if metric == "l2" else 1 - wide @ at
    order = np.argsort(np.round(distances, 12), kind="stable")[:k]
    return [
        (found[place][0].id, float(distances[place]), found[place][0].content, found[place][0].metadata)
        for place in order.tolist()
    ]


def answered(hits: Iterable[vecdb.Hit]) -> Answer:
    return [(hit.id, hit.distance, hit.content, as_json(hit.metadata)) for hit in hits]


def alike(answer: Answer, expected: Answer) -> bool:
    """The same hits in the same order, with distances as near as float32 is to float64."""
    return [(id, content, data) for id, _, content, data in answer] == [
        (id, content, data) for id, _, content, data in expected
    ] and all(
        abs(one - other) <= TOLERANCE * max(1.0, abs(other))
        for (_, one, *_), (_, other, *_) in zip(answer, expected, strict=True)
    )
