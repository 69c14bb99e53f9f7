"""An index that follows the rows: loading, and taking in what was committed since.

Rows are the truth. An index in memory covers the changes of its space up to a label and a removal;
before each search it takes in what came after. New vectors go to an exact tail, which is searchable at
once. What this process wrote itself is handed over to it; everything else is read from the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import NamedTuple

import numpy as np

from vecdb.errors import CollectionNotFoundError, IndexRebuiltWarning
from vecdb.fresh import FreshVectors
from vecdb.index.base import IndexParts, VectorIndex
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.labels import distinct
from vecdb.index.locks import ReadWriteLock
from vecdb.index_files import load_newest
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.spaces import SpaceRow, SpaceState, records_version_at, space_state
from vecdb.storage.vector_rows import live_labels, removals_after, vectors_after, vectors_of
from vecdb.storage.writes import NewVectors
from vecdb.types import Labels

# Bytes of vectors that wait for a graph, and are compared one by one in each search until then: 1 MiB takes
# about 0.12 ms. Up to the first limit the builder lets writers go first; at the second one they have to help it.
_WAITING_BYTES = 192 << 20
_MOST_WAITING_BYTES = 384 << 20


class Moment(NamedTuple):
    """A snapshot of the database that an index is equal to.

    Attributes:
        records: equal in two moments between which nothing happened to the collection's records.
    """

    snapshot: Snapshot
    records: object


class CurrentIndex:
    """The index of one space in this process, without what builds graphs. Safe to use from several threads."""

    def __init__(self, engine: DatabaseEngine, space: SpaceRow) -> None:
        self.space = space
        self._engine = engine
        self._lock = ReadWriteLock()
        self._loaded = False
        self._last_label = self._last_removal = 0
        self._warning: Warning | None = None
        bytes_each = 4 * space.dimension
        self._may_wait, self._most_waiting = _WAITING_BYTES // bytes_each, _MOST_WAITING_BYTES // bytes_each
        self._fresh = FreshVectors(space.dimension, self._may_wait)
        self._empty()

    def _empty(self) -> None:
        self.graph: HnswIndex | None = None
        self.tail = self._exact()
        self._unsaved = 0  # changes of the graph that its newest file lacks
        self._misfits: list[int] = []  # generations of published files that are not to be loaded
        self.stranded = self._exact()  # what the graph cannot find, taken out of it

    def _exact(self) -> ExactIndex:
        return ExactIndex(self.space.dimension, self.space.metric)

    @property
    def parts(self) -> IndexParts:
        """The indexes that together hold every vector, each once."""
        return IndexParts(self.graph, [part for part in (self.tail, self.stranded) if len(part)])

    @property
    def backlog(self) -> int:
        """Number of vectors in memory that are in no graph yet."""
        return len(self.tail) + len(self._fresh)

    def hand_over(self, batch: NewVectors) -> None:
        """Take note of vectors that were committed just now, so that they need not be read back. Waits for nothing."""
        if self._loaded:
            self._fresh.put(batch)

    def take_handed_over(self) -> None:
        """Take in what was handed over, in steps that searches hardly notice."""
        while len(self._fresh):
            with self._changing():
                taken = self._loaded and self._take_fresh(most=1)
            if not taken:  # something else was written in between
                return self.catch_up()
        return None

    def _take_fresh(self, until: int | None = None, most: int | None = None) -> int:
        """Add to the tail what follows without a gap; the number of batches."""
        taken = 0
        for labels, vectors in islice(self._fresh.take(self._last_label, until), most):
            self.tail.add(labels, vectors)
            self._last_label = int(labels[-1])
            taken += 1
        return taken

    # --- searching ---

    @contextmanager
    def current(self) -> Iterator[Moment]:
        """A moment of the database, and inside it an index that has exactly its changes.

        The snapshot begins after the lock is held, and the index only ever holds what was committed:
        so the snapshot is never older than the index.
        """
        for _ in range(3):
            with self._lock.read(), self._engine.snapshot() as snapshot:
                records = self.records_version(snapshot)
                if records is not None:
                    yield Moment(snapshot, records)
                    return
            self.catch_up()
        # Others write faster than this thread gets its turn: keep them out of the index meanwhile.
        with self._changing(), self._engine.snapshot() as snapshot:
            self._take_in(snapshot)
            yield Moment(snapshot, self.records_version(snapshot))

    @contextmanager
    def unchanged(self) -> Iterator[object]:
        """The version of the collection's records now, and inside it an index that has exactly their changes.

        None where it would have to catch up first; `current` does.
        """
        with self._lock.read():
            version = None
            if self._loaded:
                with self._engine.snapshot(single=True) as snapshot:
                    version = self.records_version(snapshot)
            yield version

    def catch_up(self) -> None:
        """Take in everything that is committed now. Warns if an index file had to be left aside."""
        with self._changing(), self._engine.snapshot() as snapshot:
            self._take_in(snapshot)
            warning, self._warning = self._warning, None
        if warning is not None:
            warnings.warn(warning, stacklevel=3)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The index for this thread alone. What is left half changed, by an interrupt too, is loaded anew."""
        with self._lock.write():
            whole = False
            try:
                yield
                whole = True
            finally:
                if not whole:
                    self._loaded = False

    def _state(self, snapshot: Snapshot) -> SpaceState:
        state = space_state(snapshot, self.space.id)
        if state is None:
            raise CollectionNotFoundError("the collection was deleted; open another one", name=self.space.name)
        return state

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A snapshot of the database, whatever the index has."""
        return self._engine.snapshot()

    def records_version(self, snapshot: Snapshot) -> object:
        """Of the collection, if the index has exactly the changes of this snapshot; else None."""
        if not self._loaded:
            return None
        return records_version_at(snapshot, self.space.id, self._last_label, self._last_removal)

    def _take_in(self, snapshot: Snapshot) -> None:
        if self.records_version(snapshot) is not None:
            return
        state = self._state(snapshot)
        if state.last_label < self._last_label or state.last_removal < self._last_removal:
            self._loaded = False  # the rows went back: damaged, or replaced by others behind this handle
        if self._loaded:
            self._take_fresh(state.last_label)  # before it is asked what was removed: these, too, may be
        else:
            self._fresh.clear()
            self._load(snapshot, state)
        removed = self._removed_since(snapshot, state, self._last_removal, self.parts.all)
        highest = 0
        for labels, vectors in vectors_after(snapshot, self.space.id, self.space.dimension, self._last_label):
            self.tail.add(labels, vectors)
            highest = int(labels[-1]) if len(labels) else 0
        if len(removed):
            for part in self.parts.all:
                part.remove(removed)
            self._unsaved += len(removed)
        self._last_label, self._last_removal = max(state.last_label, highest), state.last_removal
        self._loaded = True

    def _removed_since(
        self, snapshot: Snapshot, state: SpaceState, removal: int, parts: Sequence[VectorIndex]
    ) -> Labels:
        """Labels that these indexes must forget. Where the log does not reach back far enough, the rows tell."""
        if removal >= state.removal_floor:
            return removals_after(snapshot, self.space.id, removal)
        return np.setdiff1d(_labels_in(parts), live_labels(snapshot, self.space.id), assume_unique=True)

    def _load(self, snapshot: Snapshot, state: SpaceState) -> None:
        self._empty()
        self._last_label, self._last_removal = 0, state.last_removal
        if self.space.index_kind == "exact":
            return
        loaded, problems = load_newest(self._engine.folder, snapshot, self.space, state)
        self._misfits = list(problems)
        if problems and loaded is None:
            self._warning = IndexRebuiltWarning(
                f"the index file of space {self.space.name!r} does not fit its database "
                f"({next(iter(problems.values()))}); searches are exact and the index is rebuilt behind them"
            )
        if loaded is not None:
            self.graph = loaded.graph
            self._last_label, self._last_removal = loaded.last_label, loaded.last_removal
            self.stranded.add(*vectors_of(snapshot, loaded.stranded, self.space.dimension))

    def _strand(self, unreachable: Labels) -> None:
        """Take out of the graph what it cannot find, to be searched exactly."""
        if self.graph is not None:
            labels = np.intersect1d(distinct(unreachable), self.graph.labels(), assume_unique=True)
            if len(labels):
                self.stranded.add(labels, self.graph.vectors(labels))
                self.graph.remove(labels)

    # --- checking ---

    def differences(self) -> tuple[list[int], list[int]]:
        """Labels that the index lacks, and labels that it should not have."""
        with self.current() as (snapshot, _):
            have = _labels_in(self.parts.all)
            want = live_labels(snapshot, self.space.id)
        return (
            np.setdiff1d(want, have, assume_unique=True).tolist(),
            np.setdiff1d(have, want, assume_unique=True).tolist(),
        )


def _labels_in(parts: Sequence[VectorIndex]) -> Labels:
    return distinct(np.concatenate([part.labels() for part in parts] or [np.empty(0, np.int64)]))
