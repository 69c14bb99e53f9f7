"""vacuum gives back the space of what was deleted, and its bytes are gone from every file; what is alive stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from click.testing import CliRunner

import vecdb
from tests.assets.make_stored import TARGET
from tests.storage.embedders import plugins_for_tests
from vecdb.cli.main import cli
from vecdb.database import upgrade

SECRET = "the word is abracadabra"
COUNT = 2_000


def in_files(folder, data):
    return [path.name for path in folder.rglob("*") if path.is_file() and data in path.read_bytes()]


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def database(folder):
    with vecdb.open(folder, plugins=plugins_for_tests(), timeout=0.5) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_deleted_bytes_are_in_no_file_and_the_space_is_given_back(folder, database, kind):
    rows = np.random.default_rng(0).standard_normal((COUNT, 32)).astype(np.float32)
    brought = database.create_collection("brought", dimension=32, metric="l2", index=kind)
    brought.add(
        [f"{SECRET} {n}" if n % 10 else f"kept {n}" for n in range(COUNT)],
        ids=[str(n) for n in range(COUNT)],
        metadata=[{"n": n, "note": SECRET if n % 10 else "kept"} for n in range(COUNT)],
        vectors=rows,
    )
    texts = database.create_collection("texts", embedder="counting")
    texts.add([SECRET, "kept"], ids=["secret", "kept"])
    pictures = database.create_collection("pictures", embedder="bytes")
    pictures.add([vecdb.Image(SECRET.encode() * 1000)], ids=["x"])
    texts.ingest([vecdb.Record("bad", f"unreadable {SECRET}")], on_error="quarantine")
    vector = texts.get(["secret"])[0].vectors.tobytes()
    brought.optimize()
    brought.delete(where={"note": SECRET})
    texts.delete(["secret", "bad"])
    pictures.delete(["x"])
    brought.optimize()
    before = size(folder)

    report = database.vacuum()

    assert in_files(folder, SECRET.encode()) == []
    assert in_files(folder, vector) == []
    for gone in (1, 777, COUNT - 1):
        assert in_files(folder, rows[gone].tobytes()) == []
    assert in_files(folder, rows[10].tobytes()) != []  # or nothing would be proved
    assert report.before >= report.after == size(folder)
    assert size(folder) < before / 3
    assert database.check()
    assert [record.id for record in brought] == [str(n) for n in range(0, COUNT, 10)]
    assert brought.search(rows[50], k=1)[0].id == "50"
    assert len(brought.search(rows[50], k=COUNT)) == COUNT // 10
    assert texts.search("kept")[0].id == "kept"
    texts.add(["another"], ids=["another"])
    assert texts.search("another", k=1)[0].id == "another"


def test_labels_and_keys_are_not_given_out_again(database):
    points = database.create_collection("points", dimension=2, metric="l2", index="hnsw")
    points.add([None] * 3, ids=list("abc"), vectors=[[1, 2], [3, 4], [5, 6]])
    points.optimize()
    points.delete(["c"])
    database.vacuum()
    points.add([None], ids=["d"], vectors=[[7, 8]])
    with database._engine.snapshot() as snapshot:
        assert snapshot.rows("SELECT max(label) FROM vectors") == [(4,)]
        assert snapshot.rows("SELECT max(key) FROM records") == [(4,)]
    assert [hit.id for hit in points.search([5, 6], k=3)] == ["b", "d", "a"]
    assert database.check()


def test_others_go_on_reading_and_one_who_does_not_let_go_is_said(folder, database):
    points = database.create_collection("points", dimension=2)
    points.add(["x" * 10_000] * 50, vectors=np.random.default_rng(0).standard_normal((50, 2)))
    points.delete(where={})
    with vecdb.open(folder, read_only=True) as other, other._engine.snapshot() as snapshot:
        assert snapshot.rows("SELECT count(*) FROM records") == [(0,)]
        with pytest.raises(vecdb.DatabaseLockedError, match=r"end what reads it .*run `vecdb vacuum` again"):
            database.vacuum()
        assert snapshot.rows("SELECT count(*) FROM records") == [(0,)]
    assert database.check()
    database.vacuum()
    assert in_files(folder, b"x" * 1000) == []


def test_writers_and_searchers_beside_it(folder, database):
    rows = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    points = database.create_collection("points", dimension=8, metric="l2", index="hnsw")
    points.add([None] * 300, ids=[str(n) for n in range(300)], vectors=rows[:300])
    points.optimize()
    problems = []

    def write():
        try:
            with vecdb.open(folder) as other:
                for n in range(300, 600, 10):
                    ids = [str(n) for n in range(n, n + 10)]
                    other.collection("points").add([None] * 10, ids=ids, vectors=rows[n : n + 10])
                    other.collection("points").delete([str(n - 300)])
                    if other.collection("points").search(rows[n], k=1)[0].id != str(n):
                        problems.append(n)
        except vecdb.VecdbError as error:
            problems.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        database.vacuum()
    writer.join()
    assert problems == []
    database.vacuum()
    assert len(points) == 600 - 30
    assert database.check()


def test_killed_while_it_runs(folder):
    with vecdb.open(folder) as database:
        points = database.create_collection("points", dimension=2)
        rows = np.random.default_rng(0).standard_normal((500, 2))
        points.add(["x" * 5_000] * 500, ids=[str(n) for n in range(500)], vectors=rows)
        points.delete([str(n) for n in range(400)])
    program = """
import os, sys, threading, time, vecdb
database = vecdb.open(sys.argv[1])
threading.Thread(target=lambda: (time.sleep(float(sys.argv[2])), os.kill(os.getpid(), 9)), daemon=True).start()
while True:
    database.vacuum()
"""
    for delay in (0.001, 0.01, 0.02, 0.05):
        subprocess.run([sys.executable, "-c", program, folder, str(delay)], check=False)
        with vecdb.open(folder) as database:
            assert len(database.collection("points")) == 100
            assert database.check()


def test_a_copy_from_before_an_upgrade_is_named_and_kept(tmp_path):
    folder = tmp_path / "old.vecdb"
    shutil.copytree(TARGET.with_name("schema1.vecdb"), folder)
    copy = upgrade(folder)
    with vecdb.open(folder) as database:
        report = database.vacuum()
    assert report.copies == (copy,)
    assert copy.exists()
    result = CliRunner().invoke(cli, ["--db", str(folder), "vacuum"])
    assert result.exit_code == 0
    assert f"{copy} is a copy from before an upgrade" in result.stderr
    assert "MB before" in result.stderr


def test_read_only(folder):
    vecdb.open(folder).close()
    with vecdb.open(folder, read_only=True) as database, pytest.raises(vecdb.ReadOnlyError):
        database.vacuum()


@pytest.mark.parametrize(("unreadable", "works"), [("index", True), ("test.vecdb", False)])
def test_a_folder_that_cannot_be_read_is_no_bare_error(database, folder, monkeypatch, unreadable, works):
    database.create_collection("texts", embedder="counting").add(["a"], ids=["a"])

    def refusing(real):
        def listed(path):
            if str(path).endswith(unreadable):
                raise OSError(errno.EIO, "Input/output error")
            return real(path)

        return listed

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refusing(os.listdir))
        patch.setattr(os, "scandir", refusing(os.scandir))
        if works:
            database.vacuum()
        else:
            with pytest.raises(vecdb.StorageError, match="look there for copies"):
                database.vacuum()
    assert "a" in database.collection("texts")
    database.vacuum()
