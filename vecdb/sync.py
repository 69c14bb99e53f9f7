"""Keeping an index equal to the rows: loading, catching up, building behind the scenes, publishing.

Rows are the truth. An index in memory covers the changes of its space up to a label and a removal;
before each search it takes in what was committed since. New vectors go to an exact tail, which is
searchable at once; a thread moves them into the graph in small steps. Files of the graph are caches.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vecdb.errors import CollectionNotFoundError, IndexRebuiltWarning, StorageError, VecdbError, VecdbWarning
from vecdb.index.base import VectorIndex
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.locks import ReadWriteLock
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.manifest import (
    IndexFile,
    file_sha256,
    publish,
    published,
    published_names,
    this_platform,
    withdraw,
)
from vecdb.storage.schema import INDEX_FOLDER
from vecdb.storage.spaces import SpaceRow, SpaceState, space_state
from vecdb.storage.vector_rows import live_labels, removals_after, vectors_after, vectors_of
from vecdb.types import Progress

EXACT_UNTIL = 20_000  # vectors; up to here brute force is as fast as a graph (notes on performance in the README)
_STEP = 16  # vectors moved at once behind a search: about 5 ms at 384 dimensions
_LARGE_STEP = 512
_MOST_TOMBSTONES = 0.3
_PUBLISH_AFTER = 2_000  # vectors, or a tenth of the graph: reading so many rows at opening is quick
_STRAY_AGE = 3600.0  # seconds; another process may still be writing a younger temporary file


class SpaceIndex:
    """The index of one space in this process. Safe to use from several threads."""

    def __init__(self, engine: DatabaseEngine, space: SpaceRow) -> None:
        self.space = space
        self._engine = engine
        self._lock = ReadWriteLock()
        self._build_lock = threading.Lock()  # one builder at a time; taken before `_lock`
        self._loaded = False
        self._last_label = self._last_removal = 0
        self._published_label = 0
        self._empty()

    def _empty(self) -> None:
        self.graph: HnswIndex | None = None
        self.tail = self._exact()
        self.stranded = self._exact()  # what the graph holds but cannot find

    def _exact(self) -> ExactIndex:
        return ExactIndex(self.space.dimension, self.space.metric)

    @property
    def parts(self) -> list[VectorIndex]:
        """The indexes that together hold every vector; a stranded one is in the graph as well."""
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
                if self._has(self._state(snapshot)):
                    yield snapshot
                    return
            self.catch_up()
        # Others write faster than this thread gets its turn: keep them out of the index meanwhile.
        with self._lock.write(), self._engine.snapshot() as snapshot:
            self._take_in(snapshot)
            yield snapshot

    def catch_up(self) -> None:
        """Take in everything that is committed now."""
        with self._lock.write(), self._engine.snapshot() as snapshot:
            self._take_in(snapshot)

    def _state(self, snapshot: Snapshot) -> SpaceState:
        state = space_state(snapshot, self.space.id)
        if state is None:
            raise CollectionNotFoundError("the collection was deleted; open another one", name=self.space.name)
        return state

    def _has(self, state: SpaceState) -> bool:
        return self._loaded and self._last_label == state.last_label and self._last_removal == state.last_removal

    def _take_in(self, snapshot: Snapshot) -> None:
        state = self._state(snapshot)
        if self._has(state):
            return
        try:
            if not self._loaded or self._last_removal < state.removal_floor:
                self._load(snapshot, state)
            removed = removals_after(snapshot, self.space.id, self._last_removal)
            for labels, vectors in vectors_after(snapshot, self.space.id, self.space.dimension, self._last_label):
                self.tail.add(labels, vectors)
            if len(removed):
                for part in self.parts:
                    part.remove(removed)
        except BaseException:
            self._loaded = False  # half taken in: begin again from the rows
            raise
        self._last_label, self._last_removal = state.last_label, state.last_removal
        self._loaded = True

    # --- index files ---

    def _load(self, snapshot: Snapshot, state: SpaceState) -> None:
        self._empty()
        self._last_label, self._last_removal = 0, state.last_removal
        self._published_label = 0
        if self.space.index_kind == "exact":
            return
        problems = []
        for file in published(snapshot, self.space.id):
            try:
                self._load_file(snapshot, file, state)
                return
            except (StorageError, OSError) as error:
                problems.append(str(error))
                self._empty()
        if problems:
            warnings.warn(
                f"the index file of space {self.space.name!r} does not fit its database ({problems[0]}); "
                "searches are exact and the index is rebuilt behind them",
                IndexRebuiltWarning,
                stacklevel=2,
            )

    def _load_file(self, snapshot: Snapshot, file: IndexFile, state: SpaceState) -> None:
        path = self._folder / file.name
        if (file.platform, file.dimension, file.metric) != (this_platform(), self.space.dimension, self.space.metric):
            raise StorageError(f"{file.name} was made for another platform or space")
        if file.last_removal < state.removal_floor or file.last_label > state.last_label:
            raise StorageError(f"{file.name} is of another time than the rows")
        if not path.is_file() or path.is_symlink():
            raise StorageError(f"{file.name} is missing")
        if path.stat().st_size != file.size or file_sha256(path) != file.sha256:
            raise StorageError(f"{file.name} was changed")
        self.graph = HnswIndex.load(
            path,
            dimension=file.dimension,
            metric=self.space.metric,
            M=file.M,
            ef_construction=file.ef_construction,
            ef=self._options["ef"],
        )
        if len(self.graph) != file.count:
            raise StorageError(f"{file.name} holds {len(self.graph)} vectors instead of {file.count}")
        self.stranded.add(*vectors_of(snapshot, file.unreachable, self.space.dimension))
        self._last_label, self._last_removal = file.last_label, file.last_removal
        self._published_label = file.last_label

    @property
    def _folder(self) -> Path:
        return self._engine.folder / INDEX_FOLDER

    @property
    def _options(self) -> dict[str, int]:
        return dict(self.space.index_options)

    def _publish(self) -> None:
        if self.graph is None or self._engine.read_only:
            return
        name = f"{self.space.id}-{uuid.uuid4().hex}.hnsw"
        temporary = self._folder / f"{name}.tmp"
        try:
            self._folder.mkdir(exist_ok=True)
            with self._lock.read():
                covered, removal, count = self._covered_label(), self._last_removal, len(self.graph)
                self.graph.save(temporary)
            unreachable = HnswIndex.unreachable_in(temporary, dimension=self.space.dimension, M=self.graph.M)
            file = IndexFile(
                space_id=self.space.id,
                name=name,
                size=temporary.stat().st_size,
                sha256=file_sha256(temporary),
                last_label=covered,
                last_removal=removal,
                count=count,
                dimension=self.space.dimension,
                metric=self.space.metric,
                M=self.graph.M,
                ef_construction=self.graph.ef_construction,
                platform=this_platform(),
                unreachable=tuple(unreachable.tolist()),
            )
            with self._engine.transaction() as transaction:
                if space_state(transaction, self.space.id) is None or not publish(transaction, file):
                    return
                temporary.rename(self._folder / name)
                _sync_folder(self._folder)
            self._published_label = covered
            self._strand(file.unreachable)
            self._remove_stray_files()
        except OSError as error:
            raise StorageError(f"cannot write the index file {temporary}: {error.strerror}; free some space") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _strand(self, labels: tuple[int, ...]) -> None:
        with self._lock.write():
            if self.graph is None:
                return
            known = set(self.stranded.labels().tolist())
            live = set(self.graph.labels().tolist()) if labels else set()
            new = np.array(sorted(label for label in labels if label in live and label not in known), np.int64)
            if len(new):
                self.stranded.add(new, self.graph.vectors(new))

    def _covered_label(self) -> int:
        """Every vector up to this label is in the graph."""
        waiting = self.tail.labels()
        return int(waiting[0]) - 1 if len(waiting) else self._last_label

    def _remove_stray_files(self) -> None:
        with self._engine.exclusive(), self._engine.snapshot() as snapshot:
            known = published_names(snapshot)
            for path in self._folder.iterdir():
                if path.name in known:
                    continue
                if path.suffix != ".tmp" or time.time() - path.stat().st_mtime > _STRAY_AGE:
                    path.unlink(missing_ok=True)

    # --- building ---

    def wants_building(self) -> bool:
        """Whether vectors wait that belong into a graph, or the graph is mostly tombstones."""
        if self.space.index_kind == "exact":
            return False
        if self.graph is not None and self.graph.tombstone_ratio > _MOST_TOMBSTONES:
            return True
        if self.space.index_kind == "auto" and self.graph is None:
            return len(self.tail) > EXACT_UNTIL
        return len(self.tail) > 0

    def build(self, *, stop: Callable[[], bool], in_foreground: bool = False, progress: Progress | None = None) -> None:
        """Move what waits into the graph, in steps, until nothing waits or `stop()` is true; publish if worthwhile.

        Args:
            stop: asked between steps.
            in_foreground: the caller waits: use every processor and larger steps, and always publish.
            progress: called as `progress(moved, total)`.
        """
        with self._build_lock:
            self.catch_up()
            if self.graph is not None and self.graph.tombstone_ratio > _MOST_TOMBSTONES:
                self._rebuild(stop)
            total, moved = len(self.tail), 0
            while self.wants_building() and not stop():
                moved += self._move(_LARGE_STEP if in_foreground else _STEP, threads=_threads(in_foreground))
                if progress is not None:
                    progress(moved, max(total, moved + len(self.tail)))
                time.sleep(0)
            if self._unpublished() >= (1 if in_foreground else self._worthwhile()):
                self._publish()

    def _unpublished(self) -> int:
        """About how many changes the newest file lacks."""
        return 0 if self.graph is None else self._covered_label() - self._published_label

    def _worthwhile(self) -> int:
        return max(_PUBLISH_AFTER, len(self.graph or ()) // 10)

    def publish_if_worthwhile(self) -> None:
        """Save the graph at closing, where reading the rows instead would take the next opening long."""
        with self._build_lock:
            if self._unpublished() >= self._worthwhile():
                try:
                    self._publish()
                except StorageError as error:  # the rows are safe, and an index file is only a cache
                    warnings.warn(f"the index was not saved: {error}", VecdbWarning, stacklevel=3)

    def _move(self, count: int, *, threads: int) -> int:
        with self._lock.write():
            labels, vectors = self.tail.take_oldest(count)
            if len(labels):
                self.graph = self.graph if self.graph is not None else self._new_graph()
                self.graph.add(labels, vectors, threads=threads)
                self.tail.remove(labels)
            return len(labels)

    def _new_graph(self) -> HnswIndex:
        return HnswIndex(self.space.dimension, self.space.metric, **self._options)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build the graph anew from the rows and publish it; searches go on with the old one meanwhile."""
        with self._build_lock:
            self.catch_up()
            if self.space.index_kind == "hnsw" or len(live_labels_of(self)) > EXACT_UNTIL:
                self._rebuild(_never, progress, threads=_threads(True))
                self._publish()
            elif self.graph is not None:
                with self._lock.write(), self._engine.snapshot() as snapshot:
                    self._loaded, self.graph = False, None
                    self._load_rows(snapshot)
                with self._engine.transaction() as transaction:
                    withdraw(transaction, self.space.id)

    def _load_rows(self, snapshot: Snapshot) -> None:
        state = self._state(snapshot)
        self._empty()
        self._last_label, self._last_removal, self._published_label = 0, state.last_removal, 0
        self._loaded = True
        self._take_in(snapshot)

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
        with self._lock.write(), self._engine.snapshot() as snapshot:
            self._take_in(snapshot)
            if self._state(snapshot).removal_floor > begin.last_removal:
                return  # too much was removed meanwhile to know what: the next turn begins anew
            graph.remove(removals_after(snapshot, self.space.id, begin.last_removal))
            self.graph = graph
            self.stranded = self._exact()
            waiting = self.tail.labels()
            self.tail.remove(waiting[waiting <= begin.last_label])
            self._published_label = 0

    # --- checking ---

    def differences(self) -> tuple[list[int], list[int]]:
        """Labels that the index lacks, and labels that it should not have."""
        with self.current() as snapshot:
            have = np.unique(np.concatenate([part.labels() for part in self.parts] or [np.empty(0, np.int64)]))
            want = live_labels(snapshot, self.space.id)
        return np.setdiff1d(want, have).tolist(), np.setdiff1d(have, want).tolist()


def live_labels_of(index: SpaceIndex) -> list[int]:
    """Labels in any part of an index, each once."""
    return sorted({label for part in index.parts for label in part.labels().tolist()})


def _never() -> bool:
    return False


def _threads(in_foreground: bool) -> int:
    return (os.cpu_count() or 1) if in_foreground else 1


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder, and renames durably by itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class IndexBuilder:
    """The thread of a database that moves new vectors into graphs, behind the callers' backs."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, SpaceIndex] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None

    def notify(self, index: SpaceIndex) -> None:
        """Say that this index may have something to build."""
        if index.space.index_kind == "exact":
            return
        with self._changed:
            if self._stopping:
                return
            self._waiting[index.space.id] = index
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vecdb index builder", daemon=True)
                self._thread.start()
            self._changed.notify()

    def reset_after_fork(self) -> None:
        """In a forked child: the parent's thread is not there, and may have held the lock."""
        self._begin()

    def close(self) -> None:
        """End the thread, after the step it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _stopped(self) -> bool:
        return self._stopping

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                _, index = self._waiting.popitem()
            try:
                index.build(stop=self._stopped)
            except CollectionNotFoundError:
                continue
            except (VecdbError, MemoryError) as error:
                # Searches do not need this thread: they stay exact, and the next write tries again.
                if not self._stopping:
                    warnings.warn(
                        f"building the index of space {index.space.name!r} behind the scenes failed: {error}",
                        VecdbWarning,
                        stacklevel=1,
                    )
