"""Steps on a thread of their own: who waits for them can leave them behind when one hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_SLICE = 0.1  # seconds; a longer wait is cut into these, for Ctrl-C does not end one on Windows


class Watched(Generic[T]):
    """Steps under way. Nothing can stop one that hangs; the interpreter can exit all the same.

    Attributes:
        results: of the steps that are done; of no more once they are left behind.
    """

    def __init__(self, steps: Iterable[T], *, name: str, then: Callable[[], None] | None = None) -> None:
        """Begin. `then` is called on the thread after the last step, even if nobody waits any more."""
        self.results: list[T] = []
        self._steps = iter(steps)
        self._then = then
        self._error: BaseException | None = None
        self._left = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._began = time.monotonic()  # the present step
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the thread came back."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for all steps; False, and they are left behind, where one of them takes longer.

        Raises:
            BaseException: whatever a step raised.
        """
        while not self._ended.is_set():
            left = self._began + seconds - time.monotonic()
            if left <= 0 and self._leave_late(seconds):
                return False
            self._ended.wait(max(0.0, min(left, _SLICE)))
        if self._error is not None:
            raise self._error
        return True

    def leave(self) -> None:
        """Wait no more: the present step is the last one, and its result is dropped."""
        with self._lock:
            self._left = True

    def _leave_late(self, seconds: float) -> bool:
        """Leave, unless the step that was late has just been done."""
        with self._lock:
            if not self._ended.is_set() and time.monotonic() - self._began >= seconds:
                self._left = True
            return self._left

    def _run(self) -> None:
        try:
            for result in self._steps:
                with self._lock:
                    if self._left:
                        break
                    self.results.append(result)
                    self._began = time.monotonic()
        except BaseException as error:  # noqa: BLE001  (it is raised where it is waited for)
            self._error = error
        finally:
            if self._then is not None:
                self._then()
            self._ended.set()


def one_step(work: Callable[[], T]) -> Iterator[T]:
    """One call as steps."""
    yield work()
