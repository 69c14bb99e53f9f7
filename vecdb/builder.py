"""The thread that moves new vectors into graphs, behind the callers' backs."""

from __future__ import annotations

import threading
import warnings

from vecdb.errors import CollectionNotFoundError, VecdbError, VecdbWarning
from vecdb.sync import SpaceIndex

_IDLE_SECONDS = 5.0  # after which the thread ends


class IndexBuilder:
    """The building thread of a database; started when there is something to build, ended when there is nothing."""

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
                thread = threading.Thread(target=self._run, name="vecdb index builder", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no thread to be had: searches stay exact, and the next notice tries again
                    return
                self._thread = thread
            self._changed.notify()

    def close(self) -> None:
        """End the thread, after the step it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def reset_after_fork(self) -> None:
        """In a forked child: the parent's thread is not there, and may have held the lock."""
        self._begin()

    def _stopped(self) -> bool:
        return self._stopping

    def _run(self) -> None:
        try:
            self._work()
        finally:  # if an error ended it (a warning may be one), the next notice starts another
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping, _IDLE_SECONDS)
                if self._stopping or not self._waiting:
                    self._thread = None  # here, so that the next notice finds that there is none
                    return
                index = self._waiting.pop(next(iter(self._waiting)))  # who has waited longest
            try:
                index.build_behind(self._stopped)
            except (CollectionNotFoundError, VecdbWarning):
                continue  # deleted; or warnings are errors here, and then the next search raises this one
            except (VecdbError, MemoryError) as error:
                # Searches do not need this thread: they stay exact, and the next write tries again.
                if not self._stopping:
                    warnings.warn(
                        f"building the index of space {index.space.name!r} behind the scenes failed: {error}",
                        VecdbWarning,
                        stacklevel=1,
                    )
            finally:
                del index  # or a database that nobody closed would stay for the sake of this thread
