"""A database made by a stranger: nothing of it runs, nothing in it leads elsewhere, and every value has its limits."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.assets.make_stored import TARGET
from tests.storage import hostile
from vecdb.database import upgrade
from vecdb.storage import schema
from vecdb.storage.engine import DATABASE_FILE
from vecdb.storage.tables import metadata

OLDER = sorted(path for path in TARGET.parent.glob("schema*.vecdb") if path != TARGET)
DEEP = "[" * 100_000


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
            connection.execute(*([statement] if isinstance(statement, str) else statement))


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


# --- values -------------------------------------------------------------------------------------

WRONG = {
    "TEXT": [None, 7, b"\xff\xfe", DEEP],
    "INTEGER": [None, "abc", -1, 2**62],
    "BLOB": [None, "text", b"\0" * 7, b"\0\0\xc0\x7f" * 4],
}
ALL_COLUMNS = [(table.name, column) for table in metadata.tables.values() for column in table.columns]


def use(folder):
    """Everything that reads the database; nothing but `VecdbError` may come out."""
    failed = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vecdb.VecdbWarning)
        try:
            for name, call in hostile.uses(folder):
                try:
                    call()
                except vecdb.VecdbError as error:
                    failed[name] = error
        except vecdb.VecdbError as error:  # at opening
            failed["open"] = error
    return failed


def test_a_sound_database_passes_all_uses(stranger):
    assert use(stranger) == {}


@pytest.mark.parametrize(("table", "column"), ALL_COLUMNS, ids=lambda value: getattr(value, "name", value))
def test_a_value_of_any_type_is_an_error_of_ours_or_none(made, tmp_path, table, column):
    kind = "BLOB" if column.type.__class__.__name__ == "LargeBinary" else str(column.type)
    planted = 0
    for number, value in enumerate(WRONG[kind]):
        folder = Path(shutil.copytree(made, tmp_path / f"{number}" / "stranger.vecdb"))
        try:
            hostile.plant(folder, table, column.name, value)
        except sqlite3.Error:
            continue  # SQLite itself does not let this be
        planted += 1
        failed = use(folder)
        if table not in ("properties", "alembic_version"):
            assert not [name for name in failed if name.startswith("good.")] or table in ("collections", "records")
        shutil.rmtree(folder.parent)
    assert planted


DESCRIPTIONS = [
    "[]", "{}", "null", '{"fields":3}', '{"fields":{"x":{"text":5}}}', '{"fields":{"x":null}}', '{"image":"zz"}',
    '{"image":"00"}', '{"image":5}', '{"audio":"' + "00" * 16 + '"}', '{"file":"\\u0000","size":1,"sha256":"a"}',
    '{"file":"","size":1,"sha256":"a"}', '{"file":5}', '{"file":"a"}', '{"text":"a","file":"b"}', '{"text":["a"]}',
    '{"code":"import os"}', '{"fields":' + '{"a":' * 200 + "1" + "}" * 201, "1" * 5000, '{"a":' + "1" * 5000 + "}",
    '{"a":1} {"b":2}', ' {"a":1}', '{"a":Infinity}',
]  # fmt: skip


@pytest.mark.parametrize("text", DESCRIPTIONS, ids=lambda text: text[:40])
def test_a_description_of_content_that_describes_none(stranger, text):
    hostile.plant(stranger, "records", "content", text, where="kind = 2")
    hostile.plant(stranger, "failures", "content", text)
    hostile.plant(stranger, "failures", "kind", 2)
    failed = use(stranger)
    assert {"iter(pictures)", "pictures.get", "pictures.search", "texts.failures"} <= failed.keys()
    assert all(isinstance(error, vecdb.CorruptDatabaseError) for error in failed.values())
    assert "record" in str(failed["iter(pictures)"]) or "are missing" in str(failed["iter(pictures)"])
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        assert not database.check()


SPACES = {
    "dimension": [0, -1, 65_537, 2**31, 2**62],
    "metric": ["hamming", "", "COSINE"],
    "index_kind": ["__import__", "", "HNSW"],
    "index_options": ['{"M":1073741824}', '{"M":-1}', '{"M":true}', '{"ef":1e9}', '{"capacity":9999999999}', "[]",
                      '{"ef":9223372036854775807}', '{"threads":100}'],
    "options": ["[]", "5", DEEP, '{"a":NaN}'],
    "environment": ['{"a":1}', "[]", DEEP],
    "weights": ['{"a":1}', '{"a":[1,2]}', '{"a":["x","y","z"]}', "[]", DEEP],
    "probe": ["text"],
    "name": [b"default", 5],
}  # fmt: skip


@pytest.mark.parametrize("column", SPACES)
def test_one_damaged_space_keeps_no_other_collection_from_being_used(made, tmp_path, column):
    for number, value in enumerate(SPACES[column]):
        folder = Path(shutil.copytree(made, tmp_path / f"{number}" / "stranger.vecdb"))
        hostile.plant(folder, "spaces", column, value, where="name = 'default' AND embedder = 'counting'")
        failed = use(folder)
        assert isinstance(failed["texts.search"], vecdb.CorruptDatabaseError), value
        assert "space 1" in str(failed["texts.search"])
        assert {name for name in failed if "texts" not in name} <= {"check", "check(fix=True)"}


@pytest.mark.parametrize("probe", [b"\1", b"\4\0\0\0", b"\xff" * 12, b"\3\0\0\0abc", b"\4\0\0\0\0\0\xc0\x7f"])
def test_a_damaged_probe(stranger, probe):
    hostile.plant(stranger, "spaces", "probe", probe, where="embedder = 'counting'")
    hostile.plant(stranger, "spaces", "environment", '{"numpy":"0.1"}', where="embedder = 'counting'")
    failed = use(stranger)
    assert isinstance(failed["texts.search"], vecdb.CorruptDatabaseError | vecdb.EmbedderMismatchError)


def test_a_space_as_large_as_its_row_says_takes_no_memory(made, tmp_path):
    """2**31 dimensions or links would be gigabytes at once."""
    resource = pytest.importorskip("resource")
    script = (
        "import sys; from tests.storage.test_hostile_database import use; from pathlib import Path\n"
        "print(len(use(Path(sys.argv[1]))))"
    )
    for number, (table, column, value) in enumerate(
        [
            ("spaces", "dimension", 2**31),
            ("spaces", "index_options", '{"M":1073741824,"ef_construction":200}'),
            ("index_files", "M", 2**30),
            ("index_files", "count", 2**40),
            ("index_files", "ef", 2**62),
            ("index_files", "size", 2**40),
            ("index_files", "dimension", 2**31),
            ("blobs", "data", 2**33),
            ("vectors", "data", 2**33),
        ]
    ):
        folder = Path(shutil.copytree(made, tmp_path / f"{number}" / "stranger.vecdb"))
        hostile.plant(folder, table, column, value)
        done = subprocess.run(
            [sys.executable, "-c", script, folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
        )
        assert done.returncode == 0, (table, column, done.stderr[-2000:])


# --- embedders that a file names ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["os", "os:system", "../x", "/tmp/x.py", "canary", "canary:Evil", "'; --", "x" * 9999])
def test_an_embedder_that_is_not_installed_is_not_imported(stranger, name):
    (stranger / "canary.py").write_text("raise SystemExit('this ran')")
    hostile.plant(stranger, "spaces", "embedder", name, where="embedder = 'counting'")
    before = set(sys.modules)
    failed = use(stranger)
    assert isinstance(failed["texts.search"], vecdb.EmbedderNotFoundError)
    assert "iter(texts)" not in failed
    assert not [module for module in set(sys.modules) - before if "canary" in module]


@pytest.mark.parametrize(
    "options",
    [{"factory": "os:system"}, {"flavour": "code"}, {"drift": 10**400}, {"device": ["cpu"]}],
)
def test_options_that_a_file_names_are_those_of_the_embedder(stranger, options):
    hostile.plant(stranger, "spaces", "options", json.dumps(options), where="embedder = 'counting'")
    assert isinstance(use(stranger)["texts.search"], vecdb.InvalidInputError)


# --- paths that a file names --------------------------------------------------------------------

PATHS = ["../victim", "../../victim", "/victim", "..\\victim", "a\0b", "", ".", "con", "1-x.hnsw", "x" * 5000]


@pytest.mark.parametrize("name", PATHS, ids=repr)
def test_the_name_of_an_index_file_leads_nowhere(stranger, tmp_path, name):
    """Neither opened, nor copied over, nor removed: a backup wrote to, and removed, files outside of its folder."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    name = str(victim) if name == "/victim" else name
    hostile.plant(stranger, "index_files", "name", name)
    target = tmp_path / "deep" / "copy.vecdb"
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        with pytest.warns(vecdb.IndexRebuiltWarning, match="not the name of an index file"):
            assert len(database.collection("graph").search([1, 2, 3, 4], k=60)) == 60
        database.backup(target)
        database.check(fix=True)
        database.collection("graph").reindex()
        database.delete_collection("graph")
    assert victim.read_text() == "mine"
    assert {path.name for path in tmp_path.rglob("victim")} == {"victim"}
    assert len(list(tmp_path.rglob("victim"))) == 1
    with vecdb.open(target, plugins=hostile.plugins_for_tests()) as copy:
        assert copy.collection("graph").count() == 60


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("links cannot be made here")


def test_a_folder_of_indexes_that_is_a_link_is_left_alone(stranger, tmp_path):
    """Opening it removed every file of the folder that it led to."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis.doc").write_text("mine")
    shutil.rmtree(stranger / "index")
    link(stranger / "index", documents)
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        with pytest.warns(vecdb.IndexRebuiltWarning, match="is a link to another place"):
            assert len(database.collection("graph").search([1, 2, 3, 4], k=60)) == 60
        with pytest.raises(vecdb.StorageError, match="is a link to another place"):
            database.collection("graph").reindex()
        database.backup(tmp_path / "copy.vecdb")
        database.check(fix=True)
        database.delete_collection("texts")
    assert {path.name: path.read_text() for path in documents.iterdir()} == {"thesis.doc": "mine"}


def test_an_index_file_that_is_a_link_is_neither_read_nor_copied(stranger, tmp_path):
    (file,) = (stranger / "index").glob("*.hnsw")
    secret = tmp_path / "secret"
    shutil.move(file, secret)
    link(file, secret)
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        with pytest.warns(vecdb.IndexRebuiltWarning, match="missing"):
            database.collection("graph").search([1, 2, 3, 4])
        database.backup(tmp_path / "copy.vecdb")
    assert list((tmp_path / "copy.vecdb" / "index").iterdir()) == []
    assert secret.exists()


@pytest.mark.parametrize(
    "name",
    ["./../victim", "./models/../../victim", "./stranger.vecdb/../../stranger.vecdb/model", "./a/../../outside/model",
     "./vecdb.sqlite3-wal", "./writer.lock", "./index/stray", "./link/secret", "./link", "./a\0b", "./"],
)  # fmt: skip
def test_a_backup_copies_models_of_the_folder_and_nothing_else(stranger, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("mine")
    (tmp_path / "victim").write_text("mine")
    for inside in ("model", "a/model", "models/model"):
        (stranger / inside).parent.mkdir(exist_ok=True)
        (stranger / inside).write_text("a model")
    (stranger / "index" / "stray").write_text("stray")
    link(stranger / "link", outside)
    hostile.plant(stranger, "spaces", "options", json.dumps({"model": name}), where="embedder = 'counting'")
    target = tmp_path / "backups" / "copy.vecdb"
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        database.backup(target)
    assert [path for path in target.parent.iterdir() if path != target] == []
    assert {path.name for path in target.iterdir()} <= {DATABASE_FILE, "index", f"{DATABASE_FILE}-wal"}
    mine = {path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"mine"}
    assert mine == {outside / "secret", tmp_path / "victim"}


def test_a_models_links_stay_links_in_a_backup(stranger, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (stranger / "model").mkdir()
    (stranger / "model" / "weights").write_text("weights")
    link(stranger / "model" / "link", secret)
    (stranger / "model" / "circle").symlink_to(stranger / "model", target_is_directory=True)
    hostile.plant(stranger, "spaces", "options", '{"model":"./model"}', where="embedder = 'counting'")
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        database.backup(tmp_path / "copy.vecdb")
    copied = tmp_path / "copy.vecdb" / "model"
    assert (copied / "weights").read_text() == "weights"
    assert (copied / "link").is_symlink()
    assert (copied / "circle").is_symlink()


# --- index files --------------------------------------------------------------------------------

ATTACK = """
import faulthandler, hashlib, os, shutil, sqlite3, struct, sys, warnings
import numpy as np
from pathlib import Path
import vecdb
from tests.storage import hostile
faulthandler.enable()
warnings.simplefilter("ignore")
folder, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(seed)
(file,) = (folder / "index").glob("*.hnsw")
sound = file.read_bytes()
rows = (folder / "vecdb.sqlite3").read_bytes()
HEADER = struct.Struct("=6QiI3QdQ")
EXTREMES = [0, 1, 2, 59, 60, 61, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
used = refused = 0
for round in range(rounds):
    data = bytearray(sound)
    for _ in range(random.integers(1, 4)):
        kind = random.integers(5)
        if kind == 0:  # a field of the header
            fields = list(HEADER.unpack_from(data))
            place = random.integers(len(fields))
            fields[place] = int(random.choice(np.array(EXTREMES, object)))
            try:
                HEADER.pack_into(data, 0, *fields)
            except struct.error:
                fields[place] = -1 if place == 6 else 1
                HEADER.pack_into(data, 0, *fields)
        elif kind == 1:  # a word anywhere
            place = 4 * int(random.integers(len(data) // 4))
            struct.pack_into("=I", data, place, int(random.choice(np.array(EXTREMES, object))) % 2**32)
        elif kind == 2:  # a link to another node that exists
            place = 96 + 4 * int(random.integers((len(data) - 96) // 4))
            struct.pack_into("=I", data, place, int(random.integers(60)))
        elif kind == 3:
            del data[int(random.integers(len(data))):]
        else:
            data += bytes(random.integers(0, 256, int(random.integers(1, 200)), np.uint8))
        if len(data) < HEADER.size:
            data = bytearray(sound)
    file.write_bytes(data)
    (folder / "vecdb.sqlite3").write_bytes(rows)
    for left in folder.glob("vecdb.sqlite3-*"):
        left.unlink()
    connection = sqlite3.connect(folder / "vecdb.sqlite3", isolation_level=None)
    count, M = struct.unpack_from("=2Q", data, 8)[1], struct.unpack_from("=Q", data, 72)[0]
    values = [("size", len(data)), ("sha256", hashlib.sha256(data).hexdigest())]
    if random.integers(2):  # the manifest lies with the file
        values += [("count", min(count, 2**62)), ("M", min(M, 2**62))]
    for column, value in values:
        connection.execute(f"UPDATE index_files SET {column} = ?", (value,))
    hostile.reseal(connection)
    connection.close()
    print(round, file=sys.stderr, flush=True)
    with vecdb.open(folder) as database:
        graph = database.collection("graph")
        for query in random.standard_normal((3, 4)):
            assert len(graph.search(query, k=10)) <= 10
        graph.search(query, k=60)
        graph.search(query, where={"none": {"$exists": False}})
        in_use = graph.explain(query).strategy == "graph"
        used, refused = used + in_use, refused + (not in_use)
        if round % 5 == 0:
            graph.add([None] * 3, vectors=random.standard_normal((3, 4)))
            graph.optimize()
            graph.search(query, k=60)
    for left in (folder / "index").iterdir():
        if left != file:
            left.unlink()
print(used, refused)
"""


def test_an_index_file_whose_checksum_is_right_and_whose_content_is_hostile(stranger):
    """The manifest lies in the same folder, so its checksum proves nothing: every number is checked before use."""
    rounds = 150
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, stranger, "1", str(rounds)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    used, refused = map(int, done.stdout.split())
    assert used + refused == rounds
    assert used > rounds // 20  # or the attack never came so far
    assert refused > rounds // 20


def test_vectors_that_are_no_numbers_are_left_out(stranger):
    bad = np.array([np.nan, 1, 2, 3], "<f4").tobytes()
    hostile.plant(stranger, "vectors", "data", bad, where="length(data) = 16")
    sql(stranger, "DELETE FROM index_files")
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        with pytest.warns(vecdb.VecdbWarning, match="left out of searches"):
            hits = database.collection("graph").search([1, 2, 3, 4], k=60)
        assert len(hits) == 59
        assert all(np.isfinite(hit.distance) for hit in hits)


def test_text_that_is_no_utf8_is_a_damaged_file(stranger):
    sql(stranger, "UPDATE records SET content = CAST(x'ff41' AS TEXT) WHERE id = 'a'")
    with vecdb.open(stranger, plugins=hostile.plugins_for_tests()) as database:
        with pytest.raises(vecdb.CorruptDatabaseError, match="not UTF-8"):
            list(database.collection("texts"))
        assert database.collection("good").get(["g"])[0].content == "sound"
