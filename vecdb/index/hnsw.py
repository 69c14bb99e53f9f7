"""Approximate search with hnswlib, the only module that touches it, and one that trusts nothing of it.

HNSW: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs", IEEE TPAMI 2018. What hnswlib 0.8 does not check (almost everything) is
checked here: see the comments.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import hnswlib
import numpy as np

from vecdb.errors import InvalidInputError, NotFoundError, StorageError
from vecdb.index.allowed_search import AllowedSearch, Ways
from vecdb.index.base import check_k, check_queries, check_range, check_space
from vecdb.index.hnsw_file import write_graph
from vecdb.index.hnsw_source import GraphSource
from vecdb.index.huge_pages import HugePages
from vecdb.index.labels import Allowed, LabelSet, as_allowed, as_labels, as_new_labels, contains
from vecdb.index.locks import ReadWriteLock
from vecdb.index.scan import Distances, has_ties, merge_nearest, no_neighbours
from vecdb.index.scanning import Scanner
from vecdb.types import Labels, Metric, Vector
from vecdb.vectors import as_vectors

DEFAULT_M = 16
DEFAULT_EF_CONSTRUCTION = 200
DEFAULT_EF = 100
_M_RANGE = (2, 128)
_EF_CONSTRUCTION_RANGE = (2, 10_000)
_EF_RANGE = (1, 2**31 - 1)
_GROWTH = 1.5
_SMALLEST_CAPACITY = 1024

# Vectors of length 1 need no normalising in hnswlib, so cosine is its inner product: 1 - dot either way.
_SPACES = {"cosine": "ip", "l2": "l2", "ip": "ip"}

_GATHERED_ROWS = 128  # a list of numbers takes eight times the memory of the vector
_BATCH_RESULTS = 1 << 20


class HnswIndex:
    """A graph index over hnswlib. See `VectorIndex` for the methods without a docstring of detail.

    Give one label to each *distinct* vector: identical vectors link to one another only, and cut the
    graph (of 10,000 vectors among 10,000 identical ones, 7 % of the neighbours were found).

    Removed vectors stay in the graph as tombstones, passed through but never returned; watch
    `tombstone_ratio` and build anew when it is large. A removed label cannot come back.

    Searches run side by side; adding, removing and growing wait for them and keep them out, so add in
    small steps. `add` and `search` release the GIL while hnswlib works; `save`, `load`, `vectors` and
    growing do not (about half a second for 500 MB).

    Args:
        dimension: length of the vectors.
        metric: cosine, l2 or ip.
        M: links of a node on each level, twice as many on the lowest; 2 to 128.
        ef_construction: size of the candidate list while building; at least M is used.
        ef: size of the candidate list of a search that does not say its own.
        capacity: vectors to make room for; grows by half when full.
        threads: for one call of `add`, or of `search` with many queries; one query uses one thread.

    Raises:
        InvalidInputError: an argument is outside its range.
    """

    def __init__(
        self,
        dimension: int,
        metric: Metric,
        *,
        M: int = DEFAULT_M,
        ef_construction: int = DEFAULT_EF_CONSTRUCTION,
        ef: int = DEFAULT_EF,
        capacity: int = _SMALLEST_CAPACITY,
        threads: int = 1,
    ) -> None:
        check_space(dimension, metric)
        check_range("M", M, *_M_RANGE)
        check_range("ef_construction", ef_construction, *_EF_CONSTRUCTION_RANGE)
        check_range("ef", ef, *_EF_RANGE)
        check_range("capacity", capacity, 1, None)
        check_range("threads", threads, 1, 256)
        self._dimension = dimension
        self._metric: Metric = metric
        self.M: Final = M
        self.ef_construction: Final = max(ef_construction, M)
        self.ef = ef
        self._threads = threads
        self._lock = ReadWriteLock()
        self._labels = LabelSet()
        self._scanner = Scanner(dimension, metric)
        self._broken = ""
        self._among = AllowedSearch(dimension)
        self._graph = hnswlib.Index(space=_SPACES[metric], dim=dimension)
        self._pages = HugePages()
        try:
            with self._pages.asked_for(self._bytes(capacity)):
                self._graph.init_index(capacity, M=M, ef_construction=self.ef_construction)
            self._scanner.make_room(capacity)
        except (RuntimeError, MemoryError) as error:
            raise StorageError(f"no memory for an index of {capacity} vectors; free some, or add less") from error
        self._start_graph(self._graph)

    @property
    def wants_huge_pages(self) -> bool:
        """Whether searches would be faster after `make_huge_pages`."""
        return self._pages.are_wanting

    def make_huge_pages(self, stop: Callable[[], bool]) -> None:
        """Give a loaded graph huge pages of memory, in steps of 30 ms beside searches, until `stop()`."""
        self._pages.make(stop)

    def _bytes(self, vectors: int) -> int:
        return 4 * vectors * (self._dimension + 2 * self.M)

    def _start_graph(self, graph: hnswlib.Index) -> None:
        self._graph = graph
        self._graph_ef = self.ef  # what hnswlib is set to; searches only lower it, see _fetch_size
        self._fails_from = math.inf  # results that hnswlib could not find lately
        graph.set_ef(self.ef)

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    @property
    def metric(self) -> Metric:
        """cosine, l2 or ip."""
        return self._metric

    @property
    def nodes(self) -> int:
        """Number of vectors in the graph, removed ones included."""
        return len(self._labels.known)

    @property
    def deleted(self) -> int:
        """Number of removed vectors that are still in the graph."""
        return self.nodes - len(self._labels)

    @property
    def tombstone_ratio(self) -> float:
        """Share of the graph that is removed, 0 to 1."""
        return self.deleted / max(self.nodes, 1)

    def __len__(self) -> int:
        return len(self._labels)

    # --- changing -------------------------------------------------------------------------------

    def add(self, labels: Labels, vectors: Vector, *, threads: int | None = None) -> None:
        """Add vectors (n, dimension) under labels (n,) that were never in the index.

        Args:
            labels, vectors: as in the protocol.
            threads: for this call; default: as given to the constructor.

        Raises:
            InvalidInputError: a label is known, also if it was removed; hnswlib would overwrite its vector.
            StorageError: no memory. If it ran out while linking, the index is not usable any more.
        """
        vectors = as_vectors(vectors, self._dimension)
        labels = as_new_labels(labels, len(vectors))
        if not len(labels):
            return
        with self._lock.write():
            self._check_usable()
            _, known = contains(self._labels.known, labels)
            if known.any():
                raise InvalidInputError(
                    f"label {labels[known][0]} is, or was, in the index already; give the vector a new label"
                )
            self._make_room(len(labels))
            try:
                self._graph.add_items(vectors, labels, num_threads=threads or self._threads)
                self._scanner.append(vectors)
                self._labels.add(labels)
            except BaseException as error:  # also an interrupt: some of the batch may be in the graph, half linked
                self._broken = f"adding {len(labels)} vectors failed ({error or type(error).__name__})"
                if isinstance(error, RuntimeError | MemoryError):
                    raise StorageError(f"{self._broken}; build the index anew") from error
                raise
            self._fails_from = math.inf

    def _make_room(self, count: int) -> None:
        needed = self.nodes + count
        capacity = self._graph.get_max_elements()
        if needed > capacity:
            larger = max(needed, int(capacity * _GROWTH), _SMALLEST_CAPACITY)
            try:
                with self._pages.asked_for(self._bytes(larger)):
                    self._graph.resize_index(larger)
                self._scanner.make_room(larger)
            except (RuntimeError, MemoryError) as error:
                self._broken = f"growing to {needed} vectors failed ({error})"
                raise StorageError(f"{self._broken}; free memory and build the index anew") from error

    def remove(self, labels: Labels) -> None:
        """Mark labels removed; unknown and removed ones are ignored."""
        wanted = as_labels(labels)
        with self._lock.write():
            self._check_usable()
            try:
                for label in self._labels.remove(wanted).tolist():
                    self._graph.mark_deleted(label)
            except BaseException as error:  # an interrupt, mostly
                self._broken = f"removing {len(wanted)} vectors failed ({error or type(error).__name__})"
                raise

    def _check_usable(self) -> None:
        if self._broken:
            raise StorageError(f"the index is not usable since {self._broken}; build it anew")

    # --- searching ------------------------------------------------------------------------------

    def search(
        self, queries: Vector, k: int, *, allowed: Allowed | None = None, ef: int | None = None
    ) -> tuple[Labels, Distances]:
        """The nearest vectors of each query, approximately, always min(k, number that can match).

        With `allowed`: few are scanned exactly; else more results are taken from the graph, and more
        again until enough of them are allowed, as long as that is cheaper than the scan.
        Distances are float32 sums of hnswlib (or exact where it scanned), never below 0 for cosine and l2.

        Raises:
            InvalidInputError, DimensionMismatchError, NonFiniteVectorError: the arguments.
        """
        queries = check_queries(queries, self._dimension)
        k = check_k(k)
        if ef is None:
            ef = self.ef
        else:
            check_range("ef", ef, *_EF_RANGE)
            if ef < self._graph_ef:
                self._lower_ef(ef)
        with self._lock.read():
            if self._broken:
                self._check_usable()
            if allowed is None:
                k = min(k, len(self._labels))
                return self._from_graph(queries, k, ef) if k else no_neighbours(len(queries))
            ways = Ways(self._labels, self._scan, self._from_graph, self._gather, self._scanner.has_codes)
            return self._among.search(ways, queries, k, ef=ef, allowed=as_allowed(allowed))

    def search_exactly(self, queries: Vector, k: int, *, allowed: Allowed | None = None) -> tuple[Labels, Distances]:
        """Like `search`, but every (allowed) vector is compared; arguments and errors as there."""
        queries = check_queries(queries, self._dimension)
        k = check_k(k)
        with self._lock.read():
            self._check_usable()
            labels = self._labels.live
            if allowed is not None:
                labels = self._labels.live_among(as_allowed(allowed))
            return self._scan(queries, min(k, len(labels)), labels) if len(labels) else no_neighbours(len(queries))

    def scans(self, allowed: int, k: int, ef: int | None = None) -> bool:
        """Whether a search with so many allowed labels compares each of them, and does not ask the graph."""
        return self._among.scans(len(self), allowed, k, ef or self.ef)

    def estimates(self, allowed: int, k: int, ef: int | None = None) -> tuple[float, float]:
        """Seconds that a search of one query among so many labels takes by comparing them, and by the graph."""
        return self._among.estimates(len(self), allowed, k, ef or self.ef)

    def use_ef(self, ef: int) -> None:
        """Make this the `ef` of searches that do not say their own."""
        check_range("ef", ef, *_EF_RANGE)
        with self._lock.write():
            self.ef = self._graph_ef = ef
            self._graph.set_ef(ef)

    def _lower_ef(self, ef: int) -> None:
        with self._lock.write():
            if ef < self._graph_ef:
                self._graph.set_ef(ef)
                self._graph_ef = ef

    def _fetch_size(self, k: int, ef: int) -> int:
        """How many results to ask of hnswlib so that its candidate list has at least `ef` places.

        Its `ef` is one setting for all threads, but the list is never shorter than the results asked
        for: a search that wants a longer one asks for more results, and no thread disturbs another.
        """
        if ef <= self._graph_ef:
            return k
        if ef >= self._fails_from:
            ef = int(self._fails_from) // 2
        return max(k, min(ef, len(self._labels)))

    def _from_graph(self, queries: Vector, k: int, ef: int) -> tuple[Labels, Distances]:
        """Needs 1 <= k <= live vectors."""
        fetch = self._fetch_size(k, ef)
        rows = len(queries)
        # hnswlib fails if it reaches fewer results than asked for, and then leaks the room for all of
        # them: batches are cut, and go one by one where that is likely.
        step = 1 if 2 * fetch > len(self._labels) else max(1, _BATCH_RESULTS // fetch)
        if rows > step:
            parts = [self._from_graph(queries[start : start + step], k, ef) for start in range(0, rows, step)]
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        if not rows:
            return no_neighbours(0, k)
        if fetch >= self._fails_from:
            return self._scan(queries, k, self._labels.live)
        try:
            found, distances = self._graph.knn_query(queries, k=fetch, num_threads=1 if rows == 1 else self._threads)
        except RuntimeError:  # a larger ef would not help: it visits all it can reach before it gives up
            self._fails_from = min(self._fails_from, fetch)
            return self._scan(queries, k, self._labels.live)
        labels: Labels = found.view(np.int64)
        if fetch > k:
            labels, distances = labels[:, :k].copy(), distances[:, :k].copy()
        if self._metric == "cosine" and (distances[0, 0] if rows == 1 else distances[:, 0].min()) < 0:  # rows ascend
            np.maximum(distances, 0.0, out=distances)
        if has_ties(distances):
            labels, distances = merge_nearest([(labels, distances), no_neighbours(rows)], k)
        return labels, distances

    def _scan(self, queries: Vector, k: int, labels: Labels) -> tuple[Labels, Distances]:
        """Exact search among live labels."""
        return self._scanner.scan(queries, k, labels, known=self._labels, fetch=self._gather)

    # --- looking in -----------------------------------------------------------------------------

    def labels(self) -> Labels:
        """All labels, ascending; not writeable."""
        with self._lock.read():
            return self._labels.live

    def vectors(self, labels: Labels) -> Vector:
        """A copy of the vectors (n, dimension) of labels, in their order; NotFoundError if one is not known.

        Slow (about 15 µs each at dimension 384): hnswlib goes through Python lists.
        """
        wanted = as_labels(labels)
        with self._lock.read():
            _, known = contains(self._labels.live, wanted)
            if not known.all():
                raise NotFoundError(f"label {wanted[~known][0]} is not in the index; ask for those in labels()")
            return self._gather(wanted)

    def _gather(self, labels: Labels) -> Vector:
        rows = np.empty((len(labels), self._dimension), np.float32)
        for start in range(0, len(labels), _GATHERED_ROWS):
            some = slice(start, start + _GATHERED_ROWS)
            rows[some] = self._graph.get_items(labels[some])
        return rows

    # --- files ----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the index to a new file and wait until it is on the disk. See `write_graph` for the errors."""

        def save(name: bytes) -> int:
            with self._lock.read():  # not while waiting for the disk: a writer that waits holds up searches
                self._check_usable()
                self._graph.save_index(name)
                return int(self._graph.index_file_size())

        write_graph(path, save)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        dimension: int,
        metric: Metric,
        M: int = DEFAULT_M,
        ef_construction: int = DEFAULT_EF_CONSTRUCTION,
        ef: int = DEFAULT_EF,
        count: int | None = None,
        sha256: str | None = None,
        threads: int = 1,
    ) -> HnswIndex:
        """Read what `save` wrote, after checking every number in it that could lead hnswlib astray.

        A flipped bit in a vector or a label can pass, unless there is a checksum to compare. The file stays open until
        the first scan of many vectors.

        Args:
            path: the file; nothing may write to it meanwhile.
            dimension, metric, M, ef_construction: as the index was built.
            ef, threads: as in the constructor.
            count: `nodes` of the saved index; None is not compared.
            sha256: of the file, hexadecimal; None is not compared.

        Raises:
            StorageError: the file cannot be read, is damaged, or is of another index.
        """
        index = cls(dimension, metric, M=M, ef_construction=ef_construction, ef=ef, threads=threads, capacity=1)
        source = GraphSource(path, dimension=dimension, M=M)
        file = source.check(ef_construction=index.ef_construction, count=count, unit_length=metric == "cosine")
        # hnswlib leaves a dangling pointer if loading into a used object fails; this one is new, and is
        # dropped with the error.
        graph = hnswlib.Index(space=_SPACES[metric], dim=dimension)
        try:
            with source.hashing(sha256):
                if source.count:
                    capacity = int(source.count * 1.1) + _SMALLEST_CAPACITY
                    with index._pages.asked_for(index._bytes(capacity), filled=index._bytes(source.count)):
                        graph.load_index(os.fsencode(path), max_elements=capacity)
        except (RuntimeError, MemoryError) as error:
            raise StorageError(f"the index file {path} could not be loaded ({error}); rebuild the index") from error
        if not source.count:
            return index
        index._scanner = Scanner(dimension, metric, source)
        index._labels = LabelSet(file.labels, ~file.deleted)
        index._start_graph(graph)
        return index
