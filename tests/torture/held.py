"""What one collection must hold, and what a call does to it: the model of the campaign "model"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import vecdb
from tests.oracle import Entry, as_stored, assert_hits, distances, matching
from tests.torture.moody import SPOILING, refuses, vector_of

Brought = dict[str, Any]  # space to vector


@dataclass
class Held:
    """One collection.

    Attributes:
        spaces: name to the field that is embedded there ("" the whole content; None: vectors are brought).
        records: id to entry, in order of insertion; the entry's vector is a dict by space.
        failures: id to (content, metadata) of what was set aside.
        is_graph: whether its default space is one graph from the beginning.
    """

    name: str
    metric: str
    spaces: dict[str, str | None]
    is_graph: bool = False
    records: dict[str, Entry] = field(default_factory=dict)
    failures: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)

    def copied(self) -> Held:
        """One that goes its own way."""
        return replace(self, records=dict(self.records), failures=dict(self.failures))

    # --- writing ---

    def sources(self, content: Any) -> dict[str, Any]:
        """What of a content is embedded, by space."""
        found = {}
        for space, source in self.spaces.items():
            if source == "" and content is not None:
                found[space] = content
            elif source and content and source in content:
                found[space] = content[source]
        return found

    def is_written(self, id: str, content: Any, brought: Brought, on_conflict: str) -> bool:
        """Whether the record is new, or replaced whole."""
        if id not in self.records:
            return True
        stored = self.records[id]
        if on_conflict == "skip":
            return False
        return stored.content != content or any(
            space not in stored.vector or (as_stored(self.metric, row) != stored.vector[space]).any()
            for space, row in brought.items()
        )

    def wanted(self, rows: dict[str, tuple[Any, dict[str, Any], Brought]], on_conflict: str) -> dict[str, list[Any]]:
        """What has to be embedded for these rows, by id."""
        return {
            id: list(self.sources(content).values())
            for id, (content, _, brought) in rows.items()
            if self.is_written(id, content, brought, on_conflict)
        }

    def put(self, id: str, content: Any, metadata: dict[str, Any], brought: Brought, on_conflict: str) -> None:
        """One record goes in, embedded in a good mood."""
        if self.is_written(id, content, brought, on_conflict):
            rows = {space: vector_of(item) for space, item in self.sources(content).items()} | brought
            vectors = {space: as_stored(self.metric, row) for space, row in rows.items()}
            self.records[id] = Entry(content, metadata, vectors)
        elif on_conflict != "skip":
            self.records[id] = self.records[id]._replace(metadata=metadata)
        self.failures.pop(id, None)

    def set_aside(self, id: str, content: Any, metadata: dict[str, Any]) -> None:
        """One record could not be embedded."""
        self.failures.pop(id, None)
        self.failures[id] = (content, metadata)

    def contents(self) -> set[Any]:
        """All that is embedded of the records."""
        return {item for entry in self.records.values() for item in self.sources(entry.content).values()}

    # --- comparing ---

    def in_space(self, space: str) -> dict[str, Entry]:
        """The records that have a vector there, with that vector alone."""
        return {
            id: entry._replace(vector=entry.vector[space])
            for id, entry in self.records.items()
            if space in entry.vector
        }

    def assert_record(self, record: vecdb.Record) -> None:
        """It is what the model says."""
        entry = self.records[record.id]
        assert (record.content, repr(record.metadata)) == (entry.content, repr(entry.metadata))
        vectors = record.vectors if isinstance(record.vectors, dict) else {"default": record.vectors}
        assert set(vectors) == set(entry.vector), record.id
        for space, row in entry.vector.items():
            assert np.abs(vectors[space] - row).max() <= 1e-6, f"the vector of {record.id!r} in {space}"

    def assert_all(self, found: Iterable[vecdb.Record]) -> None:
        """These are all records, in order of insertion."""
        found = list(found)
        assert [record.id for record in found] == list(self.records)
        for record in found:
            self.assert_record(record)

    def assert_failures(self, found: Sequence[vecdb.Failure]) -> None:
        """These are the failures, oldest first."""
        assert [(one.id, one.content, repr(one.metadata)) for one in found] == [
            (id, content, repr(metadata)) for id, (content, metadata) in self.failures.items()
        ]
        assert all(one.retryable and one.error for one in found)

    def assert_hits(self, hits: Sequence[vecdb.Hit], query: Any, k: int, where: Any, space: str = "default") -> None:
        """The hits are exactly those of a search in numpy."""
        assert_hits(hits, self.in_space(space), self.metric, query, k, where)

    def recalls(self, found: Sequence[Sequence[vecdb.Hit]], queries: Sequence[Any], k: int, where: Any) -> list[float]:
        """Of each query, which part of the k nearest was found; a tie with the last of them counts as found."""
        entries = matching(self.in_space("default"), where)
        rows = [entry.vector for entry in entries.values()]
        shares = []
        for hits, query in zip(found, queries, strict=True):
            assert len(hits) == min(k, len(rows))
            assert len({hit.id for hit in hits}) == len(hits)
            if hits:
                last = np.sort(distances(self.metric, query, rows))[len(hits) - 1]
                shares.append(sum(hit.distance <= last + 1e-5 for hit in hits) / len(hits))
        return shares or [1.0]


def failing(mood: str, wanted: dict[str, list[Any]], known: set[Any]) -> tuple[type[BaseException] | None, set[str]]:
    """What a call raises that has to embed this (content by id), and which ids cannot be embedded.

    Args:
        mood: of the embedder.
        wanted: contents by id.
        known: contents that were embedded before, which need no embedder.
    """
    asked = {id: [item for item in items if item not in known] for id, items in wanted.items()}
    new = [item for items in asked.values() for item in items]
    if mood in SPOILING and any(not refuses("", item) for item in new):
        return SPOILING[mood], set()
    return None, {id for id, items in asked.items() if any(refuses(mood, item) for item in items)}
