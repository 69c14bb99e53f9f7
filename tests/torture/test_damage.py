"""The damage campaign judges rightly: what is said, is; and a reader that errs in silence is caught."""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
from contextlib import closing

import pytest

import vecdb
from tests.storage.embedders import plugins_for_tests
from tests.torture.damage_bases import make_bases
from tests.torture.damage_files import Damage, Refused, damage_index
from tests.torture.damage_rows import damage_rows, other_value
from tests.torture.damage_visit import Visit
from vecdb.index.hnsw import HnswIndex

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks, and is for Linux")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    plugins = plugins_for_tests()
    folder = tmp_path_factory.mktemp("damage") / "bases"
    return {base.name: base for base in make_bases(folder, 3, lambda path: vecdb.open(path, plugins=plugins))}


def visited(base, tmp_path, damage, change=None):
    folder = tmp_path / "damaged.vecdb"
    shutil.copytree(base.folder, folder)
    if change is not None:
        change(folder)
    return Visit(folder, base.state, damage, plugins_for_tests()).run()


def execute(folder, sql, *values):
    with closing(sqlite3.connect(folder / "vecdb.sqlite3", isolation_level=None)) as connection:
        assert connection.execute(sql, values).rowcount > 0


@pytest.mark.parametrize("name", ["small", "graph", "contents", "log"])
def test_an_undamaged_database_is_harmless_by_the_strictest_promise(bases, name, tmp_path):
    verdict = visited(bases[name], tmp_path, Damage("index", "none", ""))
    assert (verdict.outcome, verdict.failures) == ("harmless", [])


def test_a_damaged_vector_is_found_and_mended(bases, tmp_path):
    def change(folder):
        execute(folder, "UPDATE vectors SET data = zeroblob(length(data)) WHERE label = 65")

    verdict = visited(bases["small"], tmp_path, Damage("row", "vectors.data changed", ""), change)
    assert (verdict.outcome, verdict.failures) == ("mended", [])


def test_answers_that_are_wrong_without_a_word_are_caught(bases, tmp_path, monkeypatch):
    """A check that finds nothing, over vectors that no longer are what they were."""

    def change(folder):
        execute(folder, "DELETE FROM record_vectors WHERE record_key = 5")

    monkeypatch.setattr(vecdb.Database, "check", lambda self, fix=False: vecdb.CheckReport((), 0, 0, 0))
    verdict = visited(bases["small"], tmp_path, Damage("row", "record_vectors deleted", ""), change)
    assert [kind for kind, _ in verdict.failures] == ["silently wrong"]


def test_a_foreign_error_is_caught(bases, tmp_path, monkeypatch):
    monkeypatch.setattr(vecdb.Collection, "count", lambda self, where=None: {}["no such key"])
    verdict = visited(bases["small"], tmp_path, Damage("row", "none", ""))
    assert verdict.failures
    assert all(kind.startswith("foreign error: KeyError") for kind, _ in verdict.failures)


def test_an_index_file_that_is_believed_is_caught(bases, tmp_path, monkeypatch):
    """Without the checksum of the manifest, other vectors pass for these."""
    load = HnswIndex.load
    monkeypatch.setattr(HnswIndex, "load", lambda path, sha256, **options: load(path, **options))

    def change(folder):
        for path in (folder / "index").iterdir():
            data = bytearray(path.read_bytes())
            for node in range(100, 300):  # labels and vectors exchanged: sound to look at
                here, there = (96 + n * (4 + 4 * 32 + 32 + 8) + 4 + 4 * 32 for n in (node, node - 100))
                data[here : here + 32], data[there : there + 32] = data[there : there + 32], data[here : here + 32]
            path.write_bytes(data)

    verdict = visited(bases["graph"], tmp_path, Damage("index", "vectors exchanged", ""), change)
    assert "wrong" in [kind for kind, _ in verdict.failures]


def test_every_table_and_column_of_the_schema_can_be_hit(bases, tmp_path):
    """The list is the schema's own: a new column is damaged as well."""
    hit = set()
    for number in range(500):
        base = bases["contents"]
        folder = tmp_path / "damaged.vecdb"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base.folder, folder)
        try:
            hit.add(damage_rows(folder, base, [base], random.Random(number)).kind.split(" ")[0])
        except Refused:
            continue
    with closing(sqlite3.connect(bases["contents"].folder / "vecdb.sqlite3")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        filled = [name for name in tables if connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]]
        columns = {
            f"{table}.{column}"
            for table in filled
            for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        }
    assert len(columns) > 40
    assert len(columns - hit) < len(columns) / 4


def test_other_values_are_other_values():
    chance = random.Random(2)
    for value in (None, 0, 7, "", "text", b"", b"bytes", 2**40):
        for _ in range(200):
            other = other_value(value, chance)
            assert type(other) is not type(value) or other != value


def test_the_same_seed_damages_the_same(bases, tmp_path):
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name / "damaged.vecdb"
        shutil.copytree(bases["graph"].folder, folder)
        damage = damage_index(folder, bases["graph"], list(bases.values()), random.Random(11))
        found.append((damage.kind, damage.detail))
    assert found[0] == found[1]
