"""What must hold still while the process forks, and begin anew in the child."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something whose state a child cannot simply take over."""

    def before_fork(self) -> None:
        """Hold still, until one of the other two is called."""

    def after_fork(self) -> None:
        """Go on, in the parent."""

    def reset_after_fork(self) -> None:
        """Begin anew, in the child."""


_known: weakref.WeakSet[Forked] = weakref.WeakSet()
_still: list[Forked] = []
_lock = threading.RLock()  # of two threads that fork, one waits


def hold_at_fork(one: Forked) -> None:
    """From now on, call it around every fork."""
    _known.add(one)


def _hold() -> None:
    _lock.acquire()
    _still.extend(_known)
    for one in _still:
        one.before_fork()


def _go_on() -> None:
    while _still:
        _still.pop().after_fork()
    _lock.release()


def _reset() -> None:
    global _lock  # noqa: PLW0603  (threads that are not here may have waited for the parent's)
    _lock = threading.RLock()
    while _still:
        _still.pop().reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_reset)
