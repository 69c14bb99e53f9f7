"""Keeping an index equal to the rows: loading, catching up, building behind the scenes, publishing.

Rows are the truth. An index in memory covers the changes of its space up to a label and a removal;
before each search it takes in what was committed since. New vectors go to an exact tail, which is
searchable at once; a thread moves them into the graph in small steps. Files of the graph are caches.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from vecdb.errors import (
    CollectionNotFoundError,
    IndexRebuiltWarning,
    InvalidInputError,
    StorageError,
    VecdbWarning,
)
from vecdb.index.base import VectorIndex
from vecdb.index.calibration import calibrated_ef
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.labels import distinct
from vecdb.index.locks import ReadWriteLock
from vecdb.index_files import GraphFile, load_newest, remove_stray_files
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.manifest import forget_generations, withdraw
from vecdb.storage.spaces import SpaceRow, SpaceState, is_at, space_state
from vecdb.storage.vector_rows import live_labels, removals_after, vectors_after, vectors_of
from vecdb.types import Labels, Progress

EXACT_UNTIL = 20_000  # vectors; up to here brute force is as fast as a graph
_STEP = 16  # vectors moved at once behind a search: about 5 ms at 384 dimensions
_LARGE_STEP = 512
_MOST_TOMBSTONES = 0.3
_PUBLISH_AFTER = 2_000  # vectors, or a tenth of the graph: reading so many rows at opening is quick


class SpaceIndex:
    """The index of one space in this process. Safe to use from several threads."""

    def __init__(self, engine: DatabaseEngine, space: SpaceRow) -> None:
        self.space = space
        self._engine = engine
        self._lock = ReadWriteLock()
        self._build_lock = threading.Lock()  # one builder at a time; taken before `_lock`
        self._hurry_lock = threading.Lock()
        self._hurrying = 0  # callers that wait for a whole graph
        self._loaded = False
        self._last_label = self._last_removal = 0
        self._closing = False
        self._hurrier: int | None = None  # the thread of the one that builds now
        self._warning: Warning | None = None
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
    def parts(self) -> list[VectorIndex]:
        """The indexes that together hold every vector, each once."""
        found: list[VectorIndex] = [self.graph] if self.graph is not None else []
        return found + [part for part in (self.tail, self.stranded) if len(part)]

    # --- searching ---

    @contextmanager
    def current(self) -> Iterator[Snapshot]:
        """A snapshot of the database, and inside it an index that has exactly its changes.

        The snapshot begins after the lock is held, and the index only ever holds what was committed:
        so the snapshot is never older than the index.
        """
        for _ in range(3):
            with self._lock.read(), self._engine.snapshot() as snapshot:
                if self._is_current(snapshot):
                    yield snapshot
                    return
            self.catch_up()
        # Others write faster than this thread gets its turn: keep them out of the index meanwhile.
        with self._changing(), self._engine.snapshot() as snapshot:
            self._take_in(snapshot)
            yield snapshot

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

    def _is_current(self, snapshot: Snapshot) -> bool:
        return self._loaded and is_at(snapshot, self.space.id, self._last_label, self._last_removal)

    def _take_in(self, snapshot: Snapshot) -> None:
        if self._is_current(snapshot):
            return
        state = self._state(snapshot)
        if state.last_label < self._last_label or state.last_removal < self._last_removal:
            self._loaded = False  # the rows went back: damaged, or replaced by others behind this handle
        if not self._loaded:
            self._load(snapshot, state)
        removed = self._removed_since(snapshot, state, self._last_removal, self.parts)
        highest = 0
        for labels, vectors in vectors_after(snapshot, self.space.id, self.space.dimension, self._last_label):
            self.tail.add(labels, vectors)
            highest = int(labels[-1]) if len(labels) else 0
        if len(removed):
            for part in self.parts:
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

    # --- building ---

    def wants_building(self) -> bool:
        """Whether there is work for `build_behind`: vectors that belong into a graph, tombstones, bad files."""
        return self._is_incomplete() or (bool(self._misfits) and not self._engine.read_only)

    def _is_incomplete(self) -> bool:
        if self.space.index_kind == "exact":
            return False
        if self._is_mostly_tombstones():
            return True
        if self.space.index_kind == "auto" and self.graph is None:
            return len(self.tail) > EXACT_UNTIL
        return len(self.tail) > 0

    def _is_mostly_tombstones(self) -> bool:
        graph = self.graph
        return graph is not None and graph.tombstone_ratio > _MOST_TOMBSTONES

    def build_behind(self, stop: Callable[[], bool]) -> None:
        """Move what waits into the graph, in steps that searches hardly notice; save it if that is worthwhile.

        Ends when nothing waits, when `stop()` is true (it is asked between steps), or when a caller of
        `complete` or `rebuild` is there.
        """

        def stopped() -> bool:
            return stop() or self._closing or self._hurrying > 0

        if not self._build_lock.acquire(blocking=False):
            return  # somebody builds already, and will do all of it
        try:
            self._fill(stopped, step=_STEP, threads=1)
            if not stopped() and (self._misfits or self._is_worth_saving()):
                self._publish()
            if not stopped():
                self._forget_misfits()
        finally:
            self._build_lock.release()

    def complete(self, progress: Progress | None = None) -> None:
        """Move everything that waits into the graph, on all processors, and save it.

        Args:
            progress: called as `progress(moved, total)`.
        """
        with self._hurry():
            self._fill(self._is_closing, step=_LARGE_STEP, threads=os.cpu_count() or 1, progress=progress)
            if (self._unsaved or self._misfits) and not self._closing:
                self._publish()
                self._forget_misfits()

    def _forget_misfits(self) -> None:
        """Where no graph was published instead of files that do not fit, because there is none."""
        if self._misfits and not self._engine.read_only:
            with self._engine.transaction() as transaction:
                forget_generations(transaction, self._misfits)
            self._misfits = []

    @contextmanager
    def _hurry(self) -> Iterator[None]:
        """The right to build, taken over from the thread that builds behind the scenes."""
        if self._hurrier == threading.get_ident():
            raise InvalidInputError("optimize and reindex do not go inside their own progress; call them afterwards")
        with self._hurry_lock:
            self._hurrying += 1
        try:
            with self._build_lock:
                self._hurrier = threading.get_ident()
                try:
                    yield
                finally:
                    self._hurrier = None
        finally:
            with self._hurry_lock:
                self._hurrying -= 1

    def _is_closing(self) -> bool:
        return self._closing

    def _fill(
        self, stop: Callable[[], bool], *, step: int, threads: int, progress: Progress | None = None
    ) -> None:
        self.catch_up()
        moved = 0
        while self._is_incomplete() and not stop():
            if self._is_mostly_tombstones():  # also if that came about while vectors were moved
                self._rebuild(stop, threads=threads)
            else:
                moved += self._move(step, threads=threads)
            if progress is not None:
                progress(moved, moved + len(self.tail))
            time.sleep(0)  # let others have the interpreter

    def _is_worth_saving(self) -> bool:
        return self._unsaved >= max(_PUBLISH_AFTER, len(self.graph or ()) // 10)

    def close(self) -> None:
        """End building, and save the graph where the next opening would else have many rows to read."""
        self._closing = True
        if not self._build_lock.acquire(blocking=False):
            return  # a caller of `complete` is at its last step; the rows are safe, and a file is only a cache
        try:
            if self._is_worth_saving():
                self._publish()
        except (StorageError, MemoryError) as error:
            warnings.warn(f"the index was not saved: {error}", VecdbWarning, stacklevel=3)
        finally:
            self._build_lock.release()

    def _covered_label(self) -> int:
        """Every vector up to this label is in the graph, or stranded."""
        waiting = self.tail.labels()
        return int(waiting[0]) - 1 if len(waiting) else self._last_label

    def _publish(self) -> None:
        with self._lock.read():
            graph = self.graph
        if graph is None or self._engine.read_only:
            return
        if "ef" not in self.space.index_options:
            graph.use_ef(calibrated_ef(graph) or graph.ef)
        with GraphFile(self._engine, self.space) as file:
            with self._lock.read():
                if self.graph is not graph:
                    return  # loaded anew meanwhile
                count, unsaved = graph.nodes, self._unsaved
                covered, removal = self._covered_label(), self._last_removal
                stranded, misfits = self.stranded.labels(), list(self._misfits)
            # Without the lock, or searches would wait for the disk: nothing is added to the graph meanwhile,
            # and what is removed in it is removed again when the file is loaded.
            file.save(graph)
            unreachable = file.publish(
                graph,
                count=count,
                stranded=stranded,
                last_label=covered,
                last_removal=removal,
                instead_of=misfits,
            )
        if unreachable is not None:
            self._unsaved -= unsaved
            self._misfits = [one for one in self._misfits if one not in misfits]
            with self._changing():
                if self.graph is graph:
                    self._strand(unreachable)

    def _move(self, count: int, *, threads: int) -> int:
        with self._changing():
            labels, vectors = self.tail.take_oldest(count)
            if len(labels):
                self.graph = self.graph if self.graph is not None else self._new_graph()
                self.graph.add(labels, vectors, threads=threads)
                self.tail.remove(labels)
                self._unsaved += len(labels)
            return len(labels)

    def _new_graph(self) -> HnswIndex:
        return HnswIndex(self.space.dimension, self.space.metric, **self.space.index_options)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build the graph anew from the rows and publish it; searches go on with the old one meanwhile."""
        with self._hurry():
            self.catch_up()
            if self.space.index_kind == "hnsw" or sum(map(len, self.parts)) > EXACT_UNTIL:
                self._rebuild(self._is_closing, progress, threads=os.cpu_count() or 1)
                self._publish()
            elif self.graph is not None:
                # It has become so small that brute force is as fast: without its file it is not loaded again.
                with self._engine.transaction() as transaction:
                    withdraw(transaction, self.space.id)
                remove_stray_files(self._engine)
                with self._changing(), self._engine.snapshot() as snapshot:
                    self._loaded = False
                    self._take_in(snapshot)

    def forget_removed(self, progress: Progress | None = None) -> None:
        """Leave no vector that was removed in the graph or in its newest file."""
        self.catch_up()
        graph = self.graph
        if graph is None:
            with self._engine.transaction() as transaction:
                withdraw(transaction, self.space.id)
        elif graph.deleted > len(self.stranded):
            self.rebuild(progress)
        elif self._unsaved:
            self.complete(progress)

    def _rebuild(self, stop: Callable[[], bool], progress: Progress | None = None, *, threads: int = 1) -> None:
        """A new graph from the rows, in place of the old one. Builds under `_build_lock` only."""
        with self._engine.snapshot() as snapshot:
            begin = self._state(snapshot)
        graph, after, done, total = self._new_graph(), 0, 0, sum(map(len, (self.graph or (), self.tail)))
        while not stop():
            with self._engine.snapshot() as snapshot:  # a fresh one each time: a long one would hold back the log
                space, size = self.space.id, self.space.dimension
                batch = next(vectors_after(snapshot, space, size, after, until=begin.last_label), None)
            if batch is None:
                break
            labels, vectors = batch
            for start in range(0, len(labels), _LARGE_STEP):
                part = slice(start, start + _LARGE_STEP)
                graph.add(labels[part], vectors[part], threads=threads)
                if stop():
                    return
            after, done = int(labels[-1]), done + len(labels)
            if progress is not None:
                progress(done, max(total, done))
        if stop():
            return
        with self._changing(), self._engine.snapshot() as snapshot:
            tail = self.tail
            self._take_in(snapshot)
            if self.tail is not tail:
                return  # all was loaded anew meanwhile: the next turn sees to it
            graph.remove(self._removed_since(snapshot, self._state(snapshot), begin.last_removal, [graph]))
            self.graph = graph if len(graph) else None
            self.stranded = self._exact()
            waiting = self.tail.labels()
            self.tail.remove(waiting[waiting <= begin.last_label])
            self._unsaved = len(graph)

    # --- checking ---

    def differences(self) -> tuple[list[int], list[int]]:
        """Labels that the index lacks, and labels that it should not have."""
        with self.current() as snapshot:
            have = _labels_in(self.parts)
            want = live_labels(snapshot, self.space.id)
        return (
            np.setdiff1d(want, have, assume_unique=True).tolist(),
            np.setdiff1d(have, want, assume_unique=True).tolist(),
        )


def _labels_in(parts: Sequence[VectorIndex]) -> Labels:
    return distinct(np.concatenate([part.labels() for part in parts] or [np.empty(0, np.int64)]))
