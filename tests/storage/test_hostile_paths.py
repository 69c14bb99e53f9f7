"""A database made by a stranger: no name, no link and no index file in it leads elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vecdb
from tests.storage import hostile
from vecdb.storage.engine import DATABASE_FILE


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return hostile.make(tmp_path_factory.mktemp("made") / "made.vecdb")


@pytest.fixture
def stranger(made, tmp_path):
    """A copy of a database with something in every table."""
    return Path(shutil.copytree(made, tmp_path / "stranger.vecdb"))


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
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            for query in random.standard_normal((3, 4)):
                assert len(graph.search(query, k=10)) <= 10
        left_aside = any(issubclass(one.category, vecdb.IndexRebuiltWarning) for one in given)
        graph.search(query, k=60)
        graph.search(query, where={"none": {"$exists": False}})
        used, refused = used + (not left_aside), refused + left_aside
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
