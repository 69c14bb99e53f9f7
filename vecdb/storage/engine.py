"""The database file, opened: read snapshots, write transactions, error mapping."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import threading
import time
import urllib.parse
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Table
from sqlalchemy.engine import Connection, CursorResult, Engine
from sqlalchemy.sql import Executable

from vecdb.errors import (
    DatabaseClosedError,
    DatabaseLockedError,
    DiskFullError,
    ReadOnlyError,
    StorageError,
)
from vecdb.storage.connections import CHECKPOINT_BYTES, Durability, beginning_with, configure
from vecdb.storage.forks import (
    FORK_WAIT,
    abandon,
    forked_error,
    hold_at_fork,
    inherit,
    require_not_inherited,
    undivided_if_at_once,
)
from vecdb.storage.lock import WriterLock
from vecdb.storage.sqlite_errors import translated

DATABASE_FILE = "vecdb.sqlite3"
LOCK_FILE = "writer.lock"
_WITHOUT_LOCKS = "win32-none" if os.name == "nt" else "unix-none"  # SQLite's names for file access that locks nothing


class Snapshot:
    """One consistent view of the database, or one write transaction. Valid inside its `with` block."""

    __slots__ = ("connection", "driver")

    def __init__(self, connection: Connection, driver: sqlite3.Connection) -> None:
        self.connection = connection
        self.driver = driver

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run a Core statement."""
        return self.connection.execute(statement, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of an SQL query, as tuples.

        It goes to the driver itself: for what is done at every search or for every record,
        SQLAlchemy's result objects would cost more than SQLite.
        """
        return self.driver.execute(sql, parameters).fetchall()

    def rows_of(self, table: Table, condition: str = "", parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a table, each a dict of column to value as it is stored, read by the driver itself.

        Args:
            table: which; all its columns are read.
            condition: SQL that follows the table's name: WHERE, ORDER BY.
            parameters: of the condition.
        """
        names = [column.name for column in table.columns]
        found = self.rows(f"SELECT {', '.join(names)} FROM {table.name} {condition}", parameters)
        return [dict(zip(names, row, strict=True)) for row in found]

    def insert(self, table: Table, values: Mapping[str, Any]) -> int:
        """Put one row in; its key."""
        sql = f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
        return int(self.driver.execute(sql, tuple(values.values())).lastrowid or 0)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run an SQL statement for each row; the number of rows changed."""
        return self.driver.executemany(sql, rows).rowcount


class DatabaseEngine:
    """One database file, opened. Safe to use from several threads.

    Args:
        folder: the database folder.
        read_only: never write, not even the lock file.
        durability: "full" survives a power loss; "normal" may lose the last moments then, but is
            never corrupt, and loses nothing when only the process dies.
        timeout: seconds to wait for another writer.
    """

    def __init__(self, folder: Path, *, read_only: bool, durability: Durability, timeout: float) -> None:
        self.folder = folder
        self.file = folder / DATABASE_FILE
        self._log = folder / (DATABASE_FILE + "-wal")
        self._shared_memory = folder / (DATABASE_FILE + "-shm")
        self.read_only = read_only
        self.writer_lock = WriterLock(folder / LOCK_FILE, timeout)
        self._durability = durability
        self._timeout = timeout
        self._start()
        hold_at_fork(self)

    def _start(self) -> None:
        self._closed = False
        self._idle: list[Snapshot] = []  # readers that no thread uses now
        self._unlocked: _Stamp | None = None  # of the files, where they are read without locks
        self._forked_inside = False
        # Held here until it is closed here: a connection that the end of a thread, or the garbage collection,
        # closed in the middle of a fork would be open in the child for ever, and its locks nowhere.
        self._open: set[Connection] = set()
        self._busy: dict[Connection, int] = {}  # in a snapshot or a transaction now, and of which thread
        self._writers: list[int] = []  # threads that write, or wait for their turn
        self._last_write = -math.inf  # when the last of them was done
        self._busy_lock = threading.RLock()  # re-entrant: a signal's handler may fork
        self._gate = threading.Condition(self._busy_lock)
        self._forking = False
        weak = weakref.proxy(self)

        def connect() -> sqlite3.Connection:
            # SQLAlchemy has a list of open connections that would keep `self`, and so them, for ever.
            connection: sqlite3.Connection = weak.new_connection()
            return connection

        # Snapshots begin on the driver itself, for speed; SQLAlchemy need not say it again.
        self._reading = beginning_with(None, connect)
        self._writing = beginning_with("BEGIN IMMEDIATE", connect)
        self._writer: Snapshot | None = None

    # --- reading and writing ---

    @contextmanager
    def snapshot(self, *, single: bool = False) -> Iterator[Snapshot]:
        """A read transaction: everything read inside is of one moment, and blocks nobody.

        `single`: only one statement is run inside, which is of one moment in any case, and cheaper so.
        """
        with self._busy_lock:
            self._pass_gate()
            self._drop_outdated_readers()
            snapshot = self._idle.pop() if self._idle else self._connect(self._reading)
            self._busy[snapshot.connection] = threading.get_ident()
        unlocked = self._unlocked
        try:
            try:
                if not single:
                    snapshot.driver.execute("BEGIN")
                yield snapshot
                if unlocked is not None and unlocked[0] != self._stamp()[0]:
                    raise DatabaseLockedError(
                        f"the database {self.folder} was written while it was read in a place where it cannot be "
                        "locked; try again"
                    )
            finally:
                if snapshot.connection.in_transaction():
                    snapshot.connection.rollback()
                if snapshot.driver.in_transaction:
                    snapshot.driver.execute("ROLLBACK")  # `rollback()` compiles it anew each time
                with self._busy_lock:
                    self._leave(snapshot)
                    if self._closed or snapshot.driver.in_transaction:  # its rollback was interrupted
                        self._disconnect(snapshot.connection)
                    else:
                        self._idle.append(snapshot)
        except (sqlite3.Error, sqlalchemy.exc.DBAPIError) as error:
            raise self._translated(error) from error

    def _pass_gate(self) -> None:
        """Wait while the process forks; those who are inside go on, so that they come to an end."""
        while self._forking and threading.get_ident() not in (*self._busy.values(), *self._writers):
            self._gate.wait()
        if self._closed:
            raise self._closed_error()

    def _leave(self, snapshot: Snapshot) -> None:
        self._busy.pop(snapshot.connection, None)
        self._tell_forking()

    def _tell_forking(self) -> None:
        if self._forking:
            self._gate.notify_all()

    def _drop_outdated_readers(self) -> None:
        """SQLite trusts that nobody writes to what it reads without locks, but its owner may have done so."""
        if self._unlocked is not None and self._unlocked != self._stamp():
            self._unlocked = None
            self._disconnect_idle()

    def _stamp(self) -> _Stamp:
        return _size_and_time(self.file), _size_and_time(self._log), self._shared_memory.exists()

    @contextmanager
    def mapped_errors(self) -> Iterator[None]:
        """SQLite's and SQLAlchemy's errors inside become ours."""
        try:
            yield
        except (sqlite3.Error, sqlalchemy.exc.DBAPIError) as error:
            raise translated(error, self.folder) from error

    @contextmanager
    def transaction(self) -> Iterator[Snapshot]:
        """A write transaction under the writer lock: committed at the end, or rolled back whole.

        Raises:
            ReadOnlyError, DatabaseLockedError, DiskFullError, StorageError: nothing was written.
        """
        with self.exclusive() as writer:
            try:
                with self.mapped_errors(), writer.connection.begin():
                    yield writer
            except StorageError as error:
                if not isinstance(error, DiskFullError | DatabaseLockedError):
                    self._drop_writer()  # what state a failing disk left it in is not asked: the next one is fresh
                raise
            self._checkpoint_if_large(writer)

    @contextmanager
    def exclusive(self) -> Iterator[Snapshot]:
        """The writer lock and the writing connection, outside a transaction."""
        if self.read_only:
            raise ReadOnlyError(f"the database {self.folder} was opened with read_only=True; open it without to write")
        with self._busy_lock:
            self._pass_gate()
            self._writers.append(threading.get_ident())
        try:
            with self.writer_lock:
                with self._busy_lock:
                    if self._closed:
                        raise self._closed_error()
                    writer = self._writer = self._writer or self._connect(self._writing)
                    self._busy[writer.connection] = threading.get_ident()
                try:
                    yield writer
                finally:
                    with self._busy_lock:
                        self._leave(writer)
        finally:
            with self._busy_lock:
                self._writers.remove(threading.get_ident())
                self._last_write = time.monotonic()
                self._tell_forking()

    def is_quiet(self, seconds: float) -> bool:
        """Whether no thread here writes now, or did within the last `seconds`."""
        return not self._writers and time.monotonic() - self._last_write > seconds

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database file, as far as readers allow."""
        with self.exclusive() as writer, self.mapped_errors():
            writer.driver.execute("PRAGMA busy_timeout = 0")
            try:
                writer.driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                writer.driver.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")

    def _checkpoint_if_large(self, writer: Snapshot) -> None:
        # Checkpoints run only here and in `checkpoint`, both under the writer lock: SQLite before
        # 3.51.3 can lose pages when a checkpoint races the log's reset by another writer.
        try:
            if self._log.stat().st_size > CHECKPOINT_BYTES:
                writer.driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (OSError, sqlite3.Error):
            return  # the commit stands; the next one tries again

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error, sqlalchemy.exc.SQLAlchemyError):
                writer.connection.invalidate()
                self._disconnect(writer.connection)

    # --- life ---

    def close(self) -> None:
        """Close every connection of every thread; one in use is closed by its thread, at the end of its snapshot.

        Closing it under a running statement would crash the interpreter.
        """
        with self._busy_lock:
            self._closed = True
        self.writer_lock.close()  # waits for the writer, if there is one
        with self._busy_lock:
            self._disconnect_idle()
            self._writer = None

    def __del__(self) -> None:
        """Of a database that nobody closed."""
        if getattr(self, "_open", None):
            with contextlib.suppress(Exception), undivided_if_at_once() as is_undivided:
                if is_undivided:
                    self.close()
                else:  # in the middle of a fork; waiting in the garbage collection would stop everything
                    abandon(self.file, self._open)

    def before_fork(self) -> None:
        """Wait until no thread is inside, and close every connection, so that a child inherits none.

        SQLite remembers for the whole process which locks it holds on a file. A child would take its
        parent's for its own, and none of its own: the parent's closing could then delete the log that the
        child writes to, and what another thread held at that moment the child would find locked for ever.
        """
        self._busy_lock.acquire()
        self._forking = True
        own = threading.get_ident()
        # One that only waits to write counts, too: what it waits for may be a thread that this one kept out.
        self._gate.wait_for(lambda: {*self._busy.values(), *self._writers} <= {own}, FORK_WAIT)
        self._disconnect_idle()
        if self._writer is not None and self._writer.connection not in self._busy:
            self._writer = None

    def after_fork(self) -> None:
        """In the parent: let the others go on."""
        self._forking = False
        self._gate.notify_all()
        self._busy_lock.release()

    def reset_after_fork(self) -> None:
        """In a forked child: start anew, or refuse to, where a connection in use had to be inherited."""
        inherited = bool(self._busy)
        if inherited:
            inherit(self.file, [*self._open, self._writer])
        self._reading.dispose(close=False)
        self._writing.dispose(close=False)
        self.writer_lock.reset_after_fork()
        closed = self._closed
        self._start()
        self._closed = closed or inherited
        self._forked_inside = inherited

    # --- connections ---

    def _connect(self, engine: Engine) -> Snapshot:
        if self._closed:
            raise self._closed_error()
        try:
            connection = engine.connect()
        except (sqlite3.Error, sqlalchemy.exc.DBAPIError) as error:
            raise self._translated(error) from error
        self._open.add(connection)
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise StorageError(f"unexpected database driver {type(driver).__name__}; use the standard sqlite3 module")
        return Snapshot(connection, driver)

    def _disconnect(self, connection: Connection) -> None:
        with self._busy_lock:
            self._open.discard(connection)
            connection.close()

    def _disconnect_idle(self) -> None:
        """Close every connection that is not in use. Needs `_busy_lock`."""
        for connection in self._open - self._busy.keys():
            self._disconnect(connection)
        self._idle.clear()

    def new_connection(self) -> sqlite3.Connection:
        """Another connection of the driver, ready for use; the caller closes it."""
        require_not_inherited(self.file)
        mode, locks = "rw", True
        if self.read_only:
            mode = "ro"
            if not os.access(self.folder, os.W_OK):
                # SQLite cannot make its shared memory here. Where there is none, nobody has the database open.
                stamp = self._stamp()
                if stamp[1] is None:
                    mode, self._unlocked = "ro&immutable=1", stamp
                elif not stamp[2]:
                    # With a log, which holds what was committed last: exclusive mode needs no shared memory,
                    # and gets by without a lock, which a file open for reading only cannot give.
                    mode, locks, self._unlocked = f"ro&vfs={_WITHOUT_LOCKS}", False, stamp
        name = urllib.parse.quote(str(self.file.absolute()))
        connection = sqlite3.connect(
            f"file:{name}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=self._timeout,
            cached_statements=256,
        )
        try:
            if not locks:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            configure(connection, self._durability)
        except BaseException:
            connection.close()
            raise
        return connection

    def _closed_error(self) -> DatabaseClosedError:
        if self._forked_inside:
            return forked_error(self.folder)
        return DatabaseClosedError(f"the database {self.folder} was closed; open it again with vecdb.open")

    def _translated(self, error: Exception) -> StorageError:
        return translated(error, self.folder)


_Stamp = tuple[tuple[int, int] | None, tuple[int, int] | None, bool]
"""Size and time of the database file, of its log, and whether it has shared memory."""


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
