"""A consistent copy of a database that may be in use."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from vecdb.errors import AlreadyExistsError, DiskFullError, InvalidInputError, StorageError
from vecdb.storage.durable import make_folder, sync_folder, sync_tree
from vecdb.storage.engine import DATABASE_FILE, DatabaseEngine
from vecdb.storage.lock import claim, is_abandoned
from vecdb.storage.manifest import file_sha256
from vecdb.storage.schema import INDEX_FOLDER
from vecdb.storage.sqlite_errors import translated
from vecdb.types import Progress

_PAGES = 2048
_UNFINISHED = ".unfinished"


def backup(engine: DatabaseEngine, target: Path, progress: Progress | None = None) -> None:
    """Copy the database to a new folder `target`, which appears only when it is whole.

    The copy is of one moment, also while others write. Models that lie in the database folder are
    copied too. Index files are copied as far as they fit the copied rows; they can be rebuilt, so a
    copy without them is complete.

    Raises:
        AlreadyExistsError: `target` exists.
        InvalidInputError: it lies inside the database.
        StorageError: it cannot be written.
    """
    if target.exists():
        raise AlreadyExistsError(f"{target} exists already; give a new path for the backup", name=str(target))
    if target.absolute().is_relative_to(engine.folder.absolute()):
        raise InvalidInputError(f"{target} lies inside the database itself; give a place outside for the backup")
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{_UNFINISHED}")
    claimed: int | None = None
    try:
        make_folder(target.parent)
        _remove_abandoned(target)
        unfinished.mkdir(mode=0o700)
        claimed = claim(unfinished)
        (unfinished / INDEX_FOLDER).mkdir(mode=0o700)
        _copy_rows(engine, unfinished / DATABASE_FILE, progress)
        _copy_index_files(engine.folder, unfinished)
        _copy_models(engine.folder, unfinished)
        sync_tree(unfinished)
        unfinished.rename(target)
        sync_folder(target.parent)
    except sqlite3.Error as error:
        raise translated(error, target) from error
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
        raise kind(f"cannot write the backup {target}: {error.strerror}; free space or give another path") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if claimed is not None:
            os.close(claimed)


def _remove_abandoned(target: Path) -> None:
    """What earlier backups to the same place left that were killed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if is_abandoned(left):
                shutil.rmtree(left)


def _copy_rows(engine: DatabaseEngine, file: Path, progress: Progress | None) -> None:
    def report(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with closing(sqlite3.connect(file, isolation_level=None)) as copy:
        # Reading inside one snapshot: SQLite's backup would otherwise begin anew at every write of others.
        with engine.snapshot() as snapshot:
            snapshot.rows("SELECT 1 FROM properties LIMIT 1")
            snapshot.driver.backup(copy, pages=_PAGES, progress=report)
        copy.execute("PRAGMA journal_mode = WAL").fetchall()
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _copy_models(folder: Path, target: Path) -> None:
    """The files in the database folder that embedders need: their options name them by "./"."""
    with closing(sqlite3.connect(target / DATABASE_FILE, isolation_level=None)) as copy:
        options = [json.loads(text) for (text,) in copy.execute("SELECT options FROM spaces")]
    names = {value for found in options for value in found.values() if isinstance(value, str) and value[:2] == "./"}
    for name in sorted(names):
        source, written = folder / name, target / name
        if source.resolve().is_relative_to(folder.resolve()) and source.exists() and not written.exists():
            written.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, written, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source, written)


def _copy_index_files(folder: Path, target: Path) -> None:
    with closing(sqlite3.connect(target / DATABASE_FILE, isolation_level=None)) as copy:
        rows = copy.execute("SELECT name, sha256 FROM index_files").fetchall()
        for name, sha256 in rows:
            source, written = folder / INDEX_FOLDER / name, target / INDEX_FOLDER / name
            try:
                shutil.copyfile(source, written)
                fits = file_sha256(written) == sha256
            except OSError:
                fits = False
            if not fits:
                written.unlink(missing_ok=True)
                copy.execute("DELETE FROM index_files WHERE name = ?", (name,))
