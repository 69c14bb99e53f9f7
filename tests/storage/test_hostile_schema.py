"""The schema of a database made by a stranger: no code of it runs, and no version in it is believed."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

import vecdb
from tests.assets.make_stored import TARGET
from tests.storage import hostile
from vecdb.database import upgrade
from vecdb.storage import schema
from vecdb.storage.engine import DATABASE_FILE

OLDER = sorted(path for path in TARGET.parent.glob("schema*.vecdb") if path != TARGET)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return hostile.make(tmp_path_factory.mktemp("made") / "made.vecdb")


@pytest.fixture
def stranger(made, tmp_path):
    """A copy of a database with something in every table."""
    return Path(shutil.copytree(made, tmp_path / "stranger.vecdb"))


def sql(folder, *statements):
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(folder, name, old, new):
    """Change the SQL of a table or an index behind SQLite's back."""
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        before = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
        assert old in before
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (before.replace(old, new, 1), name))


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- code, and tables that are not ours ---------------------------------------------------------

TRIGGER = "CREATE TRIGGER {} {} BEGIN DELETE FROM records; END"
PLANTED = [
    ([TRIGGER.format("t", "AFTER INSERT ON records")], "trigger"),
    ([TRIGGER.format("stat1", "BEFORE UPDATE ON spaces")], "trigger"),
    (["CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"], "view"),
    (["CREATE TABLE mine (a)"], "a table that is not vecdb's, 'mine'"),
    (["CREATE TABLE sqlitestat (a)"], "a table that is not vecdb's"),
    (["ALTER TABLE records ADD COLUMN extra TEXT"], "'records' is not as vecdb makes it"),
    (["ALTER TABLE records ADD COLUMN twice TEXT AS (id || id)"], "generated or hidden column"),
    (["ALTER TABLE records ADD COLUMN small INTEGER CHECK (small < 3)"], "code in the definition of 'records'"),
    (["ALTER TABLE spaces RENAME COLUMN metric TO measure"], "'spaces' is not as vecdb makes it"),
    (["CREATE INDEX i ON records (length(content))"], "an index on an expression"),
    (["CREATE INDEX i ON records (key) WHERE key > 3"], "an index that is not vecdb's"),
    (["CREATE INDEX i ON records (kind)"], "an index that is not vecdb's"),
    (["CREATE UNIQUE INDEX i ON records (kind, key)"], "an index that is not vecdb's"),
    (["DROP INDEX vectors_by_space", "CREATE INDEX vectors_by_space ON vectors (checksum)"], "not vecdb's"),
    (["DROP INDEX vectors_by_space", "CREATE INDEX vectors_by_space ON vectors (space_id) WHERE label > 5"], "not vec"),
    (["DROP INDEX vectors_by_space", "CREATE INDEX vectors_by_space ON vectors (space_id DESC)"], "not vecdb's"),
    (["DROP TABLE failures"], "lacks the table 'failures'"),
]


@pytest.mark.parametrize(("statements", "words"), PLANTED, ids=lambda value: str(value)[:60])
def test_what_vecdb_never_makes_is_named_and_refused(stranger, statements, words):
    sql(stranger, "PRAGMA foreign_keys = OFF", *statements)
    before = content_of(stranger)[DATABASE_FILE]
    for read_only in (True, False):
        with pytest.raises(vecdb.CorruptDatabaseError, match=words) as caught:
            vecdb.open(stranger, read_only=read_only)
        assert "restore a backup" in str(caught.value)
    assert content_of(stranger)[DATABASE_FILE] == before


def test_a_virtual_table_is_refused_before_anything_is_asked_of_it(stranger):
    for module in ("fts5(a)", "rtree(id, low, high)"):
        with contextlib.suppress(sqlite3.OperationalError):  # this SQLite lacks the module
            sql(stranger, f"CREATE VIRTUAL TABLE planted USING {module}")
            break
    else:
        pytest.skip("this SQLite has no module for virtual tables")
    with pytest.raises(vecdb.CorruptDatabaseError, match="holds"):
        vecdb.open(stranger)


REWRITTEN = [
    ("records", "AUTOINCREMENT", ""),  # keys would be given out again
    ("records", "UNIQUE (collection_id, id)", "UNIQUE (collection_id, id, kind)"),
    ("records", "ON DELETE CASCADE", ""),
    ("records", "FOREIGN KEY(collection_id) REFERENCES collections", "FOREIGN KEY(collection_id) REFERENCES spaces"),
    ("spaces", "dimension INTEGER NOT NULL", "dimension INTEGER"),
    ("spaces", "dimension INTEGER", "dimension TEXT"),
    ("spaces", "DEFAULT 0", "DEFAULT 9"),
    ("collections", "name TEXT NOT NULL", "name TEXT NOT NULL COLLATE NOCASE"),
    ("collections", "UNIQUE (name)", "UNIQUE (name) ON CONFLICT REPLACE"),
    ("records", "content TEXT", "content TEXT /* CHECK */"),
    ("record_vectors_by_source", "IS NOT NULL", "IS NULL"),
]


@pytest.mark.parametrize(("name", "old", "new"), REWRITTEN)
def test_a_table_that_only_looks_like_ours_is_refused(stranger, name, old, new):
    rewrite(stranger, name, old, new)
    with pytest.raises((vecdb.CorruptDatabaseError, vecdb.StorageError)):
        vecdb.open(stranger)


@pytest.mark.parametrize("lie", ["type = 'index'", "name = 'sqlite_stat1'", "tbl_name = 'spaces'", "rootpage = 'x'"])
def test_an_entry_that_lies_about_what_it_makes_is_refused(stranger, lie):
    sql(
        stranger,
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END",
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET {lie} WHERE name = 't'",
    )
    with pytest.raises(vecdb.StorageError):
        vecdb.open(stranger)


def test_a_missing_plain_index_is_no_reason_to_refuse(stranger):
    sql(stranger, "DROP INDEX vectors_by_space")
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        assert database.collection("good").count() == 1


def test_statistics_of_sqlite_are_no_foreign_tables(stranger):
    sql(stranger, "ANALYZE")
    vecdb.open(stranger).close()


def test_the_comparison_takes_no_time_that_one_would_notice(stranger):
    vecdb.open(stranger).close()
    with closing(sqlite3.connect(stranger / DATABASE_FILE)) as connection:
        times = []
        for _ in range(20):
            begin = time.perf_counter()
            schema.require_schema(connection, stranger)
            times.append(time.perf_counter() - begin)
    assert min(times) < 0.02


# --- versions that lie, and upgrades ------------------------------------------------------------

LIES = [
    "UPDATE alembic_version SET version_num = '0001'",
    "UPDATE alembic_version SET version_num = 'x; DROP TABLE records'",
    "UPDATE alembic_version SET version_num = x'ff'",
    "DELETE FROM alembic_version",
    "INSERT INTO alembic_version VALUES ('0009')",
    "DROP TABLE alembic_version",
    "PRAGMA user_version = 1",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = -5",
]


@pytest.mark.parametrize("lie", LIES)
def test_a_version_that_lies(stranger, lie):
    sql(stranger, lie)
    before = content_of(stranger)[DATABASE_FILE]
    for attempt in (vecdb.open, lambda path: vecdb.open(path, read_only=True), upgrade):
        with pytest.raises(vecdb.CorruptDatabaseError, match="restore a backup"):
            attempt(stranger)
    assert content_of(stranger)[DATABASE_FILE] == before
    assert not list(stranger.glob("*before-upgrade*"))


@pytest.mark.parametrize("lie", LIES[1:6])
def test_an_older_version_that_lies_is_not_upgraded(tmp_path, lie):
    old = Path(shutil.copytree(OLDER[0], tmp_path / "old.vecdb"))
    sql(old, lie)
    before = content_of(old)[DATABASE_FILE]
    with pytest.raises(vecdb.CorruptDatabaseError, match="restore a backup"):
        upgrade(old)
    assert content_of(old)[DATABASE_FILE] == before


CODE_IN_AN_OLDER_ONE = [
    TRIGGER.format("t", "AFTER INSERT ON alembic_version"),
    TRIGGER.format("t", "AFTER UPDATE ON alembic_version"),
    TRIGGER.format("t", "AFTER UPDATE ON records"),
    "CREATE VIEW v AS SELECT 1",
    "ALTER TABLE records ADD COLUMN twice TEXT AS (id || id)",
    "CREATE INDEX i ON records (length(content))",
    # Neither is code: that they are not ours is seen after the migration, which is rolled back.
    "CREATE TABLE mine (a)",
    "ALTER TABLE records ADD COLUMN extra TEXT",
]


@pytest.mark.parametrize("older", OLDER, ids=lambda path: path.stem)
@pytest.mark.parametrize("code", CODE_IN_AN_OLDER_ONE)
def test_an_upgrade_runs_no_code_of_a_stranger(tmp_path, older, code):
    old = Path(shutil.copytree(older, tmp_path / "old.vecdb"))
    sql(old, code)

    def state():
        with closing(sqlite3.connect(old / DATABASE_FILE)) as connection:
            return list(connection.iterdump()), connection.execute("PRAGMA user_version").fetchone()

    before = state()
    with pytest.raises(vecdb.CorruptDatabaseError):
        upgrade(old)
    assert state() == before


def test_what_a_killed_upgrade_left_is_gone_after_the_next(tmp_path):
    old = Path(shutil.copytree(OLDER[0], tmp_path / "old.vecdb"))
    for name in ("before-upgrade-1.tmp", "before-upgrade-1.tmp-journal", "before-upgrade-0.tmp"):
        (old / f"{DATABASE_FILE}.{name}").write_text("half a copy")
    copy = upgrade(old)
    assert [path for path in old.iterdir() if "before-upgrade" in path.name] == [copy]


def test_the_copy_is_on_the_disk_before_the_upgrade_begins(tmp_path, monkeypatch):
    old = Path(shutil.copytree(OLDER[0], tmp_path / "old.vecdb"))
    steps = []
    monkeypatch.setattr(schema, "sync_file", lambda path: steps.append(f"sync {path.name}"))
    monkeypatch.setattr(schema, "sync_folder", lambda path: steps.append(f"sync {path.name}"))
    checked = schema.require_no_code
    monkeypatch.setattr(schema, "require_no_code", lambda *given: [steps.append("look"), checked(*given)])
    upgrade(old)
    assert steps[:4] == ["look", f"sync {DATABASE_FILE}.before-upgrade-1.tmp", "sync old.vecdb", "look"]
