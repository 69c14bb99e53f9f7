"""A database turned into one of the schema before the newest, for tests only.

What the newest migration added is what the stored database of the schema before lacks. One that changes the
values of columns that stay needs more.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from vecdb.storage import schema
from vecdb.storage.engine import DATABASE_FILE

_STORED = Path(__file__).resolve().parents[1] / "assets"


def make_older(folder: Path) -> int:
    """Undo the newest migration of a database that nobody has open; the version that it has now."""
    version = schema.SCHEMA_VERSION - 1
    before = _columns(_STORED / f"schema{version}.vecdb" / DATABASE_FILE, "immutable=1")  # nothing is made beside it
    now = _columns(folder / DATABASE_FILE, "mode=ro")
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for table, columns in now.items():
            if table not in before:
                connection.execute(f"DROP TABLE {table}")
                continue
            for column in columns - before[table]:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema.revision(version),))
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    return version


def _columns(file: Path, how: str) -> dict[str, set[str]]:
    with closing(sqlite3.connect(f"{file.as_uri()}?{how}", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {
            table: {column for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
            for (table,) in tables.fetchall()
        }
