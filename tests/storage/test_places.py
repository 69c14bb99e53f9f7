"""Where a database can be and where not: what is in the way is named, and never touched."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

import vecdb
from vecdb import CorruptDatabaseError, InvalidInputError, NotFoundError, ReadOnlyError, SchemaVersionError

FILE = "vecdb.sqlite3"


@pytest.fixture
def made(folder):
    """A closed database with one record."""
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=2)
        collection.add(["text"], ids=["x"], vectors=[[1, 2]])
    return folder


def content_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sql(folder, *statements):
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_new_database_is_a_private_folder(folder):
    vecdb.open(folder / "deeper" / "a.vecdb").close()
    made = folder / "deeper" / "a.vecdb"
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in made.iterdir()} <= {FILE, "index", "writer.lock"}
    with closing(sqlite3.connect(made / FILE)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA page_size").fetchone() == (8192,)
        assert connection.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"vecd", "big"),)


@pytest.mark.parametrize(
    "path",
    [
        "",
        5,
        None,
        b"bytes",
        "a\0b",
        "a\ud800",
        pytest.param("x" * 300, id="long"),
        pytest.param("a/" * 3000, id="deep"),
    ],
)
def test_a_path_that_cannot_be(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InvalidInputError, vecdb.StorageError), match=r"path|place"):
        vecdb.open(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["日本語.vecdb", "with space", "a?b#c%20&mode=ro.vecdb", "quote'\".vecdb", "x.vecdb/"])
def test_a_folder_of_any_name(tmp_path, name):
    for _ in range(2):
        with vecdb.open(f"{tmp_path}/{name}") as database:
            database.get_or_create_collection("c", dimension=2).upsert([None], ids=["x"], vectors=[[1, 2]])
            assert database.path == tmp_path / name
    assert [path.name for path in tmp_path.iterdir()] == [name.rstrip("/")]


def test_a_folder_that_is_a_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("mine")
    with pytest.raises(InvalidInputError, match="is a file, but a vecdb database is a folder; give another path"):
        vecdb.open(file)
    with pytest.raises((InvalidInputError, vecdb.StorageError), match=r"give another path|cannot make"):
        vecdb.open(file / "below.vecdb")
    assert file.read_text() == "mine"


def test_a_folder_with_other_things_in_it(tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InvalidInputError, match=r"holds other things \('thesis.doc'"):
        vecdb.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_an_empty_folder_will_do(folder):
    folder.mkdir()
    vecdb.open(folder).close()


@pytest.mark.parametrize("length", [99, 100, 20_000])
def test_a_file_that_is_no_database_is_left_alone(folder, length):
    folder.mkdir()
    (folder / FILE).write_bytes((b"garbage " * 3000)[:length])
    before = content_of(folder)
    for read_only in (False, True):
        with pytest.raises(CorruptDatabaseError, match="not a vecdb database; give another path"):
            vecdb.open(folder, read_only=read_only)
    assert content_of(folder)[FILE] == before[FILE]


def test_another_programs_database_is_left_alone(folder):
    folder.mkdir()
    sql(folder, "CREATE TABLE mine (a)", "INSERT INTO mine VALUES (1)")
    before = content_of(folder)
    with pytest.raises(CorruptDatabaseError, match="is an SQLite file but not a vecdb database"):
        vecdb.open(folder)
    assert content_of(folder)[FILE] == before[FILE]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_database(made, share):
    os.truncate(made / FILE, int((made / FILE).stat().st_size * share))

    def look():
        with vecdb.open(made) as database:
            list(database.collection("c"))
            return bool(database.check())

    try:
        assert not look()
    except CorruptDatabaseError as error:
        assert "restore a backup" in str(error)  # noqa: PT017  (either is a clear answer)


def test_an_empty_database_file_is_filled(folder):
    """What a crash during the very first open leaves."""
    folder.mkdir()
    (folder / FILE).touch()
    with vecdb.open(folder) as database:
        assert database.collections() == []


@pytest.mark.parametrize(
    "code",
    [
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END",
        "CREATE VIEW harmless AS SELECT 1",
    ],
)
def test_code_planted_in_the_file_is_refused(made, code):
    sql(made, code)
    with pytest.raises(CorruptDatabaseError, match=r"a (trigger|view), .*do not use this file, restore a backup"):
        vecdb.open(made)


def test_a_view_in_place_of_a_table_is_refused(made):
    sql(made, "ALTER TABLE failures RENAME TO hidden", "CREATE VIEW failures AS SELECT * FROM hidden")
    with pytest.raises(CorruptDatabaseError):
        vecdb.open(made)


def test_a_missing_table_is_named(made):
    sql(made, "DROP TABLE index_files")
    with pytest.raises(CorruptDatabaseError, match="lacks the table 'index_files'"):
        vecdb.open(made)


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [(0, CorruptDatabaseError, "its schema is 0 and that it is"), (99, SchemaVersionError, "made by a newer vecdb")],
)
def test_a_lying_schema_version(made, version, kind, words):
    sql(made, f"PRAGMA user_version = {version}")
    before = content_of(made)
    for read_only in (False, True):
        with pytest.raises(kind, match=words):
            vecdb.open(made, read_only=read_only)
    assert content_of(made)[FILE] == before[FILE]


# --- read-only ----------------------------------------------------------------------------------


def test_read_only_reads_and_never_writes(made):
    before = content_of(made)[FILE]
    with vecdb.open(made, read_only=True) as database:
        collection = database.collection("c")
        assert collection.search([1, 2])[0].id == "x"
        assert database.check()
        for call in (
            lambda: collection.add([None], vectors=[[3, 4]]),
            lambda: collection.upsert([None], ids=["x"], vectors=[[3, 4]]),
            lambda: collection.ingest([vecdb.Record("y", None, {}, [3, 4])]),
            lambda: collection.update_metadata("x", {"n": 1}),
            lambda: collection.delete(["x"]),
            lambda: database.create_collection("d", dimension=2),
            lambda: database.get_or_create_collection("d", dimension=2),
            lambda: database.delete_collection("c"),
            lambda: database.check(fix=True),
        ):
            with pytest.raises(ReadOnlyError, match="read_only=True; open it without to write"):
                call()
        assert database.get_or_create_collection("c", dimension=2).count() == 1
    assert content_of(made)[FILE] == before


def test_read_only_needs_something_to_read(folder):
    with pytest.raises(NotFoundError, match=r"no vecdb database at .*check the path"):
        vecdb.open(folder, read_only=True)
    assert not folder.exists()


AS_NOBODY = """
import os, sys, tempfile
import vecdb
with tempfile.TemporaryDirectory() as warm, vecdb.open(warm + "/a") as database:  # imports everything, while it may
    database.create_collection("c", dimension=2).add([None], vectors=[[1, 2]])
    database.collection("c").search([1, 2]), database.check()
os.setuid(65534)
folder = sys.argv[1]
try:
    with vecdb.open(folder) as database:
        database.collection("c").add(["new"], vectors=[[3, 4]])
    print("written")
except vecdb.ReadOnlyError as error:
    print("ReadOnlyError", error)
with vecdb.open(folder, read_only=True) as database:
    collection = database.collection("c")
    print([hit.content for hit in collection.search([1, 2])], len(collection), bool(database.check()))
try:
    vecdb.open(os.path.dirname(folder) + "/new.vecdb")
except vecdb.ReadOnlyError as error:
    print("ReadOnlyError", error)
"""


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("in_use", [False, True])
def test_a_folder_that_belongs_to_somebody_else(made, in_use):
    """As another user: reading works, also while its owner writes; writing is refused with what to do."""
    for path in (made, *made.parents):
        if path.stat().st_uid == os.geteuid() and path.is_relative_to(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o055)
    (made / "index").chmod(0o755)
    with contextlib.ExitStack() as stack:
        if in_use:
            owner = stack.enter_context(vecdb.open(made)).collection("c")
            owner.upsert(["new text"], ids=["x"], vectors=[[1, 2]])
        command = [sys.executable, "-c", AS_NOBODY, made]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert run.returncode == 0, run.stderr
    write, read, new = run.stdout.splitlines()
    assert write.startswith("ReadOnlyError")
    assert re.search("open .*read.only", write)
    assert read == ("['new text'] 1 True" if in_use else "['text'] 1 True")
    assert new.startswith("ReadOnlyError")
    assert "writable place" in new


# --- closing ------------------------------------------------------------------------------------


def test_every_call_after_closing(folder, plugins):
    database = vecdb.open(folder, plugins=plugins)
    texts = database.create_collection("texts", embedder="counting")
    texts.add(["a"], ids=["x"])
    iterator = iter(texts)
    next(iterator)
    database.close()
    database.close()
    for call in (
        database.collections,
        lambda: database.collection("texts"),
        lambda: database.create_collection("c", dimension=2),
        lambda: database.get_or_create_collection("texts", embedder="counting"),
        lambda: database.delete_collection("texts"),
        database.check,
        lambda: database.backup(folder.with_name("copy")),
        lambda: texts.add(["b"]),
        lambda: texts.ingest([vecdb.Record("b", "b")]),
        lambda: texts.get(["x"]),
        lambda: texts.update_metadata("x", {}),
        lambda: texts.delete(["x"]),
        lambda: texts.search("a"),
        lambda: texts.explain("a"),
        texts.count,
        lambda: texts.spaces,
        lambda: next(iterator),
        texts.failures,
        texts.optimize,
        texts.reindex,
    ):
        with pytest.raises(vecdb.DatabaseClosedError, match=r"closed; open it again with vecdb\.open"):
            call()
    assert "closed" in repr(database)
    with vecdb.open(folder, plugins=plugins) as again:
        assert again.collection("texts").count() == 1


def test_a_database_is_one_folder_that_can_be_moved_and_copied(made, tmp_path):
    moved = tmp_path / "moved.vecdb"
    shutil.copytree(made, tmp_path / "copy.vecdb")
    made.rename(moved)
    for folder in (moved, tmp_path / "copy.vecdb"):
        with vecdb.open(folder) as database:
            assert database.collection("c").search([1, 2])[0].id == "x"


def test_home_is_not_expanded_nor_variables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with vecdb.open("$HOME.vecdb") as database:
        assert database.path == Path(tmp_path / "$HOME.vecdb")


@pytest.mark.parametrize("left", ["vecdb.sqlite3-wal", "index/1-0123.hnsw"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_database_file_that_is_gone_is_not_made_anew_beside_what_is_left_of_it(made, left, empty):
    """An empty database would answer everything wrongly, and the first write would end what could be rescued."""
    (made / left).write_bytes(b"something")
    (made / FILE).unlink()
    if empty:
        (made / FILE).touch()
    before = content_of(made)
    for read_only in (True, False):
        with pytest.raises(CorruptDatabaseError, match=r"missing or empty, though .* is there; restore a backup"):
            vecdb.open(made, read_only=read_only)
    assert content_of(made) == before
