"""Huge pages for the memory of graphs, on Linux.

A search jumps from vector to vector, and with pages of 4 KiB nearly each jump misses the processor's table of pages:
with pages of 2 MiB the same search of 100,000 x 384 takes a quarter less time. Most distributions give them to those
who ask. Asking changes nothing but speed, so whatever fails is left as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORTHWHILE = 8 << 20  # bytes; less may come from memory that was there before
_STEP = 16 << 20  # bytes
_HUGEPAGE, _COLLAPSE = 14, 25  # of madvise
_MAPS = Path("/proc/self/maps")

Range = tuple[int, int]
"""Addresses of memory, from and to."""


def _find_madvise() -> Any:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        return madvise
    return None


_madvise = _find_madvise()  # at once, and not in the middle of work: see `distinct`


class HugePages:
    """Asks for them, and knows what was written into small ones before it could."""

    def __init__(self) -> None:
        self._small: list[Range] = []

    @contextmanager
    def asked_for(self, size: int, *, filled: int = 0) -> Iterator[None]:
        """In memory that is allocated inside, `size` bytes or more; so many of which are written to there, too."""
        before = _private_memory() if size >= WORTHWHILE else []
        yield
        if not before:
            return
        asked = [
            (start, stop)
            for start, stop in _appeared(before, _private_memory())
            if stop - start >= WORTHWHILE and not _madvise(start, stop - start, _HUGEPAGE)
        ]
        self._small = [(start, min(stop, start + filled)) for start, stop in asked] if filled else []

    @property
    def are_wanting(self) -> bool:
        """Whether `make` has something to do."""
        return bool(self._small)

    def make(self, stop: Callable[[], bool]) -> None:
        """Make huge pages of the small ones, in steps of 30 ms until `stop()`; needs Linux 6.1."""
        while self._small:
            begin, end = self._small[-1]
            for start in range(begin, end, _STEP):
                if stop():
                    return
                _madvise(start, min(_STEP, end - start), _COLLAPSE)
            self._small.pop()


def _private_memory() -> list[Range]:
    """Writable memory of this process that is of no file; nothing where the system does not tell, or has no advice."""
    if _madvise is None:
        return []
    try:
        lines = _MAPS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    fields = [line.split(maxsplit=5) for line in lines]
    return [
        (int(start, 16), int(stop, 16))
        for addresses, access, *named in fields
        if access == "rw-p" and len(named) == 3
        for start, stop in (addresses.split("-"),)
    ]


def _appeared(before: Sequence[Range], after: Sequence[Range]) -> Iterator[Range]:
    """What is in `after` and was not in `before`; both ascend."""
    for start, stop in after:
        free = start
        for old_start, old_stop in before:
            if old_stop <= free or old_start >= stop:
                continue
            if old_start > free:
                yield free, old_start
            free = old_stop
        if free < stop:
            yield free, stop
