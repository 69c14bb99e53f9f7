"""Reading and writing the files of hnswlib with suspicion.

Its loader trusts every number in a file, and crashes on a wrong one; its writer ignores every error.

hnswlib 0.8 writes, in the byte order and type sizes of the machine: a header of 96 bytes; for each node
its links on level 0 (a 16-bit count, a byte whose lowest bit marks it deleted, a spare byte, 2 M ids of
32 bits), its vector, and its label of 64 bits; then for each node the size in bytes of its lists of the
higher levels, and these lists (one a level: a count as above and M ids). There is no magic number, no
checksum, no dimension and no metric.

What passes here cannot take a search outside the file's memory. It may still be another file of the same
shape, or have a flipped bit inside a number: whole-file checksums are the business of the manifest.
"""

from __future__ import annotations

import errno
import math
import os
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import DiskFullError, StorageError
from vecdb.index.labels import distinct, is_ascending
from vecdb.index.scan import rounding_bound
from vecdb.types import Labels

HEADER = struct.Struct("=6QiI3QdQ")
_BLOCK_BYTES = 1 << 20
_FOLLOWED_AT_ONCE = 4096  # nodes
_LENGTH_TOLERANCE = 1e-3
_Words = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class GraphFile:
    """What a checked file holds, without its vectors.

    Attributes:
        labels: shape (n,), by node.
        deleted: shape (n,), whether a node is marked deleted.
        entry: the node where every search starts.
        links, link_counts: shape (n, 2 M) and (n,), the links on level 0; empty unless asked for.
    """

    labels: Labels
    deleted: NDArray[np.bool_]
    entry: int
    links: _Words
    link_counts: NDArray[np.uint16]


def read_graph(
    path: Path,
    *,
    dimension: int,
    M: int,
    ef_construction: int | None = None,
    count: int | None = None,
    unit_length: bool = False,
    with_links: bool = False,
    file: BufferedReader | None = None,
) -> GraphFile:
    """Check a whole index file, a block at a time; about 0.3 ms for each MiB.

    Args:
        path: the file.
        dimension, M, ef_construction: what the file must have been built with; None is not compared.
        count: nodes it must hold, deleted ones included; None is not compared.
        unit_length: whether its vectors must have length 1 (the metric cosine).
        with_links: whether to keep the links of level 0, (2 M + 1) * 4 bytes a node.
        file: the same file, open at its beginning; it stays open.

    Raises:
        StorageError: the file cannot be read, or anything in it is not as it must be.
    """
    try:
        with path.open("rb") if file is None else nullcontext(file) as opened:
            return _Reader(opened, path, dimension, M).read(ef_construction, count, unit_length, with_links)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> StorageError:
    """What to raise where an index file cannot be read."""
    return StorageError(f"the index file {path} cannot be read ({error}); rebuild the index")


def unreachable_in(path: Path, *, dimension: int, M: int) -> Labels:
    """Live labels that no search can reach: no chain of level-0 links leads there from the entry point.

    A few nodes of a graph can lose their last incoming link (Malkov and Yashunin 2018, §4: links are
    pruned to a maximum). Searching finds such a vector only by chance, so its owner keeps it elsewhere.

    Returns:
        Ascending labels; usually none.

    Raises:
        StorageError: as `read_graph`.
    """
    graph = read_graph(path, dimension=dimension, M=M, with_links=True)
    if not len(graph.labels):
        return graph.labels
    reached = np.zeros(len(graph.labels), np.bool_)
    reached[graph.entry] = True
    frontier = np.array([graph.entry])
    slots = np.arange(graph.links.shape[1])
    while frontier.size:
        found = []
        for start in range(0, len(frontier), _FOLLOWED_AT_ONCE):
            nodes = frontier[start : start + _FOLLOWED_AT_ONCE]
            linked = graph.links[nodes][slots < graph.link_counts[nodes, np.newaxis]]
            found.append(distinct(linked[~reached[linked]]))
            reached[found[-1]] = True
        frontier = np.concatenate(found)
    return np.sort(graph.labels[~reached & ~graph.deleted])


def write_graph(path: Path, save: Callable[[bytes], int]) -> None:
    """Have `save(name)` write a new file, and wait until it is on the disk.

    Args:
        path: a name that is free, or an empty file, in a folder that exists; hnswlib overwrites in place, and
            does not say if it cannot open a file.
        save: returns the size in bytes that the file must have.

    Raises:
        DiskFullError: the file could not be written whole; it is removed.
        StorageError: the file exists, or its folder does not, or cannot be written to.
    """
    try:
        if not _is_empty(path):
            path.open("xb").close()
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        expected = save(os.fsencode(path))
        with path.open("r+b") as file:
            os.fsync(file.fileno())
            written = os.fstat(file.fileno()).st_size
        if written != expected:
            raise DiskFullError(
                f"only {written} of {expected} bytes of the index file {path} could be written; free some space"
            )
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):
            raise _write_error(path, error) from error
        raise


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.stat().st_size


def _write_error(path: Path, error: OSError | RuntimeError) -> StorageError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"the index file {path} could not be written: {error.strerror}; free some space")
    return StorageError(f"the index file {path} could not be written ({error}); check the folder")


class _Reader:
    def __init__(self, file: BufferedReader, path: Path, dimension: int, M: int) -> None:
        self._file = file
        self._path = path
        self._dimension = dimension
        self._M = M
        self._count = 0
        self._node_words = 1 + 2 * M + dimension + 2

    def _require(self, condition: object, reason: str) -> None:
        if not condition:
            raise StorageError(f"the index file {self._path} does not fit: {reason}; rebuild the index")

    def read(self, ef_construction: int | None, count: int | None, unit_length: bool, with_links: bool) -> GraphFile:
        entry, top_level = self._read_header(ef_construction, count)
        labels = np.empty(self._count, np.int64)
        deleted = np.empty(self._count, np.bool_)
        kept = self._count if with_links else 0
        links = np.empty((kept, 2 * self._M), np.uint32)
        link_counts = np.empty(kept, np.uint16)
        for start, words in self._node_blocks():
            block = slice(start, start + len(words))
            counts, deleted[block] = _list_heads(words[:, 0])
            self._check_lists(counts, words[:, 1 : 1 + 2 * self._M])
            self._check_vectors(words[:, 1 + 2 * self._M : -2].view(np.float32), unit_length)
            labels[block] = np.ascontiguousarray(words[:, -2:]).view(np.int64)[:, 0]
            if with_links:
                links[block], link_counts[block] = words[:, 1 : 1 + 2 * self._M], counts
        ordered = np.sort(labels)
        self._require(is_ascending(ordered) and (not self._count or ordered[0] > 0), "its labels are not sound")
        self._check_upper_levels(entry, top_level)
        return GraphFile(labels=labels, deleted=deleted, entry=entry, links=links, link_counts=link_counts)

    def _read_header(self, ef_construction: int | None, count: int | None) -> tuple[int, int]:
        size = os.fstat(self._file.fileno()).st_size
        self._require(size >= HEADER.size, f"it has {size} bytes, less than a header")
        (
            level0_offset, capacity, self._count, node_bytes, label_offset, data_offset,
            top_level, entry, max_links, max_links0, M, multiplier, built_with,
        ) = HEADER.unpack(self._file.read(HEADER.size))  # fmt: skip
        links_bytes = 4 + 8 * self._M
        self._require(M == max_links == self._M and max_links0 == 2 * self._M, f"it was not built with M={self._M}")
        self._require(
            (level0_offset, data_offset, label_offset, node_bytes)
            == (0, links_bytes, links_bytes + 4 * self._dimension, 4 * self._node_words),
            f"its vectors do not have dimension {self._dimension}",
        )
        self._require(math.isclose(multiplier, 1 / math.log(self._M), rel_tol=1e-9), "its level multiplier is wrong")
        self._require(
            ef_construction is None or built_with == ef_construction,
            f"it was not built with ef_construction={ef_construction}",
        )
        self._require(count is None or self._count == count, f"it holds {self._count} vectors, not {count}")
        self._require(self._count <= capacity, "it holds more vectors than its capacity")
        self._require(
            self._count * (node_bytes + 4) <= size - HEADER.size, f"{size} bytes cannot hold {self._count} vectors"
        )
        if self._count:
            self._require(entry < self._count and top_level >= 0, "its entry point is not one of its vectors")
        else:
            self._require(size == HEADER.size and top_level == -1, "it is empty but has levels")
        return entry, top_level

    def _node_blocks(self) -> Iterator[tuple[int, _Words]]:
        """Each block lasts until the next: they share their memory, which so stays in the processor's cache."""
        step = max(1, min(_BLOCK_BYTES // (4 * self._node_words), self._count))
        memory = np.empty((step, self._node_words), np.uint32)
        for start in range(0, self._count, step):
            words = memory[: self._count - start]
            self._require(self._file.readinto(words.data.cast("B")) == words.nbytes, "it ends too early")
            yield start, words

    def _check_lists(self, counts: NDArray[np.uint16], links: _Words) -> None:
        self._require((counts <= links.shape[1]).all(), "a vector has too many links")
        if links.max(initial=0) < self._count:  # as nearly always, also where a list is not full
            return
        used = np.arange(links.shape[1]) < counts[:, np.newaxis]
        self._require(not (used & (links >= self._count)).any(), "a link leads to no vector")

    def _check_vectors(self, vectors: NDArray[np.float32], unit_length: bool) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            quick = np.matmul(vectors[:, np.newaxis, :], vectors[:, :, np.newaxis])[:, 0, 0]
            error = float(rounding_bound(vectors.shape[1], np.array(2.0)))
            within = _LENGTH_TOLERANCE - error if unit_length else np.inf
            if (np.abs(quick - 1) < within).all():  # neither NaN nor infinity is
                return
            squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        self._require(np.isfinite(squares).all(), "a vector holds NaN or infinity")
        self._require(
            not unit_length or (np.abs(squares - 1) < _LENGTH_TOLERANCE).all(), "a vector does not have length 1"
        )

    def _check_upper_levels(self, entry: int, top_level: int) -> None:
        words = np.frombuffer(self._file.read(), np.uint8)
        self._require(len(words) % 4 == 0, "its end is not sound")
        starts, levels = self._walk(words.view(np.uint32))
        if not self._count:
            return
        self._require(levels.max() == levels[entry] == top_level, "its entry point is not on the highest level")
        lists = words.view(np.uint32)[starts[:, 1, np.newaxis] + np.arange(1 + self._M)]
        counts, _ = _list_heads(lists[:, 0])
        self._check_lists(counts, lists[:, 1:])
        used = np.arange(self._M) < counts[:, np.newaxis]
        # A link on a level leads to a node that has that level: hnswlib would follow a null pointer.
        targets = np.where(used, lists[:, 1:], entry)
        self._require((levels[targets] >= starts[:, 0, np.newaxis]).all(), "a link leads to a level that is not there")

    def _walk(self, words: _Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(level, first word) of each list, and the level of each node.

        Most nodes have no list, so their size words are runs of zeros: only the others are visited.
        """
        list_words = 1 + self._M
        nonzero, at = np.flatnonzero(words).data, words.data  # numbers out of these are Python's, in half the time
        found: list[tuple[int, int]] = []  # a node that has lists, and the place of their size
        place = node = following = 0
        while node < self._count and following < len(nonzero):
            head = nonzero[following]
            if head - place >= self._count - node:
                break
            node, listed = node + head - place, at[head] // 4
            found.append((node, head))
            node, place = node + 1, head + 1 + listed
            following = bisect_left(nonzero, place, following, min(len(nonzero), following + 1 + listed))
        nodes, heads = np.array(found, np.int64).reshape(-1, 2).T
        sizes = words[heads].astype(np.int64)
        heights = sizes // (4 * list_words)
        self._require(
            (heights * 4 * list_words == sizes).all() and (heads + 1 + heights * list_words <= len(words)).all(),
            "the size of a list of links is wrong",
        )
        self._require(place + self._count - node == len(words), "it does not end where its last list ends")
        levels = np.zeros(self._count, np.int64)
        levels[nodes] = heights
        above = np.arange(heights.sum()) - np.repeat(np.cumsum(heights) - heights, heights)
        return np.stack([1 + above, np.repeat(heads + 1, heights) + above * list_words], axis=1), levels


def _list_heads(words: _Words) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Number of links, and the mark of deletion, from the first word of lists."""
    heads = np.ascontiguousarray(words)
    return heads.view(np.uint16)[::2], (heads.view(np.uint8)[2::4] & 1).astype(np.bool_)
