"""A collection: records go in, are embedded, indexed and found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from typing import Any, Literal

from vecdb.batches import batches_of
from vecdb.builder import IndexBuilder
from vecdb.definition import DEFAULT_SPACE
from vecdb.drafts import as_list, make_drafts
from vecdb.errors import InvalidInputError, NotFoundError, RecordNotFoundError, shown
from vecdb.ingesting import store_batches
from vecdb.searching import CollectionMemory, SearchRequest, explain, query_vectors, search
from vecdb.space import Space
from vecdb.storage.contents import check_id, encode_metadata
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.failures import drop_failures, read_failures
from vecdb.storage.filters import Filter
from vecdb.storage.records import StoredRecord, contains, count, get_records, newest_key, read_page
from vecdb.storage.spaces import check_collection
from vecdb.storage.vector_rows import count_vectors
from vecdb.storage.writes import delete_records, existing_records, find_keys, update_metadata
from vecdb.types import Failure, Hit, IngestReport, Metadata, Progress, Record, SearchPlan, SpaceInfo
from vecdb.writing import Conflict, Writer, Written, check_conflict

INGEST_BATCH = 1000


class Collection:
    """A named set of records, from `Database.create_collection` or `Database.collection`.

    Safe to use from several threads. All methods raise `DatabaseClosedError` after the database is
    closed and `CollectionNotFoundError` after the collection is deleted.
    """

    def __init__(  # noqa: PLR0917  (made by `Database` alone)
        self,
        engine: DatabaseEngine,
        builder: IndexBuilder,
        name: str,
        key: int,
        spaces: Sequence[Space],
        filter_fields: Sequence[str],
    ) -> None:
        self._engine = engine
        self._builder = builder
        self._name = name
        self._key = key
        self._spaces = {space.row.name: space for space in spaces}
        self._memory = CollectionMemory(engine, key, filter_fields)
        self._filter_fields = tuple(filter_fields)

    def __repr__(self) -> str:
        return f"<vecdb.Collection {self._name!r} in {self._engine.folder}>"

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @property
    def filter_fields(self) -> tuple[str, ...]:
        """The fields of the metadata that were declared for filters at creation."""
        return self._filter_fields

    @property
    def spaces(self) -> Mapping[str, SpaceInfo]:
        """What is remembered of each space, by name; `default` first."""
        with self._snapshot() as snapshot:
            counted = {name: count_vectors(snapshot, space.row.id) for name, space in self._spaces.items()}
        return {
            name: SpaceInfo(
                name=name,
                source=space.row.source,
                embedder=space.row.embedder,
                options=space.row.options,
                fingerprint=space.row.fingerprint,
                dimension=space.row.dimension,
                metric=space.row.metric,
                index=space.row.index_kind,
                index_options=space.row.index_options,
                vectors=counted[name],
            )
            for name, space in self._spaces.items()
        }

    # --- putting records in ---

    def add(
        self,
        contents: Sequence[Any],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata | None] | None = None,
        vectors: Any = None,
        on_conflict: Conflict = "error",
        copy: bool = False,
    ) -> list[str]:
        """Add records, all or nothing. When this returns they are durable, and every search finds them.

        Where vectors have come faster than the graph grows for so long that 384 MiB of them wait, it helps building.

        Args:
            contents: text, `Path`, `Image`, `Audio`, dicts of named fields of these, or None where a
                vector is brought.
            ids: one for each content; made (UUID) when absent.
            metadata: one JSON object for each content.
            vectors: for spaces without an embedder: an array (n, dimension) for the space `default`, or
                a dict of space name to array. For the metric cosine they are stored with length 1.
            on_conflict: what to do with an id that is stored: "error", "skip" or "replace".
            copy: store what files hold in the database, instead of their path, size and SHA-256.

        Returns:
            The ids, in the order of the contents.

        Raises:
            InvalidInputError: (or one of its kinds) something given is wrong.
            DuplicateIdError: an id is stored already, or stands twice in the call.
            EmbeddingError: some contents cannot be embedded.
            StorageError: it cannot be written. Nothing of the call is stored in any of these cases.
        """
        check_conflict(on_conflict)
        listed = as_list(contents)
        drafts = make_drafts(self._all_spaces, listed, ids, metadata, vectors, copy=copy)
        self._writer(on_conflict).write(drafts)
        self._keep_up(len(drafts))
        return [draft.id for draft in drafts]

    def upsert(
        self,
        contents: Sequence[Any],
        *,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Metadata | None] | None = None,
        vectors: Any = None,
        copy: bool = False,
    ) -> list[str]:
        """Add records, replacing stored ones with the same id; arguments and errors as in `add`.

        A record that is unchanged is neither embedded nor written; one whose metadata alone changed
        is not embedded.
        """
        return self.add(
            contents, ids=ids, metadata=metadata, vectors=vectors, on_conflict="replace", copy=copy
        )

    def ingest(
        self,
        records: Iterable[Record],
        *,
        batch_size: int | None = None,
        on_error: Literal["raise", "quarantine"] = "raise",
        progress: Progress | None = None,
        copy: bool = False,
    ) -> IngestReport:
        """Upsert any number of records, streamed, batch after batch durable, each in one transaction.

        While a batch is embedded (on another thread) the next one is read, on the thread of the caller, and the one
        before it is stored: when a record is read, all batches before it are durable but the last one. Interrupted, it
        is resumed by giving the same records again: what is stored is left alone.

        Args:
            records: any iterable of `Record`; read once, one batch ahead of the one that is embedded.
            batch_size: records for each transaction; default 1000.
            on_error: "raise" ends at the first batch with a bad record, none of which is stored;
                "quarantine" sets bad records aside with their error (see `failures`), the rest goes in.
            progress: called after each batch as `progress(records durable, total or None)`.
            copy: as in `add`.

        Raises:
            InvalidInputError, EmbeddingError, StorageError: as in `add`; earlier batches stay. What the iterable
                raises passes, after the full batches before it.
        """
        if on_error not in ("raise", "quarantine"):
            raise InvalidInputError(f"on_error must be 'raise' or 'quarantine', not {shown(on_error)}")
        size = INGEST_BATCH if batch_size is None else batch_size
        if type(size) is not int or size < 1:
            raise InvalidInputError(f"batch_size must be a positive integer, not {shown(batch_size)}; 1000 is usual")
        total = len(records) if isinstance(records, Sized) else None
        quarantine = on_error == "quarantine"
        begin, report = time.perf_counter(), Written()
        batches = batches_of(self._all_spaces, records, size, quarantine=quarantine, copy=copy)
        with closing(store_batches(self._writer("replace", quarantine=quarantine), batches)) as stored:
            for written in stored:
                self._keep_up(written.total)
                report += written
                if progress is not None:
                    progress(report.total, total)
        return IngestReport(
            report.added,
            report.updated,
            report.unchanged,
            report.failed,
            report.contents.embedded,
            report.contents.cached,
            report.contents.truncated,
            time.perf_counter() - begin,
        )

    def _writer(self, on_conflict: Conflict, *, quarantine: bool = False) -> Writer:
        return Writer(self._engine, self._key, self._all_spaces, on_conflict, quarantine)

    def _keep_up(self, written: int) -> None:
        """After so many records were written: the graphs may need building, and help with it."""
        try:
            for space in self._all_spaces:
                space.index.keep_up(written)
        finally:
            self._notify()

    def _notify(self) -> None:
        for space in self._all_spaces:
            self._builder.notify(space.index)

    def failures(self) -> list[Failure]:
        """The records that `ingest(on_error="quarantine")` set aside, oldest first."""
        with self._snapshot() as snapshot:
            return read_failures(snapshot, self._key)

    def retry_failures(self, *, progress: Progress | None = None) -> IngestReport:
        """Try the quarantined records again; those that go in now leave the quarantine."""
        again = [
            Record(failure.id, failure.content, failure.metadata) for failure in self.failures() if failure.retryable
        ]
        return self.ingest(again, on_error="quarantine", progress=progress)

    # --- changing and removing ---

    def update_metadata(self, id: str, metadata: Metadata) -> None:
        """Replace the metadata of one record; nothing is embedded.

        Raises:
            RecordNotFoundError: no record has this id.
            InvalidInputError: the metadata is not a JSON object.
        """
        check_id(id)
        text = encode_metadata(metadata)
        with self._engine.transaction() as transaction:
            check_collection(transaction, self._key)
            existing = existing_records(transaction, self._key, [id], with_vectors=False)
            if id not in existing:
                raise RecordNotFoundError(f"collection {self._name!r} has no record {id!r:.60}; check the id", name=id)
            update_metadata(transaction, [(existing[id].key, text)])

    def delete(self, ids: Sequence[str] | None = None, where: Mapping[str, Any] | None = None) -> int:
        """Delete the records with these ids, or matching this filter, or both; the number deleted.

        Given ids alone, what `ingest` set aside under them is forgotten, too.

        Raises:
            InvalidInputError: neither is given (`where={}` means all records), or an id is not a string.
            FilterError: the filter is malformed.
        """
        if ids is None and where is None:
            raise InvalidInputError("delete needs ids= or where=; where={} deletes all records")
        wanted = None if ids is None else _check_ids(ids)
        narrowed = None if where is None else Filter(where)
        with self._engine.transaction() as transaction:
            check_collection(transaction, self._key)
            keys = find_keys(transaction, self._key, wanted, narrowed)
            delete_records(transaction, keys)
            if wanted is not None and narrowed is None:
                drop_failures(transaction, self._key, wanted)
        self._notify()
        return len(keys)

    # --- reading ---

    def get(self, ids: Sequence[str]) -> list[Record]:
        """The records with these ids, in this order, with their vectors; missing ones are skipped."""
        wanted = _check_ids(ids)
        with self._snapshot() as snapshot:
            found = get_records(snapshot, self._key, wanted)
        return [self._record(found[id]) for id in wanted if id in found]

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Number of records, or of those that match the filter."""
        narrowed = Filter(where) if where is not None else None
        with self._snapshot() as snapshot:
            return count(snapshot, self._key, narrowed)

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, id: object) -> bool:
        try:
            wanted = check_id(id)
        except InvalidInputError:
            return False
        with self._snapshot() as snapshot:
            return contains(snapshot, self._key, wanted)

    def __iter__(self) -> Iterator[Record]:
        """All records in insertion order, a page at a time; writing meanwhile is allowed.

        What is added after the beginning is not shown, so that it ends, and shows no id twice.
        """
        after: int | None = 0
        until = None
        while after is not None:
            with self._snapshot() as snapshot:
                until = newest_key(snapshot) if until is None else until
                page, after = read_page(snapshot, self._key, after, until)
            for stored in page:
                yield self._record(stored)

    def _record(self, stored: StoredRecord) -> Record:
        names = {space.row.id: name for name, space in self._spaces.items()}
        vectors = {names[space_id]: vector for space_id, vector in stored.vectors.items() if space_id in names}
        only_default = set(self._spaces) == {DEFAULT_SPACE}
        return Record(
            stored.id,
            stored.content,
            stored.metadata,
            vectors.get(DEFAULT_SPACE) if only_default else vectors,
            tuple(name for space_id, name in names.items() if space_id in stored.truncated),
        )

    # --- searching ---

    def search(
        self,
        query: Any,
        *,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        space: str = DEFAULT_SPACE,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The nearest records: always min(k, matching), sorted by distance, ties by insertion order.

        Args:
            query: a content of a kind that the space's embedder takes, or a vector (dimension,).
            k: hits wanted.
            where: a filter on the metadata (see the README).
            space: where to search.
            ef: size of the candidate list of the HNSW graph: larger is more exact and slower.
            exact: compare with every (matching) vector.

        Raises:
            InvalidInputError: (or one of its kinds) a wrong argument.
            EmbeddingError: the query cannot be embedded.
        """
        return self.search_batch([query], k=k, where=where, space=space, ef=ef, exact=exact)[0]

    def search_batch(
        self,
        queries: Sequence[Any],
        *,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        space: str = DEFAULT_SPACE,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """`search` for several queries (contents or vectors) at once; one list of hits for each."""
        request = SearchRequest.check(self._space(space), k=k, where=where, ef=ef, exact=exact)
        if not len(asked := as_list(queries, what="queries")):
            return []
        found = search(self._memory, request, query_vectors(request.space, asked))
        if request.space.index.wants_building():
            self._builder.notify(request.space.index)
        return found

    def explain(
        self,
        query: Any,
        *,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        space: str = DEFAULT_SPACE,
        ef: int | None = None,
        exact: bool = False,
    ) -> SearchPlan:
        """How `search` with these arguments is done and why, with counts and times. It does the search."""
        request = SearchRequest.check(self._space(space), k=k, where=where, ef=ef, exact=exact)
        return explain(self._memory, request, query)

    # --- the index ---

    def optimize(self, *, progress: Progress | None = None) -> None:
        """Wait until every vector that belongs into a graph is there, and the graph is saved.

        Never needed for right answers: what is not in the graph yet is searched exactly.
        """
        for space in self._all_spaces:
            space.index.complete(progress)

    def reindex(self, *, progress: Progress | None = None) -> None:
        """Build the indexes anew from the rows: removes what deleted records left in them."""
        for space in self._all_spaces:
            space.index.rebuild(progress)

    @contextmanager
    def _snapshot(self) -> Iterator[Snapshot]:
        """A moment of the database in which the collection is there."""
        with self._engine.snapshot() as snapshot:
            check_collection(snapshot, self._key)
            yield snapshot

    def _reset_after_fork(self) -> None:
        """In a forked child."""
        self._memory.reset_after_fork()

    @property
    def _all_spaces(self) -> list[Space]:
        return list(self._spaces.values())

    def _space(self, name: str) -> Space:
        if not isinstance(name, str) or name not in self._spaces:
            known = ", ".join(map(repr, self._spaces))
            raise NotFoundError(
                f"collection {self._name!r} has no space {shown(name)}; it has {known}",
                name=name if isinstance(name, str) else "",
            )
        return self._spaces[name]


def _check_ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str | bytes):
        raise InvalidInputError("ids must be a list of strings, not one string; put it into [ ]")
    return [check_id(id, index) for index, id in enumerate(ids)]
