"""What is on the disk before a call returns. Power losses at every file operation: tests/torture/power.py."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import vecdb
from vecdb.storage import backup, durable


def test_the_name_of_a_new_database_is_on_the_disk_before_it_can_be_written_to(tmp_path, plugins, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    folder = tmp_path / "above" / "new.vecdb"
    with vecdb.open(folder, plugins=plugins):
        assert {tmp_path, tmp_path / "above"} <= set(synced)


def test_all_of_a_backup_is_on_the_disk_before_it_has_its_name_and_the_name_before_it_returns(
    tmp_path, database, vectors, monkeypatch
):
    target, steps = tmp_path / "copies" / "copy.vecdb", []

    def note(what):
        real = getattr(durable, what)

        def noting(path):
            steps.append((what, path.name.endswith(".unfinished") or path.name, target.exists()))
            real(path)

        monkeypatch.setattr(backup, what, noting)

    note("sync_tree")
    note("sync_folder")
    database.backup(target)
    assert steps == [("sync_tree", True, False), ("sync_folder", "copies", True)]


def test_syncing_a_tree_reaches_every_file_and_folder(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).touch()
    synced = []
    monkeypatch.setattr(durable, "sync_file", synced.append)
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    durable.sync_tree(tmp_path)
    assert sorted(synced) == sorted([tmp_path, *tmp_path.rglob("*")])


def test_making_a_database_goes_on_where_it_was_cut_off_with_a_hot_journal(tmp_path, plugins):
    """Reading alone cannot roll such a journal back: the file was once taken for a stranger's."""
    cut_off, folder = tmp_path / "cut-off", tmp_path / "new.vecdb"
    cut_off.mkdir()
    with closing(sqlite3.connect(cut_off / "vecdb.sqlite3", isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA user_version = 1")  # a first page
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version = 2")
        shutil.copytree(cut_off, folder)
        connection.execute("ROLLBACK")
    with (folder / "vecdb.sqlite3-journal").open("r+b") as journal:
        # SQLite writes this when the rest of the journal, with one page, is on the disk: now it counts.
        journal.write(bytes.fromhex("d9d505f920a163d7") + (1).to_bytes(4, "big"))
    with vecdb.open(folder, plugins=plugins) as database:
        database.create_collection("texts", embedder="counting").add(["a text"], ids=["a"])
    with vecdb.open(folder, plugins=plugins) as database:
        assert "a" in database.collection("texts")
        assert not database.check().problems
