"""Vectors on their way from a commit of this process into an index, without being read back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from vecdb.storage.writes import NewVectors
from vecdb.types import Labels, Vector
from vecdb.vectors import from_blobs

_AT_ONCE = 1024  # vectors that are taken in together


class FreshVectors:
    """What was committed here and an index has not taken in yet. Safe to use from several threads.

    The rows stay the truth: whatever is missing here, is read there.

    Args:
        dimension: length of the vectors.
        most: vectors to hold; when there would be more, all are let go.
    """

    def __init__(self, dimension: int, most: int) -> None:
        self._dimension = dimension
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        self._batches: dict[int, NewVectors] = {}  # by the newest label of the space before each

    def __len__(self) -> int:
        return self._count

    def put(self, batch: NewVectors) -> None:
        """Hold the vectors of a write that is committed."""
        with self._lock:
            if self._count + len(batch.data) > self._most:
                self._batches.clear()
                self._count = 0
                return
            before = batch.before
            for start in range(0, len(batch.data), _AT_ONCE):
                some = batch.data[start : start + _AT_ONCE]
                self._batches[before] = NewVectors(batch.space_id, before, batch.first + start, some)
                before = self._batches[before].last
            self._count += len(batch.data)

    def take(self, after: int, until: int | None = None) -> Iterator[tuple[Labels, Vector]]:
        """The vectors that follow label `after` without a gap, in order, up to `until`; they are not held any more.

        What is older than that goes, too: the index has it.
        """
        while True:
            with self._lock:
                for old in [before for before in self._batches if before < after]:
                    self._count -= len(self._batches.pop(old).data)
                batch = self._batches.get(after)
                if batch is None or (until is not None and batch.last > until):
                    return
                self._count -= len(self._batches.pop(after).data)
            yield np.arange(batch.first, batch.last + 1), from_blobs(batch.data, self._dimension)
            after = batch.last

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._batches.clear()
            self._count = 0
