"""One writer at a time: a lock file, held by the operating system, so a killed holder lets go."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from vecdb.errors import DatabaseLockedError, DiskFullError, ReadOnlyError, StorageError

if sys.platform == "win32":  # pragma: no cover  (the tests run on Linux)
    import msvcrt

    # Windows locks are mandatory: a byte far behind the holder's process id keeps that readable.
    _FAR = 1 << 20

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        # flock, not POSIX record locks: those are dropped when any descriptor of the file is closed.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def claim(path: Path) -> int:
    """Mark a file or folder as in use, for as long as this process lives; the descriptor to close in the end.

    Windows locks would keep others, and libraries of this process, from the content: there nothing is marked.
    """
    if sys.platform == "win32":  # pragma: no cover  (the tests run on Linux)
        return os.open(os.devnull, os.O_RDONLY)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _try_lock(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_abandoned(path: Path) -> bool:
    """Whether whoever claimed this file or folder is gone. On Windows: whether it is old."""
    if sys.platform == "win32":  # pragma: no cover
        return time.time() - path.stat().st_mtime > _OLD
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        free = _try_lock(descriptor)
        if free:
            _unlock(descriptor)  # closing would not do: a child that was just forked has it open, too
        return free
    finally:
        os.close(descriptor)


_OLD = 3600.0  # seconds; nobody writes one file for so long
_READ_ONLY: tuple[type[StorageError], str] = (
    ReadOnlyError,
    "make the folder writable or open the database with read_only=True",
)
_REFUSED: Mapping[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (DiskFullError, "free some space"),
    errno.EDQUOT: (DiskFullError, "free some space"),
    errno.EMFILE: (StorageError, "close files that are not needed"),
    errno.ENFILE: (StorageError, "close files that are not needed"),
    errno.ENOMEM: (StorageError, "free some memory"),
    errno.EIO: (StorageError, "look after the disk"),
}
_FIRST_WAIT = 0.0005
_LONGEST_WAIT = 0.02


class WriterLock:
    """Excludes other threads and other processes. Not re-entrant.

    Args:
        path: the lock file, made on first use.
        timeout: seconds to wait before `DatabaseLockedError`.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._thread_lock = threading.Lock()
        self._descriptor: int | None = None
        self._is_held = False

    def __enter__(self) -> None:
        deadline = time.monotonic() + self._timeout
        if not self._thread_lock.acquire(timeout=self._timeout):
            # The thread that has this lock may itself be waiting for another process.
            raise self._locked_error(os.getpid() if self._is_held else self._holder())
        locked = False
        try:
            descriptor = self._open()
            wait = _FIRST_WAIT
            while not self._try(descriptor):
                if time.monotonic() > deadline:
                    raise self._locked_error(self._holder())
                time.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
            locked = self._is_held = True
            self._name_holder(descriptor)
        except BaseException:
            self._is_held = False
            if locked and self._descriptor is not None:
                _unlock(self._descriptor)
            self._thread_lock.release()
            raise

    def __exit__(self, *exc: object) -> None:
        self._is_held = False
        if self._descriptor is not None:
            _unlock(self._descriptor)
        self._thread_lock.release()

    def is_free(self) -> bool:
        """Whether nobody holds it now: a guess, for work that may as well be done later."""
        if self._thread_lock.locked():
            return False
        try:
            return is_abandoned(self._path)
        except OSError:
            return True  # not made yet, or not to be opened: taking it will say why

    def close(self) -> None:
        """Give the file back. The lock may be used again afterwards."""
        with self._thread_lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def reset_after_fork(self) -> None:
        """In a forked child: forget the parent's lock without letting go of it."""
        self._thread_lock = threading.Lock()
        self._is_held = False
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self, descriptor: int) -> bool:
        try:
            return _try_lock(descriptor)
        except OSError as error:
            raise StorageError(
                f"cannot lock {self._path}: {error.strerror}; a database needs a file system that has locks, try again "
                "or put it elsewhere"
            ) from error

    def _open(self) -> int:
        if self._descriptor is None:
            # In a stranger's folder it may be a link to a file that matters.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
            try:
                self._descriptor = os.open(self._path, flags, 0o600)
            except OSError as error:
                kind, advice = _REFUSED.get(error.errno or 0, _READ_ONLY)
                raise kind(f"cannot write the lock file {self._path}: {error.strerror}; {advice}") from error
        return self._descriptor

    def _name_holder(self, descriptor: int) -> None:
        # Best effort, for the message of whoever waits in vain: on a full disk the lock still holds.
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"%-20d" % os.getpid())
        except OSError:
            return

    def _holder(self) -> int | None:
        # Not by the descriptor, whose position the thread that waits for the file may be using.
        try:
            with self._path.open("rb") as file:
                return int(file.read(20))
        except (OSError, ValueError):
            return None

    def _locked_error(self, holder: int | None) -> DatabaseLockedError:
        who = f"process {holder}" if holder else "another process"
        return DatabaseLockedError(
            f"the database {self._path.parent} is being written by {who}, for more than {self._timeout:g} s; "
            "wait for it or end it",
            holder=holder,
        )
