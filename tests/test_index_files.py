"""Index files are caches: lost, damaged, exchanged or behind, they cost time and never a wrong answer.

Any warning that is not expected is an error in these tests.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest

import vecdb
from tests.graphs import COUNT, DIMENSION, assert_right, index_files, make, manifest, vectors
from vecdb import IndexRebuiltWarning
from vecdb.index_files import GraphFile
from vecdb.storage.checksums import row_checksum


def test_a_saved_graph_is_loaded_and_not_built_again(folder):
    make(folder)
    (file,) = index_files(folder)
    before = file.read_bytes()
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        plan = collection.explain(vectors()[0])
        assert (plan.strategy, plan.indexed) == ("graph", COUNT)
        assert_right(collection)
    assert index_files(folder) == [file]
    assert file.read_bytes() == before


def remove(file):
    file.unlink()


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def grow(file):
    with file.open("ab") as opened:
        opened.write(b"\0")


def exchange(file):
    other = file.parents[1].with_name("other.vecdb")
    with vecdb.open(other) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        collection.add([None] * COUNT, vectors=vectors(seed=9))
        collection.optimize()
    shutil.copyfile(index_files(other)[0], file)


def garbage(file):
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def link(file):
    target = file.with_suffix(".elsewhere")
    file.rename(target)
    file.symlink_to(target)


def directory(file):
    file.unlink()
    file.mkdir()


DAMAGES = [remove, truncate, empty, flip, grow, exchange, garbage, link, directory]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_file_costs_one_warning_and_is_rebuilt(folder, damage):
    make(folder)
    damage(index_files(folder)[0])
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        with pytest.warns(IndexRebuiltWarning, match="searches are exact and the index is rebuilt"):
            assert collection.search(vectors()[5], k=1)[0].id == "5"
        assert_right(collection)  # without another warning, which would be an error here
        collection.optimize()
        assert collection.explain(vectors()[0]).indexed == COUNT
        assert_right(collection)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        assert collection.explain(vectors()[0]).strategy == "graph"
        assert_right(collection)


def break_a_link(file):
    data = bytearray(file.read_bytes())
    data[96 + 4 : 96 + 8] = b"\xff" * 4
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, break_a_link, garbage], ids=lambda damage: damage.__name__)
def test_whatever_changed_in_a_file_is_said_in_the_same_words(folder, damage):
    make(folder)
    damage(index_files(folder)[0])
    with vecdb.open(folder) as database, pytest.warns(IndexRebuiltWarning, match=r"\.hnsw was changed\)"):
        assert_right(database.collection("c"))


@pytest.mark.parametrize(
    "lie",
    [
        "platform = 'abacus'", "dimension = 9", "metric = 'ip'", "count = count - 1", "size = size + 1", "M = 17",
        "sha256 = 'x'", "last_label = last_label + 1000", "name = '../vecdb.sqlite3'", "name = 'no such file'",
    ],
)  # fmt: skip
def test_a_manifest_row_that_does_not_fit_the_file_costs_one_warning(folder, lie):
    make(folder)
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        connection.execute(f"UPDATE index_files SET {lie}")
    with vecdb.open(folder) as database, pytest.warns(IndexRebuiltWarning):
        assert_right(database.collection("c"))


def test_the_generation_before_stands_in_for_a_damaged_file(folder):
    make(folder)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.add([None], ids=[str(COUNT)], vectors=vectors(COUNT + 1)[-1:])
        collection.optimize()
    newest = manifest(folder)[-1][0]
    assert len(index_files(folder)) == 2
    flip(folder / "index" / newest)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        assert collection.explain(vectors()[0]).indexed >= COUNT
        assert_right(collection, live=range(COUNT + 1), rows=vectors(COUNT + 1))


def test_two_generations_are_kept_and_strays_collected(folder):
    make(folder)
    index = folder / "index"
    rows = vectors(COUNT + 5)
    for path in (index / "1-stray.hnsw", index / "1-left.hnsw.tmp"):
        path.write_bytes(b"left by a killed process")
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        for n in range(COUNT, COUNT + 5):
            collection.add([None], ids=[str(n)], vectors=rows[n : n + 1])
            collection.optimize()
    names = {path.name for path in index.iterdir()}
    assert names == {name for name, _, _ in manifest(folder)}
    assert len(manifest(folder)) == 2


def test_files_of_a_deleted_collection_are_collected(folder):
    make(folder)
    with vecdb.open(folder) as database:
        database.delete_collection("c")
        collection = database.create_collection("d", dimension=2, index="hnsw")
        collection.add([None], vectors=[[1, 2]])
        collection.optimize()
    assert [path.name for path in index_files(folder)] == [name for name, _, _ in manifest(folder)]


def test_an_older_index_never_replaces_a_newer_one(folder):
    make(folder, 10)
    rows = vectors(20)
    with vecdb.open(folder) as slow, vecdb.open(folder) as fast:
        behind, ahead = slow.collection("c"), fast.collection("c")
        index = behind._space("default").index
        index.catch_up()
        ahead.add([None] * 10, ids=[str(n) for n in range(10, 20)], vectors=rows[10:])
        ahead.delete(["0"])
        ahead.optimize()
        newest = manifest(folder)
        index._publish()  # what a process that was suspended would do now
        assert manifest(folder) == newest
        assert_right(behind, live=range(1, 20), rows=rows)
    with vecdb.open(folder) as database:
        assert_right(database.collection("c"), live=range(1, 20), rows=rows)


def test_a_graph_is_saved_at_closing_only_if_it_is_worthwhile(folder, monkeypatch):
    rows = vectors(200)
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index="hnsw")
        collection.add([None] * 50, vectors=rows[:50])
    assert index_files(folder) == []
    monkeypatch.setattr("vecdb.sync._PUBLISH_AFTER", 100)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.add([None] * 150, vectors=rows[50:])
        deadline = time.monotonic() + 30
        while collection.explain(rows[0]).indexed < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(index_files(folder)) == 1


def test_a_read_only_handle_writes_no_index_file(folder):
    make(folder)
    index_files(folder)[0].unlink()
    with vecdb.open(folder, read_only=True) as database:
        collection = database.collection("c")
        with pytest.warns(IndexRebuiltWarning):
            assert_right(collection)
        collection.optimize()
        assert_right(collection)
    assert index_files(folder) == []


def test_an_index_folder_that_is_gone_is_made_again(folder):
    make(folder)
    shutil.rmtree(folder / "index")
    with vecdb.open(folder) as database:
        with pytest.warns(IndexRebuiltWarning):
            assert_right(database.collection("c"))
        database.collection("c").optimize()
    assert len(index_files(folder)) == 1


def test_what_a_killed_process_left_of_index_files_is_gone_when_the_database_is_opened(folder):
    make(folder)
    (file,) = index_files(folder)
    left = folder / "index" / "1-0123.hnsw.tmp"
    left.write_bytes(b"half a graph")
    unpublished = file.with_name("1-4567.hnsw")
    unpublished.write_bytes(b"renamed, and killed before it was published")
    vecdb.open(folder, read_only=True).close()
    assert left.exists()
    vecdb.open(folder).close()
    assert sorted((folder / "index").iterdir()) == [file]


def test_what_a_living_process_writes_is_left_alone(folder):
    make(folder)
    with vecdb.open(folder) as database:
        space = database.collection("c")._space("default")
        with GraphFile(database._engine, space.row) as file:
            space.index.catch_up()
            file.save(space.index.graph)
            vecdb.open(folder).close()
            assert file._temporary.exists()
            assert file._temporary.stat().st_size > 0
        assert not file._temporary.exists()


def test_opening_does_not_wait_for_a_writer_to_remove_leftovers(folder):
    make(folder)
    left = folder / "index" / "1-0123.hnsw.tmp"
    left.touch()
    with vecdb.open(folder) as database, database._engine.transaction():
        left.touch()
        before = time.monotonic()
        vecdb.open(folder, timeout=60).close()
        assert time.monotonic() - before < 30
        assert left.exists()
    vecdb.open(folder).close()
    assert not left.exists()


def test_a_manifest_that_claims_more_than_its_file_holds_is_not_believed(folder):
    make(folder)
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        connection.execute("UPDATE index_files SET unreachable = '[]', ef = 1")
    with vecdb.open(folder) as database, pytest.warns(IndexRebuiltWarning, match="manifest's row .* was changed"):
        assert_right(database.collection("c"))


def test_a_file_that_does_not_fit_is_replaced_though_an_older_one_did(folder):
    """As a power loss leaves it with durability "normal": the manifest of an earlier moment."""
    make(folder)
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        collection.add([None], ids=[str(COUNT)], vectors=vectors(COUNT + 1)[-1:])
        collection.optimize()
    remove(folder / "index" / manifest(folder)[-1][0])
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        assert [problem.where for problem in database.check()] == ["index files"]
        collection.optimize()
        assert list(database.check()) == []
        assert_right(collection, live=range(COUNT + 1), rows=vectors(COUNT + 1))
    assert {name for name, _, _ in manifest(folder)} == {path.name for path in index_files(folder)}


def test_a_file_that_does_not_fit_is_forgotten_where_no_graph_is_needed(folder):
    make(folder)
    remove(index_files(folder)[0])
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        connection.execute("UPDATE spaces SET index_kind = 'auto'")
        space = connection.execute("SELECT * FROM spaces").fetchone()
        connection.execute("UPDATE spaces SET checksum = ?", (row_checksum(*space[:14]),))
    with vecdb.open(folder) as database:
        collection = database.collection("c")
        with pytest.warns(IndexRebuiltWarning):
            collection.search(vectors()[0])
        collection.optimize()
        assert list(database.check()) == []
    with vecdb.open(folder) as database:
        assert_right(database.collection("c"))
