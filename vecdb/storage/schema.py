"""Which schema a file has; making a new database; upgrading an old one (alembic)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import uuid
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import sqlalchemy
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from vecdb.errors import (
    CorruptDatabaseError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    SchemaVersionError,
    StorageError,
)
from vecdb.storage.connections import Durability, beginning_with, configure
from vecdb.storage.durable import make_folder, sync_file, sync_folder
from vecdb.storage.engine import DATABASE_FILE, LOCK_FILE, DatabaseEngine
from vecdb.storage.file_systems import warn_of_network_file_system
from vecdb.storage.forks import require_not_inherited, undivided
from vecdb.storage.lock import WriterLock
from vecdb.storage.manifest import INDEX_FOLDER
from vecdb.storage.schema_check import (
    APPLICATION_ID,
    require_no_code,
    require_schema,
    stored_revision,
)
from vecdb.storage.sqlite_errors import translated
from vecdb.storage.tables import metadata, properties
from vecdb.version import __version__

SCHEMA_VERSION = 4
_PAGE_SIZE = 8192
_OWN_FILES = {LOCK_FILE, INDEX_FOLDER, *(DATABASE_FILE + suffix for suffix in ("", "-wal", "-shm", "-journal"))}


def open_engine(folder: Path, *, read_only: bool, durability: Durability, timeout: float) -> DatabaseEngine:
    """Open the database in `folder`, making it where there is none.

    Raises:
        InvalidInputError: the path is a file, or a folder with other things in it.
        NotFoundError: there is nothing, and `read_only` forbids making it.
        ReadOnlyError: it cannot be written, and `read_only` is not given.
        CorruptDatabaseError: what is there is not a vecdb database.
        SchemaVersionError: it has another schema than this vecdb.
    """
    _check_path(folder)
    warn_of_network_file_system(folder)
    with undivided():
        _find_or_make(folder, read_only, durability, timeout)
        engine = DatabaseEngine(folder, read_only=read_only, durability=durability, timeout=timeout)
        try:
            check_schema(engine)
        except BaseException:
            engine.close()
            raise
        return engine


def _find_or_make(folder: Path, read_only: bool, durability: Durability, timeout: float) -> None:
    try:
        if not _has_tables(folder / DATABASE_FILE):
            _require_nothing_lost(folder)
            if read_only:
                raise NotFoundError(f"there is no vecdb database at {folder}; check the path", name=str(folder))
            _make(folder, durability, timeout)
        elif not read_only:
            _require_writable(folder)
    except OSError as error:
        raise StorageError(f"cannot look into {folder}: {error.strerror}; look after the disk, try again") from error


def _require_nothing_lost(folder: Path) -> None:
    """Raise if there was a database here: an empty one in its place would be a wrong answer to everything."""
    log = folder / f"{DATABASE_FILE}-wal"
    graphs = list((folder / INDEX_FOLDER).glob("*.hnsw"))
    if graphs or (_has_content(log) and not _has_content(folder / DATABASE_FILE)):
        left = (graphs or [log])[0].name
        raise CorruptDatabaseError(
            f"{folder / DATABASE_FILE} is missing or empty, though {left} is there; restore a backup"
        )


def _check_path(folder: Path) -> None:
    shown = f"{str(folder)[:200]!r}"
    file = folder / DATABASE_FILE
    try:
        is_folder, is_link = stat.S_ISDIR(folder.stat().st_mode), file.is_symlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    except ValueError as error:  # NUL, or half a character
        raise InvalidInputError(f"{shown} cannot be a path: {error}; give another path") from error
    except OSError as error:
        raise StorageError(f"cannot open {shown}: {error.strerror}; give another path") from error
    if not is_folder:
        raise InvalidInputError(f"{folder} is a file, but a vecdb database is a folder; give another path")
    if is_link:
        # SQLite would keep the log beside the file it leads to, and others would take another lock.
        raise StorageError(f"{file} is a link to another place; put the file itself there, or link the whole folder")


def _require_writable(folder: Path) -> None:
    for path in (folder, folder / DATABASE_FILE):
        if not os.access(path, os.W_OK):
            raise ReadOnlyError(f"{path} cannot be written; make it writable, or open with read_only=True")


def _has_content(file: Path) -> bool:
    return _size(file) > 0


def _size(file: Path) -> int:
    """0 also where there is no file, or none that could be seen. A disk that does not answer is another matter."""
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return 0


def _has_tables(file: Path) -> bool:
    """False also for what is left when making a database is cut off: a first page without tables."""
    size = _size(file)
    if size > _PAGE_SIZE:
        return True
    if not size or file.with_name(f"{file.name}-journal").exists():
        return False  # such a journal is of the time before the log, and reading alone cannot roll it back
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as probe:
        return bool(probe.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    return True  # not readable as a database: what it is instead is said when it is opened


# --- a new database -----------------------------------------------------------------------------


def _make(folder: Path, durability: Durability, timeout: float) -> None:
    try:
        make_folder(folder, 0o700)
        foreign = sorted({entry.name for entry in folder.iterdir()} - _OWN_FILES)
        if foreign:
            raise InvalidInputError(
                f"the folder {folder} holds other things ({foreign[0]!r}, …) and no vecdb database; give a new path"
            )
        (folder / INDEX_FOLDER).mkdir(mode=0o700, exist_ok=True)
    except PermissionError as error:
        raise ReadOnlyError(f"cannot make a database at {folder}: {error.strerror}; give a writable place") from error
    except OSError as error:
        raise StorageError(f"cannot make a database at {folder}: {error.strerror}; give another path") from error
    lock = WriterLock(folder / LOCK_FILE, timeout)
    try:
        with lock:
            _create(folder, durability)
    finally:
        lock.close()


def _create(folder: Path, durability: Durability) -> None:
    """All tables in one transaction: a crash leaves an empty file, which the next open fills."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        connection.execute("PRAGMA synchronous = FULL")  # a log without its file would look like a loss
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        configure(connection, durability)
        return connection

    facts = {
        "database_id": str(uuid.uuid4()),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "created_by": f"vecdb-engine {__version__}",
    }
    try:
        with beginning_with("BEGIN IMMEDIATE", connect).begin() as made:
            if made.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one():
                return  # another process was faster
            for statement in _table_statements():
                made.exec_driver_sql(statement)
            made.execute(properties.insert(), [{"name": name, "value": value} for name, value in facts.items()])
            made.exec_driver_sql(
                "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
            )
            made.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (revision(SCHEMA_VERSION),))
            made.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
            made.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except (sqlite3.Error, sqlalchemy.exc.DBAPIError) as error:
        raise translated(error, folder) from error


@cache
def _table_statements() -> tuple[str, ...]:
    """The SQL that makes the tables and their indexes: what `MetaData.create_all` would say, compiled once."""
    dialect = sqlite.dialect()
    tables = metadata.sorted_tables
    indexes = [index for table in tables for index in sorted(table.indexes, key=lambda index: index.name or "")]
    return (
        *(str(CreateTable(table).compile(dialect=dialect)) for table in tables),
        *(str(CreateIndex(index).compile(dialect=dialect)) for index in indexes),
    )


def revision(version: int) -> str:
    """Alembic's name of a schema version."""
    return f"{version:04d}"


# --- which schema -------------------------------------------------------------------------------


def check_schema(engine: DatabaseEngine) -> None:
    """Raise unless the file is a vecdb database of this version's schema, without foreign code in it.

    Raises:
        CorruptDatabaseError, SchemaVersionError.
    """
    with engine.snapshot() as snapshot:
        version = _version(snapshot.driver, engine.file)
        if version == SCHEMA_VERSION:
            require_schema(snapshot.driver, engine.file)
            _require_recorded(snapshot.driver, engine.file, version)
            return
        if version < SCHEMA_VERSION:
            require_no_code(snapshot.driver, engine.file)
            _require_recorded(snapshot.driver, engine.file, version)
    raise _version_error(engine.folder, version)


def _version(connection: sqlite3.Connection, file: Path) -> int:
    """The schema version that the file's header says."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise CorruptDatabaseError(f"{file} is an SQLite file but not a vecdb database; give another path")
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _require_recorded(connection: sqlite3.Connection, file: Path, version: int) -> None:
    """Raise unless alembic's table says the same version as the file's header: one of them lies."""
    recorded = stored_revision(connection, file)
    if recorded != revision(version):
        raise CorruptDatabaseError(
            f"{file} says that its schema is {version} and that it is {recorded!r:.40}; restore a backup"
        )


def _version_error(folder: Path, version: int) -> SchemaVersionError:
    if version < SCHEMA_VERSION:
        message = (
            f"the database {folder} has schema {version}, older than {SCHEMA_VERSION}; run `vecdb upgrade {folder}`"
        )
    else:
        message = (
            f"the database {folder} has schema {version}, made by a newer vecdb than {__version__}; "
            "upgrade vecdb: pip install -U vecdb-engine"
        )
    return SchemaVersionError(message, found=str(version), expected=str(SCHEMA_VERSION))


# --- upgrading ----------------------------------------------------------------------------------


def upgrade(folder: Path, *, timeout: float, script_location: Path | None = None, target: str = "head") -> Path | None:
    """Bring an older database to this version's schema, in one transaction, after a copy of the file.

    Args:
        folder: the database folder; nobody else may be writing.
        timeout: seconds to wait for a writer.
        script_location: where the migrations are; default: those shipped with vecdb.
        target: the revision to reach.

    Returns:
        The copy made before (`vecdb.sqlite3.before-upgrade-N`), or None where nothing was to be done.

    Raises:
        SchemaVersionError: the database is newer than this vecdb.
        CorruptDatabaseError: it is not ours, or holds what vecdb never makes.
        StorageError: the upgrade failed; the database is as it was.
    """
    _check_path(folder)
    require_not_inherited(folder / DATABASE_FILE)
    scripts = script_location or migrations_folder()
    lock = WriterLock(folder / LOCK_FILE, timeout)
    try:
        if not _has_content(folder / DATABASE_FILE):
            raise NotFoundError(f"there is no vecdb database at {folder}; check the path", name=str(folder))
        with undivided(), lock:
            return _upgrade(folder, scripts, target)
    except (sqlite3.Error, sqlalchemy.exc.DBAPIError) as error:
        raise translated(error, folder) from error
    except OSError as error:
        raise StorageError(f"cannot upgrade {folder}: {error.strerror}; nothing was changed") from error
    finally:
        lock.close()


def _upgrade(folder: Path, scripts: Path, target: str) -> Path | None:
    # Alembic takes longer to import than everything else, and is needed only here.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    head = int(ScriptDirectory.from_config(config).get_current_head() or 0)

    file = folder / DATABASE_FILE

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None)
        configure(connection, "full")
        # Foreign keys are off while tables change: altering one by copying it would cascade deletes,
        # and the pragma does nothing inside a transaction.
        connection.execute("PRAGMA foreign_keys = OFF")
        return connection

    copy = _copy_before(connect(), folder, head)
    if copy is None:
        return None
    with beginning_with("BEGIN IMMEDIATE", connect).begin() as connection:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise StorageError(f"unexpected database driver {type(driver).__name__}; use the standard sqlite3 module")
        _require_upgradable(driver, file)  # again, now that nothing can be written meanwhile
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, target)
        except (sqlite3.Error, sqlalchemy.exc.DBAPIError):
            raise
        except Exception as error:  # whatever alembic, or a migration's own code, may raise
            raise StorageError(
                f"upgrading {folder} failed and nothing was changed: {type(error).__name__}: {error}; report it"
            ) from error
        broken = driver.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StorageError(
                f"upgrading {folder} leaves dangling rows in {broken[0][0]!r}; nothing was changed: restore a backup"
            )
        if head == SCHEMA_VERSION:  # what a stranger put into an older schema is seen only now
            require_schema(driver, file)
        driver.execute(f"PRAGMA user_version = {head}")
    return copy


def _require_upgradable(connection: sqlite3.Connection, file: Path) -> None:
    """Raise if code of a stranger would run in a migration, or the file lies about its version."""
    require_no_code(connection, file)
    _require_recorded(connection, file, _version(connection, file))


def _copy_before(connection: sqlite3.Connection, folder: Path, head: int) -> Path | None:
    """A copy of a database that is older than `head`, on the disk; None if it is not older."""
    with closing(connection):
        for leftover in folder.glob(f"{DATABASE_FILE}.before-upgrade-*.tmp*"):  # of an upgrade that was killed
            leftover.unlink(missing_ok=True)
        connection.execute("BEGIN")
        found = _version(connection, folder / DATABASE_FILE)
        if found > head:
            raise _version_error(folder, found)
        _require_upgradable(connection, folder / DATABASE_FILE)
        connection.execute("COMMIT")
        if found == head:
            return None
        copy = folder / f"{DATABASE_FILE}.before-upgrade-{found}"
        temporary = copy.with_name(copy.name + ".tmp")
        try:
            connection.execute("VACUUM INTO ?", (str(temporary),))
            sync_file(temporary)
            temporary.replace(copy)
            sync_folder(folder)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return copy


def migrations_folder() -> Path:
    """Where the alembic scripts are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
