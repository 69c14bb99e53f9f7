"""The search path: query to vector, filter to labels, nearest labels, rows to hits; all in one snapshot."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.current import Moment
from vecdb.errors import EmbeddingError, InvalidInputError, VecdbWarning, shown
from vecdb.filtering import Admitted, CollectionColumns
from vecdb.index.labels import distinct
from vecdb.index.scan import Found
from vecdb.planner import nearest_labels, plan_search
from vecdb.space import Space
from vecdb.storage.contents import decode_content
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.filters import Filter
from vecdb.storage.recent_records import RecentRecords, own_metadata
from vecdb.storage.records import HitRow, blob_reader, read_hits
from vecdb.storage.stored_values import as_text
from vecdb.types import FilteredBy, Hit, Labels, Metric, SearchPlan, Vector
from vecdb.vectors import score

_MOST_NUMBERS = 2**31
ReadBlob = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search in one space; checked by `check`."""

    space: Space
    k: int
    where: Filter | None
    ef: int | None
    exact: bool

    @classmethod
    def check(cls, space: Space, *, k: Any, where: Any, ef: Any, exact: Any) -> SearchRequest:
        """Refuse wrong arguments before any work."""
        for name, value in (("k", k), ("ef", ef)):
            if value is None and name == "ef":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value < _MOST_NUMBERS:
                raise InvalidInputError(f"{name} must be a positive integer, not {shown(value)}; 10 is usual")
        if not isinstance(exact, bool):
            raise InvalidInputError(f"exact must be True or False, not {shown(exact)}")
        everything = where is None or (isinstance(where, Mapping) and not where)
        return cls(space, int(k), None if everything else Filter(where), ef, exact)


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent in each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens inside to `name`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


# --- queries ------------------------------------------------------------------------------------


def query_vectors(space: Space, queries: Sequence[Any]) -> Vector:
    """Each query as a vector (n, dimension): contents are embedded together, vectors are checked.

    Raises:
        UnsupportedContentError: a content of a kind that the space's embedder does not take.
        EmbeddingError: a content that cannot be embedded.
    """
    if len(queries) == 1 and isinstance(queries[0], np.ndarray):
        return space.one_as_stored(queries[0], what="the query")[None, :]
    found = np.empty((len(queries), space.row.dimension), np.float32)
    contents: dict[int, Any] = {}
    for position, query in enumerate(queries):
        if isinstance(query, np.ndarray | list | tuple):
            found[position] = space.one_as_stored(query, what="the query" if len(queries) == 1 else f"query {position}")
        else:
            contents[position] = query
    if contents:
        if not space.embeds:
            raise InvalidInputError(f"{space.what} has no embedder, so a query must be a vector; embed it yourself")
        for position, query in contents.items():
            space.host().check_content(query, what="the query" if len(queries) == 1 else f"query {position}")
        result = space.embed(list(contents.values()), "query")
        if result.errors:
            first = result.errors[0]
            raise EmbeddingError(f"the query cannot be embedded: {first}", errors=result.errors)
        if result.truncated:
            warnings.warn(
                f"{'the query is' if len(queries) == 1 else f'{len(result.truncated)} queries are'} longer than the "
                f"embedder {space.row.embedder!r} takes: only the beginning was used",
                VecdbWarning,
                stacklevel=2,
            )
        found[list(contents)] = result.vectors
    return found


# --- searching ----------------------------------------------------------------------------------


class CollectionMemory:
    """What searches remember of one collection's records. Safe to use from several threads."""

    def __init__(self, engine: DatabaseEngine, collection_id: int, filter_fields: Sequence[str]) -> None:
        self.columns = CollectionColumns(engine, collection_id, filter_fields)
        self.recent = RecentRecords(collection_id)

    def reset_after_fork(self) -> None:
        """In a forked child: what the parent's threads did with the columns there is not known."""
        self.columns.reset_after_fork()


def search(memory: CollectionMemory, request: SearchRequest, vectors: Vector) -> list[list[Hit]]:
    """The hits of each query vector: always min(k, matching), by distance, ties by insertion order."""
    found = _search_in_memory(memory, request, vectors)
    if found is not None:
        return found
    with request.space.index.current() as moment:
        admitted = _admitted(moment, memory, request)
        labels, distances = _nearest(request, vectors, admitted)
        rows = _rows(moment, memory, request, admitted, labels)
        return _hits(moment.snapshot, request, labels, distances, rows)


def _search_in_memory(memory: CollectionMemory, request: SearchRequest, vectors: Vector) -> list[list[Hit]] | None:
    """The same, where the index is current and the filter's answer is known. None where they are not.

    Where all hits are known, too, the database is asked a single question: whether anything changed.
    """
    index, where = request.space.index, request.where
    with index.unchanged() as version:
        if version is None:
            return None
        admitted = None if where is None else memory.columns.answered(request.space.row.id, where, version)
        if where is not None and admitted is None:
            return None
        labels, distances = _nearest(request, vectors, admitted)
        rows = memory.recent.kept(_each_once(labels), version)
        if rows is not None:
            return _hits(None, request, labels, distances, _matching(rows, admitted))
        with index.snapshot() as snapshot:
            if index.records_version(snapshot) != version:
                return None
            rows = _rows(Moment(snapshot, version), memory, request, admitted, labels)
            return _hits(snapshot, request, labels, distances, rows)


def explain(memory: CollectionMemory, request: SearchRequest, query: Any) -> SearchPlan:
    """Do the search of one query, and say how it was done."""
    watch = Stopwatch()
    with watch.step("embed"):
        vectors = query_vectors(request.space, [query])
    with request.space.index.current() as moment:
        with watch.step("filter"):
            admitted = _admitted(moment, memory, request)
        plan = plan_search(
            request.space.index.parts,
            request.k,
            allowed=None if admitted is None else len(admitted.labels),
            ef=request.ef,
            exact=request.exact,
        )
        with watch.step("search"):
            labels, distances = _nearest(request, vectors, admitted)
        with watch.step("fetch"):
            rows = _rows(moment, memory, request, admitted, labels)
            hits = _hits(moment.snapshot, request, labels, distances, rows)
    filtered_by: FilteredBy | None = None
    if admitted is not None:
        filtered_by = "sql" if admitted.matching is None else "columns"
    return dataclasses.replace(plan, hits=len(hits[0]), seconds=watch.seconds, filtered_by=filtered_by)


def _admitted(moment: Moment, memory: CollectionMemory, request: SearchRequest) -> Admitted | None:
    if request.where is None:
        return None
    return memory.columns.admitted(moment.snapshot, request.space.row.id, request.where, moment.records)


def _nearest(request: SearchRequest, vectors: Vector, admitted: Admitted | None) -> Found:
    parts, allowed = request.space.index.parts, None if admitted is None else admitted.labels
    if not parts.all or (allowed is not None and not len(allowed)):
        return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)
    return nearest_labels(parts, vectors, request.k, allowed=allowed, ef=request.ef, exact=request.exact)


def _rows(
    moment: Moment,
    memory: CollectionMemory,
    request: SearchRequest,
    admitted: Admitted | None,
    labels: Labels,
) -> list[HitRow]:
    """The (matching) records that have these vectors: one vector may belong to several."""
    wanted = _each_once(labels)
    if admitted is not None and admitted.matching is None:
        return read_hits(moment.snapshot, wanted, request.where)[0]
    return _matching(memory.recent.with_labels(moment.snapshot, wanted, moment.records), admitted)


def _each_once(labels: Labels) -> list[int]:
    found: list[int] = (labels[0] if len(labels) == 1 else distinct(labels.ravel())).tolist()
    return found


def _matching(rows: list[HitRow], admitted: Admitted | None) -> list[HitRow]:
    if admitted is None or admitted.matching is None or not admitted.are_shared:
        return rows
    matching = admitted.matching.among(np.array([row[1] for row in rows], np.int64))
    return [row for row, matches in zip(rows, matching.tolist(), strict=True) if matches]


def _hits(
    snapshot: Snapshot | None,
    request: SearchRequest,
    labels: Labels,
    distances: NDArray[np.float32],
    rows: list[HitRow],
) -> list[list[Hit]]:
    """The hits of each query: of its labels (q, any number) and their distances, the first k.

    Without a snapshot, the contents of the rows must be text, or nothing.
    """
    k, metric = request.k, request.space.row.metric
    read_blob = None if snapshot is None else blob_reader(snapshot)
    lengths = [dict(zip(*pair, strict=True)) for pair in zip(labels.tolist(), distances.tolist(), strict=True)]
    if len(lengths) == 1:
        return [_ranked(read_blob, metric, k, lengths[0], rows)]
    by_label: dict[int, list[HitRow]] = {}
    for row in rows:
        by_label.setdefault(row[0], []).append(row)
    return [
        _ranked(read_blob, metric, k, mine, [row for label in mine for row in by_label.get(label, ())])
        for mine in lengths
    ]


def _ranked(
    read_blob: ReadBlob | None, metric: Metric, k: int, distances: dict[int, float], rows: list[HitRow]
) -> list[Hit]:
    """The first k rows by (distance, key) as hits; `distances` by label."""
    ranked = sorted([(distances[row[0]], *row[1:]) for row in rows])[:k]
    return [
        Hit(
            id if type(id) is str else as_text(id, what=f"the id of record {key}"),
            distance,
            score(metric, distance),
            content if read_blob is None else decode_content(kind, content, read_blob, key),
            own_metadata(metadata, key),
        )
        for distance, key, id, kind, content, metadata in ranked
    ]
