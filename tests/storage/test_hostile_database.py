"""Values in a database made by a stranger: every one has its type and its limits."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.storage import hostile
from vecdb.storage.engine import DATABASE_FILE
from vecdb.storage.tables import metadata

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
            connection.execute(statement)


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
