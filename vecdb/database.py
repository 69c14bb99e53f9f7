"""A database: collections in one folder, and `open`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vecdb.builder import IndexBuilder
from vecdb.collection import Collection
from vecdb.definition import SpaceDefinition, declared_fields, define
from vecdb.embedder import EmbedderRef, is_timeout
from vecdb.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptDatabaseError,
    DatabaseClosedError,
    InvalidInputError,
    ReadOnlyError,
    StorageError,
    shown,
)
from vecdb.index_files import remove_leftovers, remove_stray_files
from vecdb.plugins import Plugins
from vecdb.repair import check_database
from vecdb.space import Space
from vecdb.storage import schema
from vecdb.storage.backup import backup
from vecdb.storage.connections import Durability
from vecdb.storage.engine import DatabaseEngine
from vecdb.storage.filter_fields import read_filter_fields
from vecdb.storage.spaces import (
    collection_id,
    collection_names,
    create_collection,
    delete_collection,
    read_spaces,
    update_space,
)
from vecdb.storage.vacuum import copies_before_upgrades, size_of, vacuum_rows
from vecdb.types import CheckReport, IndexKind, Metric, Progress, VacuumReport

DEFAULT_TIMEOUT = 30.0


def open(
    path: str | os.PathLike[str],
    *,
    read_only: bool = False,
    plugins: Plugins | None = None,
    durability: Durability = "full",
    timeout: float = DEFAULT_TIMEOUT,
    embed_timeout: float | None = None,
) -> Database:
    """Open the database in the folder `path`, making it if there is none.

    Args:
        path: the folder, by custom `NAME.vecdb`.
        read_only: never write; the folder may be read-only then.
        plugins: where embedders come from; default: all installed plugins.
        durability: "full": what was acknowledged survives a power loss. "normal": a power loss may
            take the last moments, never more, and nothing is lost when only the process dies; faster.
        timeout: seconds to wait for another writer.
        embed_timeout: seconds that an embedder may take to load, to prepare one content or to embed one
            batch, before it counts as hanging: `EmbedderTimeoutError`, or a bad item where one content is to
            blame. It protects from what never comes back, so make it many times what the slowest takes.
            Default: what each embedder says, by most any time; `math.inf`: any time.

    Raises:
        InvalidInputError: the path is a file, or a folder with other things in it; or a wrong option.
        NotFoundError: there is no database, and `read_only` forbids making one.
        ReadOnlyError: the place cannot be written.
        CorruptDatabaseError: what is there is not a vecdb database.
        SchemaVersionError: it was made by an older or newer vecdb; the message tells what to do.
    """
    if durability not in ("full", "normal"):
        raise InvalidInputError(f"durability must be 'full' or 'normal', not {shown(durability)}")
    folder = _path(path)
    _check_timeout(timeout)
    if embed_timeout is not None and not is_timeout(embed_timeout):
        raise InvalidInputError(f"embed_timeout must be a positive number of seconds, not {shown(embed_timeout)}")
    engine = schema.open_engine(folder, read_only=read_only, durability=durability, timeout=timeout)
    if not read_only:
        remove_leftovers(engine)
    return Database(engine, plugins if plugins is not None else Plugins(), embed_timeout=embed_timeout)


def upgrade(path: str | os.PathLike[str], *, timeout: float = DEFAULT_TIMEOUT) -> Path | None:
    """Bring a database of an older schema to this vecdb's, after a copy of its file.

    Returns:
        The path of that copy, or None where the schema was current.

    Raises:
        SchemaVersionError: the database is newer than this vecdb.
        StorageError: it failed; the database is as it was.
    """
    _check_timeout(timeout)
    return schema.upgrade(_path(path), timeout=timeout)


def _path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise InvalidInputError(f"a database is named by the path of its folder, not {shown(path)}; give a path")
    return Path(path).absolute()


def _check_timeout(timeout: float) -> None:
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 <= timeout <= threading.TIMEOUT_MAX:
        raise InvalidInputError(f"timeout must be a number of seconds, not {shown(timeout)}; 30 is usual")


class Database:
    """An open database; use `vecdb.open`. A context manager; safe to use from several threads.

    After a fork, the child may go on using it: it opens connections and indexes of its own. Only a child
    that is forked in the middle of a call (from the progress of a backup) cannot.
    """

    def __init__(self, engine: DatabaseEngine, plugins: Plugins, *, embed_timeout: float | None = None) -> None:
        self._engine = engine
        self._plugins = plugins
        self._embed_timeout = embed_timeout
        self._lock = threading.Lock()
        self._builder = IndexBuilder()
        self._collections: dict[str, Collection] = {}
        self._open_spaces: list[Space] = []
        self._closed = False
        _databases.add(self)

    def __repr__(self) -> str:
        state = " (closed)" if self._closed else " (read-only)" if self._engine.read_only else ""
        return f"<vecdb.Database {self._engine.folder}{state}>"

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._engine.folder

    @property
    def plugins(self) -> Plugins:
        """Where its embedders come from."""
        return self._plugins

    # --- collections ---

    def create_collection(
        self,
        name: str,
        *,
        embedder: str | EmbedderRef | None = None,
        dimension: int | None = None,
        metric: Metric | None = None,
        index: IndexKind = "auto",
        index_options: Mapping[str, int] | None = None,
        embedder_options: Mapping[str, Any] | None = None,
        spaces: Mapping[str, Mapping[str, Any]] | None = None,
        filter_fields: Sequence[str] = (),
    ) -> Collection:
        """Make a collection.

        Args:
            name: any text without "/", "\\", control characters and outer spaces.
            embedder: "NAME" or "NAME:MODEL" or an `EmbedderRef`; None with `dimension` makes a
                collection of vectors that the caller brings.
            dimension: length of the vectors; known from the embedder where there is one.
            metric: "cosine", "l2" or "ip"; default: the embedder's first, else cosine.
            index: "exact", "hnsw", or "auto": exact up to 20,000 vectors, then HNSW.
            index_options: M (default 16), ef_construction (200), ef (of a search; default: at least 100, and
                what the data needs for a recall@10 of 0.95, tried out when the graph is saved).
            embedder_options: options of the embedder (see `vecdb embedders show NAME`).
            spaces: further spaces, or all of them: name to these options (`embedder`, `dimension`,
                `metric`, `index`, `index_options`, `embedder_options`) and `source`, the field of the
                content that is embedded.
            filter_fields: fields of the metadata, called as in a filter ("author.name"), which filters will use: the
                first one that does brings all into memory, where they stay. Other fields can be used, too.

        Raises:
            CollectionExistsError: the name is taken.
            InvalidInputError, EmbedderNotFoundError, EmbedderUnavailableError: the options.
        """
        definitions = self._define(
            name, spaces, embedder=embedder, dimension=dimension, metric=metric, index=index,
            index_options=index_options, embedder_options=embedder_options,
        )
        declared = declared_fields(filter_fields)
        if name in self.collections():
            raise CollectionExistsError(
                f"the collection {name!r} exists already; choose another name, or use get_or_create_collection",
                name=name,
            )
        return self._create(name, definitions, declared)

    def get_or_create_collection(
        self,
        name: str,
        *,
        embedder: str | EmbedderRef | None = None,
        dimension: int | None = None,
        metric: Metric | None = None,
        index: IndexKind = "auto",
        index_options: Mapping[str, int] | None = None,
        embedder_options: Mapping[str, Any] | None = None,
        spaces: Mapping[str, Mapping[str, Any]] | None = None,
        filter_fields: Sequence[str] = (),
    ) -> Collection:
        """The collection of this name, made if absent; arguments as in `create_collection`.

        Embedder options that may change (paths, device, threads) are taken over if they are given, filter fields not.

        Raises:
            EmbedderMismatchError: with these options the embedder gives other vectors after all.
            CollectionExistsError: it exists and differs from what is asked for; the message tells in what.
        """
        definitions = self._define(
            name, spaces, embedder=embedder, dimension=dimension, metric=metric, index=index,
            index_options=index_options, embedder_options=embedder_options,
        )
        declared = declared_fields(filter_fields)
        if name not in self.collections():
            try:
                return self._create(name, definitions, declared)
            except CollectionExistsError:  # another process was faster
                pass
        found = self.collection(name)
        stored = {space.row.name: space.row for space in self._spaces_of(found)}
        differences = []
        if set(stored) != {definition.name for definition in definitions}:
            differences.append(f"its spaces are {', '.join(stored)}")
        for definition in definitions:
            if definition.name in stored:
                differences += [f"{d}" for d in definition.differences(stored[definition.name])]
        if differences:
            raise CollectionExistsError(
                f"the collection {name!r} exists and differs: {'; '.join(differences)}; "
                "choose another name or ask for what is stored",
                name=name,
            )
        return self._with_options(found, definitions)

    def _with_options(self, found: Collection, definitions: Sequence[SpaceDefinition]) -> Collection:
        """The collection, with the paths, devices and the like that are asked for now; they are remembered."""
        rows = {space.row.name: space.row for space in self._spaces_of(found)}
        asked = [(rows[one.name], one.options_for(rows[one.name], self._engine.folder)) for one in definitions]
        changed = [dataclasses.replace(row, options=options) for row, options in asked if options != dict(row.options)]
        if not changed:
            return found
        for row in changed:
            space = Space(self._engine, self._plugins, row, embed_timeout=self._embed_timeout)
            space.host()  # raises if these options give other vectors after all
            space.release()
        with self._engine.transaction() as transaction:
            for row in changed:
                update_space(transaction, row.id, {"options": row.options})
        self._forget(found.name)
        return self.collection(found.name)

    def _define(self, *given: Any, **default: Any) -> list[SpaceDefinition]:
        return [one.with_timeout(self._embed_timeout) for one in define(self._plugins, *given, **default)]

    def _create(self, name: str, definitions: Sequence[SpaceDefinition], declared: Sequence[str]) -> Collection:
        self._check_open()
        rows = [definition.row(self._engine.folder) for definition in definitions]
        with self._engine.transaction() as transaction:
            if collection_id(transaction, name) is not None:
                raise CollectionExistsError(f"the collection {name!r} exists already; choose another name", name=name)
            create_collection(transaction, name, rows, declared)
        return self.collection(name)

    def collection(self, name: str) -> Collection:
        """The collection of this name. Raises `CollectionNotFoundError` if there is none."""
        self._check_open()
        with self._engine.snapshot() as snapshot:
            key = collection_id(snapshot, name) if isinstance(name, str) else None
            if key is not None and (found := self._opened(name, key)) is not None:
                return found
            rows = read_spaces(snapshot, key) if key is not None else []
            names = collection_names(snapshot) if key is None else []
            declared = read_filter_fields(snapshot, key) if key is not None else ()
        if key is None:
            known = ", ".join(map(repr, names[:10])) or "none yet"
            raise CollectionNotFoundError(
                f"there is no collection {shown(name)} in {self.path}; there is: {known}",
                name=name if isinstance(name, str) else "",
            )
        with self._lock:
            found = self._opened(name, key)
            if found is None:
                spaces = [Space(self._engine, self._plugins, row, embed_timeout=self._embed_timeout) for row in rows]
                found = Collection(self._engine, self._builder, name, key, spaces, declared)
                self._collections[name] = found
                self._open_spaces += spaces
            return found

    def _opened(self, name: str, key: int) -> Collection | None:
        """The collection, if it is open here already and was not made anew under the same name."""
        found = self._collections.get(name)
        return found if found is not None and found._key == key else None  # noqa: SLF001

    def collections(self) -> list[str]:
        """The names of all collections, in order of creation."""
        self._check_open()
        with self._engine.snapshot() as snapshot:
            return collection_names(snapshot)

    def delete_collection(self, name: str) -> None:
        """Delete a collection with everything in it. Raises `CollectionNotFoundError` if there is none."""
        self.collection(name)
        with self._engine.transaction() as transaction:
            key = collection_id(transaction, name)
            if key is not None:
                delete_collection(transaction, key)
        self._forget(name)
        remove_stray_files(self._engine)

    def _forget(self, name: str) -> None:
        """Let go of an open collection, its embedder and its indexes."""
        with self._lock:
            found = self._collections.pop(name, None)
            gone = self._spaces_of(found) if found is not None else []
            self._open_spaces = [space for space in self._open_spaces if space not in gone]
        for space in gone:
            space.release()

    def _spaces_of(self, collection: Collection) -> list[Space]:
        return collection._all_spaces  # noqa: SLF001  (a database and its collections are one)

    # --- care ---

    def check(self, fix: bool = False) -> CheckReport:
        """Look for inconsistencies, in the rows and between rows and indexes.

        Args:
            fix: mend what has one right answer; damaged vectors are embedded again.

        Raises:
            ReadOnlyError: `fix` on a database that is open read-only.
        """
        self._check_open()
        if fix and self._engine.read_only:
            raise ReadOnlyError(f"the database {self.path} was opened with read_only=True; open it without to write")
        spaces, unusable = {}, {}
        for name in self.collections():
            try:
                spaces[name] = self._spaces_of(self.collection(name))
            except CollectionNotFoundError:  # deleted meanwhile, by another process
                continue
            except CorruptDatabaseError as error:
                unusable[name] = str(error)
        return check_database(self._engine, spaces, unusable, fix=fix)

    def backup(self, path: str | os.PathLike[str], *, progress: Progress | None = None) -> None:
        """Copy the database, as it is at this moment, to the new folder `path`; it may be in use.

        Raises:
            AlreadyExistsError: `path` exists.
            StorageError: it cannot be written.
        """
        self._check_open()
        backup(self._engine, _path(path), progress)

    def vacuum(self, *, progress: Progress | None = None) -> VacuumReport:
        """Give back the space of what was deleted; afterwards its bytes are in no file of the database.

        Indexes that hold deleted vectors are built anew, remembered vectors of deleted contents are forgotten,
        and the file is rewritten, for which SQLite needs as much room again, twice. Others may go on reading
        and, between the steps, writing. An interrupted call loses nothing; it is repeated to finish. Backups,
        and copies that `upgrade` made (the report names them), are left alone.

        Args:
            progress: called as `progress(done, total)` with the vectors of each index that is built anew.

        Raises:
            DatabaseLockedError: somebody writes, or reads one older state, for longer than the timeout.
            DiskFullError: there is not room enough; nothing was changed.
        """
        self._check_open()
        if self._engine.read_only:
            raise ReadOnlyError(f"the database {self.path} was opened with read_only=True; open it without to write")
        before = size_of(self.path)
        for name in self.collections():
            for space in self._spaces_of(self.collection(name)):
                space.index.forget_removed(progress)
        vacuum_rows(self._engine)
        remove_stray_files(self._engine)
        return VacuumReport(before, size_of(self.path), tuple(copies_before_upgrades(self.path)))

    def close(self) -> None:
        """Stop building, save what is worth saving, and close all files. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._builder.close()
            for space in self._open_spaces:
                space.close()
            if not self._engine.read_only and self._engine.writer_lock.is_free():
                with contextlib.suppress(StorageError):  # what was acknowledged is in the write-ahead log
                    self._engine.checkpoint()
        finally:
            self._engine.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosedError(f"the database {self.path} was closed; open it again with vecdb.open")

    def _reset_after_fork(self) -> None:
        """In a forked child: locks, threads and indexes of the parent are of no use; the engine saw to itself."""
        self._lock = threading.Lock()
        self._builder.reset_after_fork()
        for space in self._open_spaces:
            space.reset_after_fork()
        for collection in self._collections.values():
            collection._reset_after_fork()  # noqa: SLF001  (a database and its collections are one)


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _reset_databases() -> None:
    for database in list(_databases):
        database._reset_after_fork()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_databases)
