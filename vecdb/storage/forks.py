"""What must hold still while the process forks, and begin anew in the child."""

from __future__ import annotations

import logging  # noqa: F401  (its own lock is to be taken after what is here: hooks run in reverse order)
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vecdb.errors import DatabaseClosedError

FORK_WAIT = 10.0  # seconds; a fork waits so long for other threads to end what it must not cut in two


class Forked(Protocol):
    """Something whose state a child cannot simply take over."""

    def before_fork(self) -> None:
        """Hold still, until one of the other two is called."""

    def after_fork(self) -> None:
        """Go on, in the parent."""

    def reset_after_fork(self) -> None:
        """Begin anew, in the child."""


class _Gate:
    """Keeps forks and what they must not cut in two apart."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: list[int] = []  # threads
        self._forking: int | None = None  # the thread that does

    def enter(self) -> None:
        own = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forking in (None, own) or own in self._inside)
            self._inside.append(own)

    def enter_if_open(self) -> bool:
        if not self._changed.acquire(blocking=False):
            return False
        try:
            if self._forking is None:
                self._inside.append(threading.get_ident())
            return self._forking is None
        finally:
            self._changed.release()

    def leave(self) -> None:
        with self._changed:
            self._inside.remove(threading.get_ident())
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until the other threads are out."""
        own = threading.get_ident()
        with self._changed:
            self._forking = own
            self._changed.wait_for(lambda: all(thread == own for thread in self._inside), FORK_WAIT)

    def open(self) -> None:
        with self._changed:
            self._forking = None
            self._changed.notify_all()


_known: weakref.WeakSet[Forked] = weakref.WeakSet()
_still: list[Forked] = []
_lock = threading.RLock()  # of two threads that fork, one waits
_gate = _Gate()


@contextmanager
def undivided() -> Iterator[None]:
    """No other thread forks inside: for connections and locks that a child could neither use nor let go of."""
    gate = _gate
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


@contextmanager
def undivided_if_at_once() -> Iterator[bool]:
    """The same; False at once, where it would have to wait for a fork."""
    gate = _gate
    entered = gate.enter_if_open()
    try:
        yield entered
    finally:
        if entered:
            gate.leave()


def hold_at_fork(one: Forked) -> None:
    """From now on, call it around every fork."""
    _known.add(one)


# --- what a child inherited ---------------------------------------------------------------------

# Connections: neither used nor closed in the child, or the parent would lose locks. Their files: SQLite in
# the child would take the parent's locks on them for its own.
_inherited: list[object] = []
_inherited_files: set[tuple[int, int]] = set()
_abandoned: list[tuple[Path, Iterable[object]]] = []


def inherit(file: Path, connections: Iterable[object]) -> None:
    """In a child: keep these connections of a database file for ever, and never open the file."""
    _inherited.extend(connections)
    if (found := _identity(file)) is not None:
        _inherited_files.add(found)


def abandon(file: Path, connections: Iterable[object]) -> None:
    """Keep what cannot be closed now, because the process forks."""
    _abandoned.append((file, connections))


def require_not_inherited(file: Path) -> None:
    """Raise `DatabaseClosedError` in a child that was forked while this database file was being read or written."""
    if _inherited_files and _identity(file) in _inherited_files:
        raise forked_error(file.parent)


def forked_error(folder: Path) -> DatabaseClosedError:
    """What a child is told that was forked while a database was in use."""
    return DatabaseClosedError(
        f"this process was forked in the middle of a call of the database {folder}, so it cannot use "
        "it; fork outside of such calls, or use the database in a new process"
    )


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


# --- the hooks ----------------------------------------------------------------------------------


def _hold() -> None:
    _lock.acquire()
    _gate.close()
    _still.extend(_known)
    for one in _still:
        one.before_fork()


def _go_on() -> None:
    while _still:
        _still.pop().after_fork()
    _gate.open()
    _lock.release()


def _reset() -> None:
    global _lock, _gate
    _lock, _gate = threading.RLock(), _Gate()
    while _still:
        _still.pop().reset_after_fork()
    for file, connections in _abandoned:
        inherit(file, connections)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_reset)
