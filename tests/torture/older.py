"""A database turned into one of the schema before the newest: the inverse of the newest migration, for tests only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from vecdb.storage import schema
from vecdb.storage.engine import DATABASE_FILE

# Schema: what its migration did, undone. A new schema needs a line here, or the campaigns say so.
_UNDO = {
    3: (
        *(
            f"ALTER TABLE {table} DROP COLUMN checksum"
            for table in ("collections", "spaces", "record_vectors", "failures", "index_files")
        ),
        "ALTER TABLE records DROP COLUMN content_checksum",
        "ALTER TABLE records DROP COLUMN metadata_checksum",
    ),
}


def make_older(folder: Path) -> int:
    """Undo the newest migration of a database that nobody has open; the version that it has now."""
    version = schema.SCHEMA_VERSION
    if version not in _UNDO:
        raise NotImplementedError(f"say in {Path(__file__).name} how the migration to schema {version} is undone")
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for statement in _UNDO[version]:
            connection.execute(statement)
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema.revision(version - 1),))
        connection.execute(f"PRAGMA user_version = {version - 1}")
        connection.execute("COMMIT")
    return version - 1
