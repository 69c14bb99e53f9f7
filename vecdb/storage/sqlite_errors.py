"""SQLite's and SQLAlchemy's errors as ours."""

from __future__ import annotations

import errno
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vecdb.errors import (
    CorruptDatabaseError,
    DatabaseClosedError,
    DatabaseLockedError,
    DiskFullError,
    ReadOnlyError,
    StorageError,
)

_MOST_AT_ONCE = 1 << 16  # bytes that SQLite writes in one call, with pages of the largest size

_MESSAGES: Mapping[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_FULL: (DiskFullError, "the disk is full and nothing of this call was stored; free some space"),
    sqlite3.SQLITE_IOERR_FSYNC: (
        StorageError,
        "the disk did not confirm what was written, so whether this call was stored shows only when the database is "
        "opened again; look after the disk, then repeat the call",
    ),
    sqlite3.SQLITE_READONLY: (ReadOnlyError, "it cannot be written; make folder and files writable, or open read-only"),
    sqlite3.SQLITE_CANTOPEN: (StorageError, "its file cannot be opened; check that it exists, and its permissions"),
    sqlite3.SQLITE_NOTADB: (CorruptDatabaseError, "its file is not a vecdb database; give another path"),
    sqlite3.SQLITE_CORRUPT: (CorruptDatabaseError, "its file is damaged; restore a backup"),
    sqlite3.SQLITE_BUSY: (DatabaseLockedError, "another program holds its file; end that program"),
    sqlite3.SQLITE_LOCKED: (DatabaseLockedError, "another handle of this process holds it; close that handle"),
}
# A file that cannot be written, and the shared-memory file that cannot grow.
_MAYBE_FULL = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def _is_full(folder: Path) -> bool:
    """Whether files cannot grow here: what SQLite calls a failed write may be a quota, a limit, or a dying disk."""
    try:
        folder = folder if folder.is_dir() else folder.parent  # a backup has no folder yet
        if sys.platform != "win32":
            import resource  # noqa: PLC0415  (there is none on Windows)

            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            sizes = [path.stat().st_size for path in folder.iterdir()]
            if limit != resource.RLIM_INFINITY and max(sizes, default=0) + _MOST_AT_ONCE > limit:
                return True
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(bytes(_MOST_AT_ONCE))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return False


def translated(error: Exception, folder: Path) -> StorageError:
    """SQLite's and SQLAlchemy's errors as ours: the only place that knows them."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if code is None and str(original).startswith("Could not decode to UTF-8"):  # said by the driver, not by SQLite
        return CorruptDatabaseError(
            f"database {folder}: a stored text is not UTF-8 ({str(original)[26:106]!r}); restore a backup"
        )
    if "closed database" in str(original):
        return DatabaseClosedError(f"the database {folder} was closed; open it again with vecdb.open")
    if code in _MAYBE_FULL and _is_full(folder):
        code = sqlite3.SQLITE_FULL
    if "malformed JSON" in str(original):
        return CorruptDatabaseError(f"database {folder}: the metadata of a record is damaged; run `vecdb check`")
    kind, advice = _MESSAGES.get(code or 0) or _MESSAGES.get((code or 0) & 0xFF, (StorageError, ""))
    if not advice:
        advice = f"{original}; nothing of this call was stored, run `vecdb check` if it happens again"
    return kind(f"database {folder}: {advice}")
