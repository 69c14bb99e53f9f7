"""Rows of vectors that grow without being copied, and give back what they no longer need."""

from __future__ import annotations

import contextlib
import mmap
import sys
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vecdb.types import Vector

_BLOCK_BYTES = 16 << 20  # large enough for huge pages, without which a scan takes a third longer
_BLOCK_ROWS = (64, 8192)  # at least, at most
_SMALLEST = 16  # rows
_FEW = 64  # positions; below, a loop takes less time than sorting them by block


class RowBlocks:
    """Rows (n, dimension), numbered from 0, in blocks of a fixed number of rows.

    Growing allocates the next block and copies nothing; only the first one begins small, and doubles.
    Not safe to change from several threads at once.

    Args:
        dimension: length of the rows.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        least, most = _BLOCK_ROWS
        self.block_rows = max(least, min(most, _BLOCK_BYTES // (4 * dimension)))
        self.blocks: list[Vector] = []

    def write(self, start: int, rows: Vector) -> None:
        """Put rows (n, dimension) from number `start` on; numbers below it must have been written before."""
        done = 0
        while done < len(rows):
            block, offset = divmod(start + done, self.block_rows)
            count = min(self.block_rows - offset, len(rows) - done)
            self._make_room(block, offset + count)
            self.blocks[block][offset : offset + count] = rows[done : done + count]
            done += count

    def _make_room(self, block: int, rows: int) -> None:
        if block == len(self.blocks):
            size = self.block_rows if block else min(max(rows, _SMALLEST), self.block_rows)
            self.blocks.append(_new_block(size, self._dimension, whole=size == self.block_rows))
        elif rows > len(old := self.blocks[block]):
            size = min(max(rows, 2 * len(old)), self.block_rows)
            grown = _new_block(size, self._dimension, whole=size == self.block_rows)
            grown[: len(old)] = old
            self.blocks[block] = grown

    def at(self, numbers: NDArray[np.intp]) -> Vector:
        """A copy of the rows with these numbers (n,), in their order."""
        found = np.empty((len(numbers), self._dimension), np.float32)
        if len(numbers) <= _FEW:
            for place, number in enumerate(numbers.tolist()):
                block, offset = divmod(number, self.block_rows)
                found[place] = self.blocks[block][offset]
            return found
        if not (numbers[1:] >= numbers[:-1]).all():
            order = np.argsort(numbers)
            found[order] = self.at(numbers[order])
            return found
        first = int(numbers[0]) // self.block_rows
        edges = np.arange(first, int(numbers[-1]) // self.block_rows + 2) * self.block_rows
        places = np.searchsorted(numbers, edges)
        for block, (start, stop) in enumerate(pairwise(places.tolist()), first):
            offsets = numbers[start:stop] - block * self.block_rows
            np.take(self.blocks[block], offsets, axis=0, out=found[start:stop], mode="clip")  # "raise" would copy twice
        return found

    def keep(self, numbers: NDArray[np.intp]) -> None:
        """Keep only the rows with these ascending numbers, which become 0, 1, 2, …; needs room for one block."""
        for start in range(0, len(numbers), self.block_rows):
            self.write(start, self.at(numbers[start : start + self.block_rows]))  # never beyond what was read
        del self.blocks[-(-len(numbers) // self.block_rows) :]

    def drop_front(self, blocks: int) -> None:
        """Give back the first blocks; the first row that is left becomes number 0."""
        del self.blocks[:blocks]

    def between(self, start: int, stop: int) -> RowRange:
        """The rows from `start` to `stop`, as they lie."""
        return RowRange(self, start, stop)


def _new_block(rows: int, dimension: int, *, whole: bool) -> Vector:
    """Room for rows; that of whole blocks comes from the system and goes back there.

    malloc would keep it, below what was made later.
    """
    if not whole:
        return np.empty((rows, dimension), np.float32)
    size = 4 * rows * dimension
    try:
        if sys.platform == "win32":  # pragma: no cover  (the tests run on Linux)
            memory = mmap.mmap(-1, size)
        else:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # else a fork would share it
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):  # a kernel without them
                    memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError as error:
        raise MemoryError(f"no memory for {rows} vectors") from error
    return np.frombuffer(memory, np.float32).reshape(rows, dimension)


class RowRange:
    """Some rows of a `RowBlocks` that follow one another, numbered from 0."""

    __slots__ = ("_rows", "_start", "_stop")

    def __init__(self, rows: RowBlocks, start: int, stop: int) -> None:
        self._rows = rows
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, numbers: NDArray[np.intp]) -> Vector:
        """A copy of the rows with these numbers (n,)."""
        return self._rows.at(numbers + self._start)

    def dots(self, queries: Vector) -> NDArray[np.float32]:
        """Dot products (q, n) of queries (q, dimension) with all rows, in float32."""
        found = np.empty((len(queries), len(self)), np.float32)
        size, done = self._rows.block_rows, 0
        while done < len(self):
            block, offset = divmod(self._start + done, size)
            count = min(size - offset, len(self) - done)
            found[:, done : done + count] = dots(self._rows.blocks[block][offset : offset + count], queries)
            done += count
        return found


def dots(rows: Vector | RowRange, queries: Vector) -> NDArray[np.float32]:
    """Dot products (q, n) of queries (q, dimension) with rows, in float32."""
    if isinstance(rows, RowRange):
        return rows.dots(queries)
    if len(queries) == 1:  # as matrix times vector: numpy does not find that out, and takes thrice as long
        return np.asarray((rows @ queries[0])[np.newaxis])
    return np.asarray(queries @ rows.T)
