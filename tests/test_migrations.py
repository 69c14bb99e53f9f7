"""Migrations make the very schema that a new database gets; upgrades are whole or not at all."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config

import vecdb
from tests.assets.make_stored import RECORDS, TARGET, VECTORS
from vecdb.database import upgrade
from vecdb.storage import schema
from vecdb.storage.engine import DATABASE_FILE, beginning_with

OLDER = sorted(path for path in TARGET.parent.glob("schema*.vecdb") if path != TARGET)
NEXT = schema.revision(schema.SCHEMA_VERSION + 1)
MIGRATIONS = schema.migrations_folder()

NEXT_SCHEMA = '''
"""A test's next schema."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade():
    op.add_column("records", sa.Column("note", sa.Text, nullable=False, server_default=""))
    op.execute("UPDATE records SET note = 'was ' || id")
    op.create_index("records_by_note", "records", ["note"])
    {then}
'''


def normalised(file):
    """What the tables and indexes of a file are, however their SQL is written."""
    with closing(sqlite3.connect(file)) as connection:

        def rows(sql, *parameters):
            return connection.execute(sql, parameters).fetchall()

        found = {}
        for kind, name, sql in rows("SELECT type, name, sql FROM sqlite_schema ORDER BY name"):
            if kind == "index":
                columns = rows("SELECT * FROM pragma_index_xinfo(?)", name)
                found[name] = (columns, re.sub(r"\s+", "", (sql or "").upper()).partition("WHERE")[2])
            else:
                found[name] = (
                    rows("SELECT * FROM pragma_table_xinfo(?)", name),
                    sorted(rows('SELECT "table", "from", "to", on_delete FROM pragma_foreign_key_list(?)', name)),
                    sorted(rows('SELECT "unique", origin, partial FROM pragma_index_list(?)', name)),
                    rows("SELECT wr, strict FROM pragma_table_list(?)", name),
                    "AUTOINCREMENT" in (sql or "").upper(),
                )
        return found


def rows_of(file, sql, *parameters):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql, parameters).fetchall()


@pytest.fixture
def asset(tmp_path):
    """A copy of the stored database of this schema."""
    return Path(shutil.copytree(TARGET, tmp_path / "stored.vecdb"))


def migrations_with(tmp_path, *, then=""):
    copy = tmp_path / "migrations"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = NEXT_SCHEMA.format(then=then, revision=NEXT, down_revision=schema.revision(schema.SCHEMA_VERSION))
    (copy / "versions" / f"{NEXT}_note.py").write_text(text)
    return copy


def test_all_migrations_on_an_empty_file_make_the_schema_of_a_new_database(tmp_path):
    file = tmp_path / "migrated.sqlite3"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with beginning_with("BEGIN IMMEDIATE", lambda: sqlite3.connect(file, isolation_level=None)).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    vecdb.open(tmp_path / "new.vecdb").close()
    assert normalised(file) == normalised(tmp_path / "new.vecdb" / DATABASE_FILE)
    assert rows_of(file, "SELECT version_num FROM alembic_version") == [(schema.revision(schema.SCHEMA_VERSION),)]


def test_the_stored_database_has_the_schema_of_a_new_one(tmp_path, asset):
    """A schema that changes without a new version and a migration is found here."""
    vecdb.open(tmp_path / "new.vecdb").close()
    assert normalised(asset / DATABASE_FILE) == normalised(tmp_path / "new.vecdb" / DATABASE_FILE)


def test_the_stored_database_opens_and_is_searched(asset):
    require_stored_records(asset)


@pytest.mark.parametrize("older", OLDER, ids=lambda path: path.stem)
def test_each_older_database_is_refused_and_after_its_upgrade_it_is_a_current_one(tmp_path, asset, older):
    old = Path(shutil.copytree(older, tmp_path / "old.vecdb"))
    with pytest.raises(vecdb.SchemaVersionError, match=rf"run `vecdb upgrade {re.escape(str(old))}`"):
        vecdb.open(old)
    assert upgrade(old).exists()
    assert normalised(old / DATABASE_FILE) == normalised(asset / DATABASE_FILE)
    require_stored_records(old)


def require_stored_records(folder):
    with vecdb.open(folder) as database:
        assert database.collections() == ["kept"]
        kept = database.collection("kept")
        assert [(record.id, record.content, record.metadata) for record in kept] == [
            (record.id, record.content, record.metadata) for record in RECORDS
        ]
        for record, vector in zip(kept, VECTORS, strict=True):
            np.testing.assert_array_equal(record.vectors, vector)
            assert kept.search(vector, k=1)[0].id == record.id
        assert [hit.id for hit in kept.search(VECTORS[0], where={"title": "日本"})] == ["日本"]
        assert database.check()


def test_reading_the_stored_database_changes_no_byte(asset):
    before = (asset / DATABASE_FILE).read_bytes()
    with vecdb.open(asset, read_only=True) as database:
        assert database.collection("kept").count() == len(RECORDS)
    assert (asset / DATABASE_FILE).read_bytes() == before


def test_an_upgrade_changes_the_schema_and_keeps_a_copy_from_before(tmp_path, asset):
    copy = schema.upgrade(asset, timeout=1, script_location=migrations_with(tmp_path))
    assert copy == asset / f"{DATABASE_FILE}.before-upgrade-{schema.SCHEMA_VERSION}"
    file = asset / DATABASE_FILE
    assert rows_of(file, "PRAGMA user_version") == [(schema.SCHEMA_VERSION + 1,)]
    assert rows_of(file, "SELECT version_num FROM alembic_version") == [(NEXT,)]
    assert rows_of(file, "SELECT id, note FROM records ORDER BY key") == [(r.id, f"was {r.id}") for r in RECORDS]
    assert rows_of(copy, "PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]
    assert rows_of(copy, "SELECT id FROM records ORDER BY key") == [(r.id,) for r in RECORDS]
    assert "note" not in str(normalised(copy))


@pytest.mark.parametrize(
    "fault",
    [
        'op.execute("SELECT * FROM no_such_table")',
        'raise RuntimeError("a fault of ours")',
        'op.execute("DELETE FROM spaces")',  # leaves dangling rows, because foreign keys are off meanwhile
    ],
)
def test_a_failing_upgrade_leaves_the_database_as_it_was_and_can_be_repeated(tmp_path, asset, fault):
    before = normalised(asset / DATABASE_FILE)
    broken = migrations_with(tmp_path, then=fault)
    with pytest.raises(vecdb.StorageError, match=re.escape(str(asset))):
        schema.upgrade(asset, timeout=1, script_location=broken)
    assert normalised(asset / DATABASE_FILE) == before
    assert rows_of(asset / DATABASE_FILE, "PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]
    with vecdb.open(asset) as database:
        assert database.collection("kept").count() == len(RECORDS)
    schema.upgrade(asset, timeout=1, script_location=migrations_with(tmp_path))
    assert rows_of(asset / DATABASE_FILE, "SELECT count(*) FROM records WHERE note != ''") == [(len(RECORDS),)]


def test_upgrading_a_current_database_does_nothing(asset):
    names = sorted(path.name for path in asset.iterdir())
    assert upgrade(asset) is None
    assert sorted(path.name for path in asset.iterdir() if path.name != "writer.lock") == [
        name for name in names if name != "writer.lock"
    ]


def lie(file, version):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def test_an_older_schema_is_refused_with_the_command_that_helps(tmp_path):
    old = Path(shutil.copytree(OLDER[0], tmp_path / "old.vecdb"))
    with pytest.raises(vecdb.SchemaVersionError, match=rf"run `vecdb upgrade {re.escape(str(old))}`") as caught:
        vecdb.open(old)
    assert (caught.value.found, caught.value.expected) == ("1", str(schema.SCHEMA_VERSION))


def test_a_newer_schema_is_refused_with_what_to_install(asset):
    lie(asset / DATABASE_FILE, 7)
    for attempt in (vecdb.open, upgrade):
        with pytest.raises(vecdb.SchemaVersionError, match="pip install -U vecdb-engine") as caught:
            attempt(asset)
        assert caught.value.found == "7"


def test_upgrade_names_what_is_wrong_with_its_argument(tmp_path):
    with pytest.raises(vecdb.NotFoundError, match="no vecdb database"):
        upgrade(tmp_path / "nothing.vecdb")
    garbage = tmp_path / "garbage.vecdb"
    garbage.mkdir()
    (garbage / DATABASE_FILE).write_bytes(b"not a database at all" * 500)
    with pytest.raises(vecdb.CorruptDatabaseError, match="not a vecdb database"):
        upgrade(garbage)
