"""The file that an index was loaded from: hashed while it is loaded, and kept open for its vectors."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import StorageError
from vecdb.index.hnsw_file import HEADER, GraphFile, read_graph, unreadable
from vecdb.types import Vector

_BLOCK_BYTES = 4 << 20


class GraphSource:
    """An index file that is open, so that it may be renamed, replaced or removed meanwhile.

    Where anybody wrote to it, that is found out: what was hashed first must come again.

    Args:
        path: the file.
        dimension, M: what it must have been built with.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, path: Path, *, dimension: int, M: int) -> None:
        self._path = path
        self._dimension = dimension
        self._M = M
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise unreadable(path, error) from error
        self.close = weakref.finalize(self, self._file.close)
        self._links = 1 + 2 * M  # words of a node before its vector
        self._words = self._links + dimension + 2
        self.count = 0  # vectors, known after `check`
        self._size = 0
        self._sha256 = ""

    def check(self, *, ef_construction: int, count: int | None, unit_length: bool) -> GraphFile:
        """`read_graph`, see there."""
        found = read_graph(
            self._path,
            dimension=self._dimension,
            M=self._M,
            ef_construction=ef_construction,
            count=count,
            unit_length=unit_length,
            file=self._file,
        )
        self.count = len(found.labels)
        self._size = self._file.tell()  # the check ends at its end
        return found

    @contextmanager
    def hashing(self, sha256: str | None) -> Iterator[None]:
        """Hash the checked file, on another thread if there is one, while something else is done.

        Raises:
            StorageError: at the end, unless it has this SHA-256 (hexadecimal; None is not compared), and is still the
                file that stands under its name.
        """
        digest = hashlib.sha256()
        wait = self._begin_hashing(digest.update)
        try:
            yield
        finally:
            wait()
        self._sha256 = digest.hexdigest()
        if sha256 not in (None, self._sha256) or not self._is_in_place():
            raise StorageError(f"the index file {self._path} was changed; rebuild the index")

    def _begin_hashing(self, update: Callable[[Any], None]) -> Callable[[], None]:
        try:
            # In one piece, for which the GIL is not needed: hnswlib holds it while it loads. And only now, when all was
            # read once: mapped, a place that cannot be read would end the process.
            whole = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # there is no mapping of it, or it is shorter now
            for place in range(0, self._size, _BLOCK_BYTES):
                update(self._read(place, min(_BLOCK_BYTES, self._size - place)))
            return _nothing
        return _begin(update, whole)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def vectors(self) -> Iterator[Vector]:
        """The vectors again, in order of node, as blocks (rows, dimension).

        Raises:
            StorageError: the file cannot be read, or is not what it was: then the blocks are not to be used. Known
                after the last one.
        """
        words = self._words
        step = max(1, min(_BLOCK_BYTES // (4 * words), self.count))
        digest = hashlib.sha256(self._read(0, HEADER.size))
        place = HEADER.size
        for start in range(0, self.count, step):
            block = self._read(place, 4 * words * min(step, self.count - start))
            place += len(block)
            wait = _begin(digest.update, block)
            yield np.frombuffer(block, np.uint32).reshape(-1, words)[:, self._links : -2].view(np.float32)
            wait()
        digest.update(self._read(place, self._size - place))
        if digest.hexdigest() != self._sha256:
            raise StorageError(f"the index file {self._path} was changed after it was loaded; rebuild the index")

    def vectors_at(self, nodes: NDArray[np.intp]) -> Vector:
        """The vectors (n, dimension) of some nodes, some 2 µs each, unchecked; several threads may ask at once.

        Raises:
            StorageError: the file cannot be read, or cannot be read in this way here.
        """
        if not hasattr(os, "pread"):
            raise StorageError("this system cannot read from a place of a file; ask the graph")
        size, begin, each = 4 * self._dimension, HEADER.size + 4 * self._links, 4 * self._words
        rows = b"".join([self._read(begin + each * node, size) for node in nodes.tolist()])
        return np.frombuffer(rows, np.float32).reshape(-1, self._dimension)

    def _read(self, place: int, size: int) -> bytes:
        """Where the file stands otherwise does not matter, nor changes: a forked child shares that."""
        try:
            if hasattr(os, "pread"):
                found = os.pread(self._file.fileno(), size, place)
            else:
                self._file.seek(place)
                found = self._file.read(size)
        except OSError as error:
            raise unreadable(self._path, error) from error
        if len(found) != size:
            raise StorageError(f"the index file {self._path} was cut short; rebuild the index")
        return found


def _begin(update: Callable[[Any], None], data: Any) -> Callable[[], None]:
    """Do `update(data)` on another thread, or at once where there is none; wait for it with what is returned."""
    thread = threading.Thread(target=update, args=(data,), daemon=True)
    try:
        thread.start()
    except RuntimeError:
        update(data)
        return _nothing
    return thread.join


def _nothing() -> None:
    """There is nothing to wait for."""
