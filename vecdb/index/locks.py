"""A lock that many may read under, or one may write."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType


class ReadWriteLock:
    """Readers share, a writer is alone, and neither side can starve the other.

    A waiting writer keeps new readers out, so it waits for the present readers only; when it is
    done, all readers that waited meanwhile go first, before the next writer (a phase-fair lock,
    Brandenburg and Anderson 2010). A thread that adds to an index in a loop therefore never holds
    up a search for longer than one step.

    Not re-entrant: a thread that holds the lock, either way, must not ask for it again.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._readers = 0  # hold the lock now
        self._waiting = 0  # readers that wait
        self._due = 0  # of those, the ones that go before the next writer
        self._writers = 0  # wait
        self._writing = False
        self._phase = 0  # counts the writes that ended
        self._read = _ReadGuard(self)
        self._write = _WriteGuard(self)

    def read(self) -> AbstractContextManager[None]:
        """Context manager: hold the lock together with other readers."""
        return self._read

    def write(self) -> AbstractContextManager[None]:
        """Context manager: hold the lock alone."""
        return self._write

    def _start_reading(self) -> None:
        with self._mutex:
            if self._writing or self._writers:
                self._wait_to_read()
            self._readers += 1

    def _wait_to_read(self) -> None:
        phase = self._phase
        self._waiting += 1
        try:
            while self._phase == phase and (self._writing or self._writers):
                self._changed.wait()
        finally:  # also when interrupted: nobody may wait for a reader that will not come
            self._waiting -= 1
            if self._phase != phase:
                self._due -= 1
                if not self._due:
                    self._changed.notify_all()

    def _stop_reading(self) -> None:
        with self._mutex:
            self._readers -= 1
            if not self._readers and self._writers:
                self._changed.notify_all()

    def _start_writing(self) -> None:
        with self._mutex:
            self._writers += 1
            try:
                while self._writing or self._readers or self._due:
                    self._changed.wait()
                self._writing = True
            finally:
                self._writers -= 1
                if not self._writing:
                    self._changed.notify_all()

    def _stop_writing(self) -> None:
        with self._mutex:
            self._writing = False
            self._phase += 1
            self._due = self._waiting
            self._changed.notify_all()


class _ReadGuard:
    """Without state of its own, so that one object serves every reader and none is made per search."""

    __slots__ = ("_lock",)

    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock._start_reading()  # noqa: SLF001  (two halves of one class)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock._stop_reading()  # noqa: SLF001


class _WriteGuard:
    __slots__ = ("_lock",)

    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock._start_writing()  # noqa: SLF001

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock._stop_writing()  # noqa: SLF001
