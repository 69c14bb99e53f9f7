"""Building the graph of an index behind the scenes, publishing it, and building it anew.

New vectors wait in an exact tail (see current.py); a thread moves them into the graph in small steps,
while nobody writes. Files of the graph are caches.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vecdb.current import CurrentIndex
from vecdb.errors import InvalidInputError, StorageError, VecdbError, VecdbWarning
from vecdb.index.calibration import calibrated_ef
from vecdb.index.hnsw import HnswIndex
from vecdb.index_files import GraphFile, remove_stray_files
from vecdb.storage.engine import DatabaseEngine
from vecdb.storage.manifest import forget_generations, withdraw
from vecdb.storage.spaces import SpaceRow
from vecdb.storage.vector_rows import vectors_after
from vecdb.types import Progress

EXACT_UNTIL = 20_000  # vectors; up to here brute force is as fast as a graph
_STEP_SECONDS = 0.003  # that a search may have to wait for a step of building behind it
_FIRST_STEP, _LARGE_STEP = 8, 512  # vectors
_SMALLEST_GRAPH = 1024
_QUIET_SECONDS = 0.2  # without a write, after which nobody seems to write any more
_GLANCE_SECONDS = 0.02
_PATIENCE_SECONDS = 1.0  # of a writer that should help while somebody else builds
_MOST_TOMBSTONES = 0.3
_PUBLISH_AFTER = 2_000  # vectors, or a tenth of the graph: reading so many rows at opening is quick


class SpaceIndex(CurrentIndex):
    """The index of one space in this process, and the building of its graph. Safe to use from several threads."""

    def __init__(self, engine: DatabaseEngine, space: SpaceRow) -> None:
        super().__init__(engine, space)
        self._build_lock = threading.Lock()  # one builder at a time; taken before `_lock`
        self._hurry_lock = threading.Lock()
        self._hurrying = 0  # callers that wait for a whole graph
        self._closing = False
        self._hurrier: int | None = None  # the thread of the one that builds now
        self._step = _FIRST_STEP

    def wants_building(self) -> bool:
        """Whether there is work for `build_behind`: vectors for the graph, its tombstones, bad files, small pages."""
        graph = self.graph
        if graph is not None and graph.wants_huge_pages:
            return True
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

        While somebody writes, it waits, unless so much is to be moved that searches are slow without it.

        Ends when nothing waits, when `stop()` is true (it is asked between steps), or when a caller of
        `complete` or `rebuild` is there.
        """

        def stopped() -> bool:
            return stop() or self._closing or self._hurrying > 0

        if not self._build_lock.acquire(blocking=False):
            return  # somebody builds already, and will do all of it
        try:
            if self.graph is not None:
                self.graph.make_huge_pages(stopped)
            self._fill(lambda: self._gives_way(stopped), threads=1)
            if not stopped() and (self._misfits or self._is_worth_saving()):
                self._publish()
            if not stopped():
                self._forget_misfits()
        finally:
            self._build_lock.release()

    def _gives_way(self, stopped: Callable[[], bool]) -> bool:
        """Wait until nobody writes, or much is to be done; whether building is stopped."""
        while not stopped():
            if self.backlog > self._may_wait or self._engine.is_quiet(_QUIET_SECONDS):
                return False
            self.take_handed_over()
            time.sleep(_GLANCE_SECONDS)
        return True

    def keep_up(self, written: int) -> None:
        """For whoever has written so many records: help building, if more vectors wait than memory should hold.

        It never fails, for the records are stored: where building does, their vectors wait in the rows. Nor
        does it wait long for somebody who builds, as the progress of that may be waiting for this thread.
        """
        target = max(self._most_waiting, self.backlog - 2 * written)
        if self.backlog <= target or self._hurrier == threading.get_ident():
            return
        with contextlib.suppress(VecdbError, VecdbWarning, MemoryError), self._taking_over():
            if self._build_lock.acquire(timeout=_PATIENCE_SECONDS):
                try:
                    with self._named():
                        self._reduce(target)
                finally:
                    self._build_lock.release()

    def _reduce(self, target: int) -> None:
        while self.backlog > target and self._loaded and not self._closing:
            self.take_handed_over()
            if not self._is_incomplete() or not self._move(self._step * _processors(), threads=_processors()):
                return

    def complete(self, progress: Progress | None = None) -> None:
        """Move everything that waits into the graph, on all processors, and save it.

        Args:
            progress: called as `progress(moved, total)`.
        """
        with self._hurry():
            self._fill(self._is_closing, step=_LARGE_STEP, threads=_processors(), progress=progress)
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
        with self._taking_over(), self._build_lock, self._named():
            yield

    @contextmanager
    def _taking_over(self) -> Iterator[None]:
        """Have the thread that builds behind the scenes end, after the step it is at."""
        with self._hurry_lock:
            self._hurrying += 1
        try:
            yield
        finally:
            with self._hurry_lock:
                self._hurrying -= 1

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say that it is this thread that builds."""
        self._hurrier = threading.get_ident()
        try:
            yield
        finally:
            self._hurrier = None

    def _is_closing(self) -> bool:
        return self._closing

    def _fill(
        self, stop: Callable[[], bool], *, step: int | None = None, threads: int, progress: Progress | None = None
    ) -> None:
        """Move what waits, so many vectors at once, or (None) as many as a search may have to wait for."""
        self.catch_up()
        moved = 0
        while self._is_incomplete() and not stop():
            if self._is_mostly_tombstones():  # also if that came about while vectors were moved
                self._rebuild(stop, threads=threads)
            else:
                moved += self._move(step or self._step, threads=threads)
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
                self.graph = self.graph if self.graph is not None else self._new_graph(len(self.tail))
                begin = time.thread_time()  # not of a clock: the less this thread gets to run, the fewer it would do
                self.graph.add(labels, vectors, threads=threads)
                self.tail.remove(labels)
                self._unsaved += len(labels)
                if threads == 1:
                    self._step = _next_step(len(labels), time.thread_time() - begin)
            return len(labels)

    def _new_graph(self, vectors: int) -> HnswIndex:
        """An empty one with room for so many: growing would hold up searches."""
        room = {"capacity": max(vectors, _SMALLEST_GRAPH), "threads": _processors()}
        return HnswIndex(self.space.dimension, self.space.metric, **room, **self.space.index_options)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build the graph anew from the rows and publish it; searches go on with the old one meanwhile."""
        with self._hurry():
            self.catch_up()
            if self.space.index_kind == "hnsw" or sum(map(len, self.parts.all)) > EXACT_UNTIL:
                self._rebuild(self._is_closing, progress, threads=_processors())
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
        total = sum(map(len, (self.graph or (), self.tail)))
        graph, after, done = self._new_graph(total), 0, 0
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


def _next_step(vectors: int, seconds: float) -> int:
    """How many vectors to add to a graph at once, after so many took so long: at most twice as many."""
    return int(min(max(vectors * min(_STEP_SECONDS / max(seconds, 1e-6), 2.0), 1), _LARGE_STEP))


def _processors() -> int:
    return os.cpu_count() or 1
