"""Which schema a file has; making a new database; upgrading an old one (alembic)."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy

from vecdb.errors import (
    CorruptDatabaseError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    SchemaVersionError,
    StorageError,
)
from vecdb.storage.engine import (
    DATABASE_FILE,
    LOCK_FILE,
    DatabaseEngine,
    Durability,
    beginning_with,
    configure,
    translated,
)
from vecdb.storage.lock import WriterLock
from vecdb.storage.tables import metadata, properties
from vecdb.version import __version__

SCHEMA_VERSION = 3
APPLICATION_ID = 0x76656364  # "vecd", shown by `file`
INDEX_FOLDER = "index"
_PAGE_SIZE = 8192
_OWN_FILES = {LOCK_FILE, INDEX_FOLDER, *(DATABASE_FILE + suffix for suffix in ("", "-wal", "-shm", "-journal"))}


def open_engine(folder: Path, *, read_only: bool, durability: Durability, timeout: float) -> DatabaseEngine:
    """Open the database in `folder`, making it where there is none.

    Raises:
        InvalidInputError: the path is a file, or a folder with other things in it.
        NotFoundError: there is nothing, and `read_only` forbids making it.
        CorruptDatabaseError: what is there is not a vecdb database.
        SchemaVersionError: it has another schema than this vecdb.
    """
    _check_path(folder)
    if not _has_tables(folder / DATABASE_FILE):
        if read_only:
            raise NotFoundError(f"there is no vecdb database at {folder}; check the path", name=str(folder))
        _make(folder, durability, timeout)
    engine = DatabaseEngine(folder, read_only=read_only, durability=durability, timeout=timeout)
    try:
        check_schema(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _check_path(folder: Path) -> None:
    shown = f"{str(folder)[:200]!r}"
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except ValueError as error:  # NUL, or half a character
        raise InvalidInputError(f"{shown} cannot be a path: {error}; give another path") from error
    except OSError as error:
        raise StorageError(f"cannot open {shown}: {error.strerror}; give another path") from error
    if not is_folder:
        raise InvalidInputError(f"{folder} is a file, but a vecdb database is a folder; give another path")


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def _has_tables(file: Path) -> bool:
    """False also for what a process leaves that is killed while it makes a database: a first page without tables."""
    try:
        size = file.stat().st_size
    except OSError:
        return False
    if size > _PAGE_SIZE:
        return True
    if not size:
        return False
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as probe:
        return bool(probe.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    return True  # not readable as a database: what it is instead is said when it is opened


# --- a new database -----------------------------------------------------------------------------


def _make(folder: Path, durability: Durability, timeout: float) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
            metadata.create_all(made)
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


def revision(version: int) -> str:
    """Alembic's name of a schema version."""
    return f"{version:04d}"


# --- which schema -------------------------------------------------------------------------------


def check_schema(engine: DatabaseEngine) -> None:
    """Raise unless the file is a vecdb database of this version's schema, without foreign code in it."""
    with engine.snapshot() as snapshot:
        one = snapshot.driver.execute
        application = one("PRAGMA application_id").fetchone()[0]
        version = one("PRAGMA user_version").fetchone()[0]
        kinds = one("SELECT type, name FROM sqlite_schema").fetchall()
    names = {name for kind, name in kinds if kind == "table"}
    if application != APPLICATION_ID:
        raise CorruptDatabaseError(f"{engine.file} is an SQLite file but not a vecdb database; give another path")
    if version != SCHEMA_VERSION:
        raise _version_error(engine.folder, version)
    # A trigger or a view in a stranger's file is code that runs on our statements.
    code = sorted(name for kind, name in kinds if kind in ("trigger", "view"))
    if code:
        raise CorruptDatabaseError(
            f"{engine.file} holds a trigger or view ({code[0]!r}), which vecdb never makes; "
            "do not use this file, restore a backup"
        )
    missing = sorted(set(metadata.tables) - names)
    if missing:
        raise CorruptDatabaseError(f"{engine.file} lacks the table {missing[0]!r}; restore a backup")


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
        StorageError: the upgrade failed; the database is as it was.
    """
    if not _has_content(folder / DATABASE_FILE):
        raise NotFoundError(f"there is no vecdb database at {folder}; check the path", name=str(folder))
    scripts = script_location or migrations_folder()
    lock = WriterLock(folder / LOCK_FILE, timeout)
    try:
        with lock:
            return _upgrade(folder, scripts, target)
    except (sqlite3.Error, sqlalchemy.exc.DBAPIError) as error:
        raise translated(error, folder) from error
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

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)
        # Foreign keys are off while tables change: altering one by copying it would cascade deletes,
        # and the pragma does nothing inside a transaction.
        connection.execute("PRAGMA foreign_keys = OFF")
        return connection

    copy = _copy_before(connect(), folder, head)
    if copy is None:
        return None
    with beginning_with("BEGIN IMMEDIATE", connect).begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, target)
        except (sqlite3.Error, sqlalchemy.exc.DBAPIError):
            raise
        except Exception as error:  # whatever alembic, or a migration's own code, may raise
            raise StorageError(
                f"upgrading {folder} failed and nothing was changed: {type(error).__name__}: {error}; report it"
            ) from error
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StorageError(
                f"upgrading {folder} leaves dangling rows in {broken[0][0]!r}; nothing was changed: run `vecdb check`"
            )
        connection.exec_driver_sql(f"PRAGMA user_version = {head}")
    return copy


def _copy_before(connection: sqlite3.Connection, folder: Path, head: int) -> Path | None:
    """A copy of a database that is older than `head`; None if it is not."""
    with closing(connection):
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise CorruptDatabaseError(f"{folder / DATABASE_FILE} is not a vecdb database; give another path")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > head:
            raise _version_error(folder, found)
        if found == head:
            return None
        copy = folder / f"{DATABASE_FILE}.before-upgrade-{found}"
        temporary = copy.with_name(copy.name + ".tmp")
        temporary.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(temporary),))
        temporary.replace(copy)
        return copy


def migrations_folder() -> Path:
    """Where the alembic scripts are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
