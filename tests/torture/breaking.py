"""Ways to break vecdb, by patches in a process of its own: see `mutants`."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.patches import wrap
from vecdb.storage import backup as backups
from vecdb.storage import manifest
from vecdb.storage.changes import records_version
from vecdb.storage.engine import DATABASE_FILE, Snapshot
from vecdb.storage.manifest import IndexFile
from vecdb.writing import Written


@dataclass(frozen=True)
class Mutant:
    """A way to break vecdb.

    Attributes:
        name: of the mutant.
        what: is wrong, in a sentence.
        campaign: the module that must find it.
        count: how much of that campaign, in its unit.
        break_it: does it, in this process.
    """

    name: str
    what: str
    campaign: str
    count: int
    break_it: Callable[[], None]


MUTANTS: dict[str, Mutant] = {}


def mutant(campaign: str, count: int) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """The decorated function breaks vecdb as its docstring says; `count` of `campaign` must find it."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        name = function.__name__.replace("_", "-")
        MUTANTS[name] = Mutant(name, function.__doc__ or "", campaign, count, function)
        return function

    return register


def split(transaction: Snapshot) -> None:
    """End a transaction in its middle, and begin another."""
    transaction.driver.execute("COMMIT")
    transaction.driver.execute("BEGIN IMMEDIATE")


def replace(module: str, path: str, function: Callable[..., Any]) -> None:
    """Put a function in the place of another one, which it does not call."""
    wrap(module, path, lambda _: function)


# --- what a transaction holds -------------------------------------------------------------------


@mutant("kill", 200)
def upsert_in_two_transactions() -> None:
    """An upsert stores its new records in one transaction and the replaced ones in another."""

    def wrapper(replace_records: Callable[..., None]) -> Callable[..., None]:
        def instead(transaction: Snapshot, *arguments: Any) -> None:
            split(transaction)
            replace_records(transaction, *arguments)

        return instead

    wrap("vecdb.storage.writes", "replace_records", wrapper)


@mutant("kill", 200)
def batch_in_two_transactions() -> None:
    """A batch is stored in two halves."""

    def wrapper(write: Callable[..., Written]) -> Callable[..., Written]:
        def instead(self: Any, drafts: Any, failures: Any = ()) -> Written:
            half = len(drafts) // 2
            return write(self, drafts[:half], failures) + write(self, drafts[half:]) if half else write(self, drafts)

        return instead

    wrap("vecdb.writing", "Writer.write", wrapper)


@mutant("kill", 200)
def record_before_its_vectors() -> None:
    """A record is committed before its vectors are stored."""

    def wrapper(link: Callable[..., None]) -> Callable[..., None]:
        def instead(transaction: Snapshot, keyed: Any) -> None:
            split(transaction)
            link(transaction, keyed)

        return instead

    wrap("vecdb.storage.writes", "_link", wrapper)


@mutant("kill", 200)
def acknowledged_before_the_commit() -> None:
    """A write returns while a thread still does it."""

    def wrapper(write: Callable[..., Written]) -> Callable[..., Written]:
        def instead(self: Any, drafts: Any, failures: Any = ()) -> Written:
            thread = threading.Thread(target=write, args=(self, drafts, failures), daemon=True)
            thread.start()
            thread.join(0.001)
            return Written()

        return instead

    wrap("vecdb.writing", "Writer.write", wrapper)


@mutant("kill", 200)
def tables_one_by_one() -> None:
    """A new database is made, and an old one upgraded, statement by statement, without a transaction."""

    def wrapper(beginning_with: Callable[..., Any]) -> Callable[..., Any]:
        return lambda begin, connect: beginning_with(None, connect)

    wrap("vecdb.storage.connections", "beginning_with", wrapper)


@mutant("power", 300)
def normal_promised_as_full() -> None:
    """durability="full" does not wait for the disk at each commit."""
    _synchronous("NORMAL")


@mutant("power", 300)
def nothing_synced() -> None:
    """SQLite never waits for the disk."""
    _synchronous("OFF")


def _synchronous(value: str) -> None:
    def wrapper(configure: Callable[..., None]) -> Callable[..., None]:
        def instead(connection: Any, durability: Any) -> None:
            configure(connection, durability)
            connection.execute(f"PRAGMA synchronous = {value}").fetchall()

        return instead

    wrap("vecdb.storage.connections", "configure", wrapper)


# --- removing -----------------------------------------------------------------------------------

_ORPHANS = "label = ? AND NOT EXISTS (SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)"


@mutant("kill", 200)
def removals_not_logged() -> None:
    """Vectors are deleted, but no index is told."""
    replace(
        "vecdb.storage.writes",
        "_drop_orphans",
        lambda transaction, candidates: transaction.write_many(
            f"DELETE FROM vectors WHERE {_ORPHANS}", [(label,) for label, _ in candidates]
        ),
    )


@mutant("kill", 200)
def vectors_left_behind() -> None:
    """A deleted record leaves its vector."""
    replace("vecdb.storage.writes", "_drop_orphans", lambda transaction, candidates: None)


@mutant("kill", 200)
def labels_reused() -> None:
    """The label of the newest vector is given again after it was deleted."""

    def wrapper(sequence: Callable[..., int]) -> Callable[..., int]:
        def instead(transaction: Snapshot, table: str) -> int:
            if table != "vectors":
                return sequence(transaction, table)
            return transaction.rows("SELECT coalesce(max(label), 0) FROM vectors")[0][0]

        return instead

    wrap("vecdb.storage.writes", "_sequence", wrapper)


@mutant("kill", 200)
def strays_left() -> None:
    """Index files that the manifest does not name are never removed."""
    replace("vecdb.index_files", "remove_stray_files", lambda engine: None)


# --- index files --------------------------------------------------------------------------------


def _publishing(**ahead: int) -> None:
    """Index files claim to cover more than they do."""

    def wrapper(publish: Callable[..., Any]) -> Callable[..., Any]:
        def instead(self: Any, graph: Any, **facts: Any) -> Any:
            return publish(self, graph, **facts | {name: facts[name] + more for name, more in ahead.items()})

        return instead

    wrap("vecdb.index_files", "GraphFile.publish", wrapper)


@mutant("kill", 200)
def manifest_ahead_in_labels() -> None:
    """The manifest says that a file has the next three vectors, too."""
    _publishing(last_label=3)


@mutant("kill", 200)
def manifest_ahead_in_removals() -> None:
    """The manifest says that a file knows of the next three removals, too."""
    _publishing(last_removal=3)


@mutant("kill", 200)
def manifest_before_the_rename() -> None:
    """A file is named in the manifest before it has its name."""
    waiting: list[tuple[Any, Any]] = []
    rename = os.rename

    def later(source: Any, target: Any) -> None:
        if str(source).endswith(".hnsw.tmp"):
            waiting.append((source, target))
        else:
            rename(source, target)

    def wrapper(remove_stray_files: Callable[..., None]) -> Callable[..., None]:
        def instead(engine: Any) -> None:
            while waiting:
                rename(*waiting.pop())
            remove_stray_files(engine)

        return instead

    os.rename = later
    wrap("vecdb.index_files", "remove_stray_files", wrapper)


def _unchecked_loading() -> None:
    def wrapper(load: Callable[..., Any]) -> Callable[..., Any]:
        def instead(path: Path, file: IndexFile, space: Any, state: Any) -> Any:
            there = dataclasses.replace(file, size=path.stat().st_size, sha256=manifest.file_sha256(path))
            return load(path, there, space, state)

        return instead

    wrap("vecdb.index_files", "_load", wrapper)


@mutant("damage", 200)
def checksum_not_compared() -> None:
    """An index file is loaded without comparing its checksum."""
    _unchecked_loading()


@mutant("power", 300)
def index_neither_synced_nor_compared() -> None:
    """An index file is not synced before it is published, and loaded without comparing its checksum."""

    replace("vecdb.index.hnsw_file", "write_graph", lambda path, save: save(os.fsencode(path)))
    _unchecked_loading()


# --- keeping an index current -------------------------------------------------------------------


@mutant("kill", 200)
def removals_not_taken_in() -> None:
    """An index that catches up takes in what is new, and forgets nothing."""
    replace("vecdb.sync", "SpaceIndex._removed_since", lambda *_: np.empty(0, np.int64))


@mutant("kill", 200)
def watermark_ahead() -> None:
    """An index that catches up believes to have two vectors more than it has."""

    def wrapper(take_in: Callable[..., None]) -> Callable[..., None]:
        def instead(self: Any, snapshot: Snapshot) -> None:
            had = self._last_label
            take_in(self, snapshot)
            if self._last_label > had:
                self._last_label += 2

        return instead

    wrap("vecdb.sync", "SpaceIndex._take_in", wrapper)


@mutant("kill", 200)
def no_catching_up() -> None:
    """An index that is loaded counts as current."""
    replace("vecdb.sync", "SpaceIndex.records_version", lambda self, _: self._loaded or None)


@mutant("concurrency", 20)
def rows_of_a_later_snapshot() -> None:
    """A search takes the labels from one moment and the rows from a later one."""

    def wrapper(rows: Callable[..., Any]) -> Callable[..., Any]:
        def instead(moment: Any, memory: Any, request: Any, *found: Any) -> Any:
            with request.space.index._engine.snapshot() as later:
                version = records_version(later, memory.columns.collection_id)
                return rows(moment._replace(snapshot=later, records=version), memory, request, *found)

        return instead

    wrap("vecdb.searching", "_rows", wrapper)


@mutant("concurrency", 20)
def a_lock_that_does_not_lock() -> None:
    """Each process believes that it alone writes."""
    replace("vecdb.storage.lock", "_try_lock", lambda descriptor: True)
    replace("vecdb.storage.lock", "_unlock", lambda descriptor: None)


# --- care ---------------------------------------------------------------------------------------


@mutant("kill", 200)
def vacuum_drops_rows() -> None:
    """`vacuum` takes the newest record for garbage."""

    def wrapper(vacuum: Callable[..., Any]) -> Callable[..., Any]:
        def instead(self: Any, *arguments: Any, **options: Any) -> Any:
            with self._engine.transaction() as transaction:
                transaction.driver.execute("DELETE FROM records WHERE key = (SELECT max(key) FROM records)")
            return vacuum(self, *arguments, **options)

        return instead

    wrap("vecdb.database", "Database.vacuum", wrapper)


@mutant("kill", 200)
def backup_by_copying_the_file() -> None:
    """A backup is a copy of the file, as it lies there, without the log beside it."""

    def backup(engine: Any, target: Path, progress: Any = None) -> None:
        (target / "index").mkdir(parents=True)
        shutil.copyfile(engine.folder / DATABASE_FILE, target / DATABASE_FILE)

    replace("vecdb.storage.backup", "backup", backup)


@mutant("kill", 200)
def backup_in_place() -> None:
    """A backup grows where it will be, and is not renamed when it is whole."""

    def backup(engine: Any, target: Path, progress: Any = None) -> None:
        (target / "index").mkdir(parents=True)
        backups._copy_rows(engine, target / DATABASE_FILE, progress)
        backups._copy_index_files(engine.folder, target)
        backups._copy_models(engine.folder, target)

    replace("vecdb.storage.backup", "backup", backup)
