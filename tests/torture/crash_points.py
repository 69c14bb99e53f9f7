"""Places in vecdb where a child can kill itself, each with a name. vecdb itself knows nothing of them.

`install` wraps functions, SQL statements and file operations from outside; each has a point before and a
point after it. `arm` then ends the process, by SIGKILL, when a point is passed for the n-th time.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.torture.patches import wrap

# Name, and what the statement begins with.
STATEMENTS = {
    "BEGIN IMMEDIATE": r"BEGIN IMMEDIATE",
    "the truncating checkpoint": r"PRAGMA wal_checkpoint\(TRUNCATE",
    "the passive checkpoint": r"PRAGMA wal_checkpoint\(PASSIVE",
    "the row of a new index file": r"INSERT INTO index_files",
    "the rows of old index files": r"DELETE FROM index_files",
    "the rows of a collection": r"DELETE FROM collections",
    "the row of a new collection": r"INSERT INTO collections",
    "VACUUM INTO": r"VACUUM INTO",
    "VACUUM": r"VACUUM$",
    "the forgetting of remembered vectors": r"DELETE FROM embedding_cache$",
    "the schema version": r"PRAGMA user_version =",
    "the page size": r"PRAGMA page_size =",
    "the journal mode": r"PRAGMA journal_mode =",
    "a table": r"CREATE TABLE",
    "the application's mark": r"PRAGMA application_id =",
    "the rows of records": r"INSERT INTO records ",
    "the rows of vectors": r"INSERT OR IGNORE INTO vectors",
    "the links of records to vectors": r"INSERT INTO record_vectors",
    "the watermark of labels": r"UPDATE spaces SET last_label",
    "the rows of removed vectors": r"DELETE FROM vectors",
    "the log of removals": r"INSERT INTO removals",
    "the watermark of removals": r"UPDATE spaces SET last_removal",
}

# Name, the function of `os`, and what its path looks like.
FILES = {
    "the folder of a new database": ("mkdir", r"/[^/.][^/]*\.vecdb$"),
    "the index folder of a new database": ("mkdir", r"/[^/.][^/]*\.vecdb/index$"),
    "the lock file": ("open", r"/writer\.lock$"),
    "the sync of an index file": ("fsync", r"\.hnsw\.tmp$"),
    "the rename of an index file": ("rename", r"\.hnsw\.tmp$"),
    "the sync of the index folder": ("fsync", r"/index$"),
    "the removal of an index file": ("unlink", r"\.hnsw$"),
    "the removal of a temporary index file": ("unlink", r"\.hnsw\.tmp$"),
    "the sync of a folder": ("fsync", r"\.vecdb$"),
    "the removal of an unfinished copy": ("unlink", r"\.before-upgrade-\d+\.tmp$"),
    "the sync of the copy before an upgrade": ("fsync", r"\.before-upgrade-\d+\.tmp$"),
    "the rename of the copy before an upgrade": ("replace", r"\.before-upgrade-\d+\.tmp$"),
    "the folder of a backup": ("mkdir", r"\.unfinished$"),
    "the sync of a backup": ("fsync", r"\.unfinished/vecdb\.sqlite3$"),
    "the rename of a backup": ("rename", r"\.unfinished$"),
}

# Name, module, and the function in it.
FUNCTIONS = {
    "the creation of an index file": ("hnswlib", "Index.save_index"),
    "the publication of an index file": ("vecdb.index_files", "GraphFile.publish"),
    "the manifest": ("vecdb.storage.manifest", "publish"),
    "the removal of strays": ("vecdb.index_files", "remove_stray_files"),
    "the removal of leftovers": ("vecdb.index_files", "remove_leftovers"),
    "the removal of older generations": ("vecdb.storage.manifest", "drop_older_generations"),
    "the building of an index without what was removed": ("vecdb.sync", "SpaceIndex.forget_removed"),
    "the vacuum of rows": ("vecdb.storage.vacuum", "vacuum_rows"),
    "the withdrawal of index files": ("vecdb.storage.manifest", "withdraw"),
    "the rebuilding of a graph": ("vecdb.sync", "SpaceIndex._rebuild"),
    "a move into a graph": ("vecdb.sync", "SpaceIndex._move"),
    "the loading of an index": ("vecdb.sync", "SpaceIndex._load"),
    "catching up": ("vecdb.sync", "SpaceIndex._take_in"),
    "embedding": ("vecdb.writing", "embed_drafts"),
    "new records": ("vecdb.storage.writes", "insert_records"),
    "replaced records": ("vecdb.storage.writes", "replace_records"),
    "changed metadata": ("vecdb.storage.writes", "update_metadata"),
    "the removal of records": ("vecdb.storage.writes", "delete_records"),
    "the cache of removed vectors": ("vecdb.storage.embedding_cache", "remember_records"),
    "the pruning of removals": ("vecdb.storage.writes", "_prune_removals"),
    "the creation of a collection": ("vecdb.storage.spaces", "create_collection"),
    "the removal of a collection": ("vecdb.storage.spaces", "delete_collection"),
    "the tables of a new database": ("vecdb.storage.schema", "_create"),
    "the check of the schema": ("vecdb.storage.schema", "check_schema"),
    "the copy before an upgrade": ("vecdb.storage.schema", "_copy_before"),
    "the migrations": ("alembic.command", "upgrade"),
    "the removal of abandoned backups": ("vecdb.storage.backup", "_remove_abandoned"),
    "the rows of a backup": ("vecdb.storage.backup", "_copy_rows"),
    "the index files of a backup": ("vecdb.storage.backup", "_copy_index_files"),
    "the models of a backup": ("vecdb.storage.backup", "_copy_models"),
    "closing": ("vecdb.database", "Database.close"),
}

# Imported here and now: forked children would each do it again.
for _module, _ in FUNCTIONS.values():
    importlib.import_module(_module)

_COMMIT = "COMMIT"
_PAGES = "some pages of a backup"
_ROWS = "a row of many"
_TRANSACTION_STATEMENTS = 12  # numbered up to here; a batch has not many more
_SIDES = ("before", "after")
# Where one thing is made known that another one must follow: a short campaign begins with these.
_FIRST = (
    _COMMIT,
    "BEGIN IMMEDIATE",
    "the truncating checkpoint",
    "the passive checkpoint",
    "VACUUM",
    "the publication of an index file",
    "the manifest",
    "the rename of an index file",
    "the removal of strays",
    "the removal of an index file",
    "the log of removals",
    "the rows of removed vectors",
    "the rows of vectors",
    "the links of records to vectors",
    "replaced records",
    "the removal of a collection",
    "the rename of a backup",
    "the rename of the copy before an upgrade",
    "the schema version",
    "the tables of a new database",
)


def first_points() -> list[str]:
    """The names of the points that a short campaign begins with."""
    return [f"{side} {name}" for name in _FIRST for side in _SIDES]


def points() -> list[str]:
    """The names of all points, those of migrations apart, whose number nobody knows beforehand."""
    named = [_COMMIT, *STATEMENTS, *FILES, *FUNCTIONS, _PAGES]
    numbered = [f"statement {number} of a transaction" for number in range(1, _TRANSACTION_STATEMENTS + 1)]
    return [f"{side} {name}" for name in [*named, *numbered] for side in _SIDES] + [f"after {_ROWS}"]


# --- being watched ------------------------------------------------------------------------------


class _Watch:
    def __init__(self) -> None:
        self.installed = False
        self.counts: Counter[str] = Counter()
        self.point = ""
        self.left = 0
        self.migration_statements: int | None = None

    def passed(self, point: str) -> None:
        self.counts[point] += 1
        if point == self.point:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # this thread may be the last to notice

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        self.passed(f"before {name}")
        yield
        self.passed(f"after {name}")


_watch = _Watch()


def arm(point: str, hit: int) -> None:
    """Die when this point is passed for the `hit`-th time from now on."""
    _watch.point, _watch.left = point, hit


def counted() -> dict[str, int]:
    """How often each point was passed in this process since the last time this was asked."""
    counts, _watch.counts = dict(_watch.counts), Counter()
    return counts


def install() -> None:
    """Wrap everything, in this process, before it opens a database; again it does nothing."""
    if _watch.installed:
        return
    _watch.installed = True
    for name, (module, path) in FUNCTIONS.items():
        wrap(module, path, functools.partial(_passing, name))
    wrap("alembic.command", "upgrade", _numbering_statements)
    for function in sorted({function for function, _ in FILES.values()}):
        patterns = [(name, re.compile(pattern)) for name, (other, pattern) in FILES.items() if other == function]
        setattr(os, function, _passing_paths(getattr(os, function), patterns))
    sqlite3.connect = functools.partial(sqlite3.connect, factory=_Connection)


def _passing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def instead(*arguments: Any, **options: Any) -> Any:
        with _watch.around(name):
            return function(*arguments, **options)

    return instead


def _numbering_statements(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def instead(*arguments: Any, **options: Any) -> Any:
        _watch.migration_statements = 0
        try:
            return function(*arguments, **options)
        finally:
            _watch.migration_statements = None

    return instead


def _passing_paths(function: Callable[..., Any], patterns: list[tuple[str, re.Pattern[str]]]) -> Callable[..., Any]:
    def instead(path: Any, *arguments: Any, **options: Any) -> Any:
        shown = _path_of(path) if isinstance(path, int) else os.fsdecode(path)
        for name, pattern in patterns:
            if pattern.search(shown):
                with _watch.around(name):
                    return function(path, *arguments, **options)
        return function(path, *arguments, **options)

    return instead


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


# --- SQLite, watched ----------------------------------------------------------------------------


@functools.lru_cache(4096)
def _name_of(sql: str) -> str:
    stripped = sql.lstrip()
    return next((name for name, pattern in STATEMENTS.items() if re.match(pattern, stripped)), "")


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        with self.connection.passing(sql):
            return super().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> _Cursor:
        def passing() -> Iterator[Any]:
            for row in rows:
                yield row
                _watch.passed(f"after {_ROWS}")

        with self.connection.passing(sql):
            return super().executemany(sql, passing())


class _Connection(sqlite3.Connection):
    _statement: int | None = None  # of the write transaction

    def cursor(self, factory: Any = None) -> _Cursor:
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> _Cursor:
        return self.cursor().executemany(sql, rows)

    @contextlib.contextmanager
    def passing(self, sql: str) -> Iterator[None]:
        """The points around a statement: by its name, by its number in the transaction, in the migration."""
        names = [name] if (name := _name_of(sql)) else []
        if name == "BEGIN IMMEDIATE":
            self._statement = 0
        elif self._statement is not None:
            self._statement += 1
            if self._statement <= _TRANSACTION_STATEMENTS:
                names.append(f"statement {self._statement} of a transaction")
        if _watch.migration_statements is not None:
            _watch.migration_statements += 1
            names.append(f"statement {_watch.migration_statements} of the migrations")
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(_watch.around(name))
            yield

    def commit(self) -> None:
        if self._statement is None:
            super().commit()
            return
        self._statement = None
        with _watch.around(_COMMIT):
            super().commit()

    def rollback(self) -> None:
        self._statement = None
        super().rollback()

    def backup(self, target: Any, *, pages: int = -1, progress: Any = None, **options: Any) -> None:
        def report(*numbers: int) -> None:
            _watch.passed(f"after {_PAGES}")
            if progress is not None:
                progress(*numbers)

        _watch.passed(f"before {_PAGES}")
        super().backup(target, pages=pages, progress=report, **options)
