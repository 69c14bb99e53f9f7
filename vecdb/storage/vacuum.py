"""Giving back the space of what was deleted, so that its bytes are gone from the files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from vecdb.errors import DatabaseLockedError, StorageError
from vecdb.storage.engine import DATABASE_FILE, DatabaseEngine
from vecdb.storage.manifest import drop_older_generations


def vacuum_rows(engine: DatabaseEngine) -> None:
    """Rewrite the database file without what was deleted, and empty the write-ahead log.

    Vectors that were kept for contents that come back are forgotten, and so are older generations of
    index files. Every step is whole or not at all, so an interrupted call is repeated, or left.

    Raises:
        DatabaseLockedError: another process writes, or reads something older all the time.
        DiskFullError: there is no room for the copy that SQLite makes.
    """
    with engine.transaction() as transaction:
        for table in ("embedding_cache", "embedding_origins"):
            transaction.driver.execute(f"DELETE FROM {table}")
        drop_older_generations(transaction)
    with engine.exclusive() as writer, engine.mapped_errors():
        driver = writer.driver
        # The copy is as large as the database: not in memory.
        driver.execute("PRAGMA temp_store = FILE")
        try:
            driver.execute("VACUUM")
        finally:
            driver.execute("PRAGMA temp_store = MEMORY")
        if not _is_emptied(driver):
            raise DatabaseLockedError(
                f"the database {engine.folder} was rewritten, but a reader held on to an older state for too long, so "
                "the space is not given back yet; end what reads it for so long, and run `vecdb vacuum` again"
            )


def _is_emptied(driver: sqlite3.Connection) -> bool:
    """Move the log into the database file, which shrinks; waits for readers as long as for a lock."""
    busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def copies_before_upgrades(folder: Path) -> list[Path]:
    """What `upgrade` kept: it still holds what was deleted since, and is the user's to remove."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(f"{DATABASE_FILE}.before-upgrade-"))
    except OSError as error:
        raise StorageError(
            f"the space was given back, but {folder} cannot be read: {error.strerror}; look there for copies of before "
            "an upgrade"
        ) from error


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):  # passes over what cannot be read
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile by another process
                total += (Path(place) / name).stat().st_size
    return total
