"""A consistent copy of a database that may be in use."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path, PurePosixPath

from vecdb.errors import AlreadyExistsError, DiskFullError, InvalidInputError, StorageError, shown
from vecdb.storage.durable import make_folder, sync_folder, sync_tree
from vecdb.storage.engine import DATABASE_FILE, LOCK_FILE, DatabaseEngine
from vecdb.storage.lock import claim, is_abandoned
from vecdb.storage.manifest import INDEX_FOLDER, file_sha256, index_folder, is_index_name
from vecdb.storage.sqlite_errors import translated
from vecdb.storage.stored_values import json_object
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
    try:
        if b"\0" in os.fsencode(target):
            raise ValueError("it holds NUL")
        exists = target.exists()
    except (OSError, ValueError) as error:  # too long; NUL, or half a character
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            raise StorageError(f"cannot look for {target}: {error.strerror}; give another path") from error
        raise InvalidInputError(f"{shown(str(target))} cannot be a path: {error}"[:300] + "; give another") from error
    if exists:
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
    """The files in the database folder that embedders need: their options name them by "./".

    Links inside a model's folder stay links: one that leads elsewhere must not bring that file along.
    """
    for name in sorted(_model_names(target)):
        source, written = folder / name, target / name
        if source.resolve().is_relative_to(folder.resolve()) and source.exists() and not written.exists():
            written.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, written, symlinks=True, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source, written)


def _model_names(folder: Path) -> set[PurePosixPath]:
    """Paths below the folder of a database that options of its spaces name; what a stranger wrote may be anything."""
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as copy:
        stored = copy.execute("SELECT CAST(options AS BLOB) FROM spaces").fetchall()
    found = set()
    for (options,) in stored:
        values = (json_object((options or b"").decode("utf-8", "replace")) or {}).values()
        for value in values:
            if isinstance(value, str) and value.startswith("./") and _stays_below(value):
                found.add(PurePosixPath(value))
    return found


def _stays_below(name: str) -> bool:
    """Whether a path never leaves the folder that it is relative to, and is none of the database's own files."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or "\0" in name or (os.name == "nt" and {"\\", ":"} & set(name)):
        return False
    return not parts[0].lower().startswith((DATABASE_FILE, LOCK_FILE)) and parts[0].lower() != INDEX_FOLDER


def _copy_index_files(folder: Path, target: Path) -> None:
    with closing(sqlite3.connect(target / DATABASE_FILE, isolation_level=None)) as copy:
        rows = copy.execute("SELECT generation, CAST(name AS BLOB), sha256 FROM index_files").fetchall()
        for generation, stored, sha256 in rows:
            name = (stored or b"").decode("utf-8", "replace")
            fits = is_index_name(name) and _copy_index_file(folder, target / INDEX_FOLDER / name, sha256)
            if not fits:
                copy.execute("DELETE FROM index_files WHERE generation = ?", (generation,))


def _copy_index_file(folder: Path, written: Path, sha256: object) -> bool:
    """Whether the file was copied and is the one of this checksum; else nothing is left."""
    try:
        source = index_folder(folder) / written.name
        if source.is_symlink():  # to somebody's file, maybe
            return False
        shutil.copyfile(source, written)
        fits = file_sha256(written) == sha256
    except (OSError, StorageError):
        fits = False
    if not fits:
        written.unlink(missing_ok=True)
    return fits
