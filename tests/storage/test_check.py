"""check finds every planted inconsistency, mends what has one right answer, and says what to do about the rest."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import plugins_for_tests

TEXTS = [f"text {n}" for n in range(6)]


@pytest.fixture
def made(folder):
    """A closed database: embedded texts, brought vectors (two records share one), pictures."""
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        database.create_collection("texts", embedder="counting").add(TEXTS, ids=list("abcdef"))
        brought = database.create_collection("brought", dimension=2, metric="l2")
        brought.add([None] * 4, ids=list("wxyz"), vectors=[[1, 2], [3, 4], [3, 4], [5, 6]])
        database.create_collection("pictures", embedder="bytes").add([vecdb.Image(b"one"), vecdb.Image(b"two")])
    return folder


def plant(folder, *statements):
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def ask(folder, sql):
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
        return connection.execute(sql).fetchall()


def check(folder, *, fix=False):
    with vecdb.open(folder, plugins=plugins_for_tests()) as database, warnings.catch_warnings():
        warnings.simplefilter("ignore", vecdb.VecdbWarning)
        return database.check(fix=fix)


def label_of(folder, id):
    return ask(folder, f"SELECT label FROM record_vectors JOIN records ON key = record_key WHERE id = '{id}'")[0][0]


def assert_whole(folder, *, texts=TEXTS):
    report = check(folder)
    assert list(report) == []
    assert report
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        for collection in map(database.collection, database.collections()):
            for record in collection:
                assert collection.search(record.vectors, k=1)[0].distance == pytest.approx(0, abs=1e-6)
        found = database.collection("texts")
        assert [found.search(text, k=1)[0].content for text in texts] == texts


def test_a_sound_database(made):
    report = check(made)
    assert report
    assert (report.problems, report.collections, report.records, report.vectors) == ((), 3, 12, 11)
    before = ask(made, "SELECT * FROM vectors")
    assert check(made, fix=True)
    assert ask(made, "SELECT * FROM vectors") == before
    assert_whole(made)


FLIP = "UPDATE vectors SET data = CAST(substr(data, 1, 5) || x'ff' || substr(data, 7) AS BLOB) WHERE label = {}"
ORPHAN = "INSERT INTO vectors (space_id, hash, checksum, data) SELECT id, x'00', 1, zeroblob(32) FROM spaces LIMIT 1"
MENDABLE = {
    "orphan vector": ORPHAN,
    "orphan vectors, and the log of removals lost": (
        f"{ORPHAN};"
        "DELETE FROM sqlite_sequence WHERE name = 'removals'"
    ),
    "last_label too low": "UPDATE spaces SET last_label = 0",
    "removal of a live label": "INSERT INTO removals (space_id, label) SELECT space_id, label FROM vectors LIMIT 1",
    "orphan bytes": "INSERT INTO blobs VALUES (x'00', x'01')",
    "a vector lost": "DELETE FROM vectors WHERE label = 3",
    "all vectors lost": "DELETE FROM vectors WHERE label < 7",
    "a record lost its vector": "DELETE FROM record_vectors WHERE record_key = 2",
    "the vector of another space": "UPDATE record_vectors SET label = 9 WHERE record_key = 1",
    "vectors exchanged": "UPDATE record_vectors SET label = 7 - label WHERE record_key < 7",
    "the vector of another record": "UPDATE record_vectors SET label = 2 WHERE record_key = 1",
    "another source hash": "UPDATE record_vectors SET source_hash = x'00' WHERE record_key = 1",
    "no source hash": "UPDATE record_vectors SET source_hash = NULL WHERE record_key = 1",
    "cut, though it is not": "UPDATE record_vectors SET truncated = 1 WHERE record_key = 1",
    "the label of a brought vector": "UPDATE record_vectors SET label = 8 WHERE record_key = 7",
    "a brought vector of another space": "UPDATE record_vectors SET label = 11 WHERE record_key = 7",
    "a link's checksum": "UPDATE record_vectors SET checksum = checksum + 1 WHERE record_key = 1",
    "a vector's checksum": "UPDATE vectors SET checksum = checksum + 1 WHERE label = 2",
    "vectors of two labels exchanged": (
        "CREATE TEMP TABLE old AS SELECT * FROM vectors WHERE label IN (1, 2);"
        "UPDATE vectors SET hash = x'01' WHERE label = 2;"
        "UPDATE vectors SET (hash, checksum, data) = (SELECT hash, checksum, data FROM old WHERE label = 2) "
        "WHERE label = 1;"
        "UPDATE vectors SET (hash, checksum, data) = (SELECT hash, checksum, data FROM old WHERE label = 1) "
        "WHERE label = 2"
    ),
    "a vector's hash": "UPDATE vectors SET hash = x'00' WHERE label = 8",
    "a content's hash": "UPDATE records SET content_hash = x'00' WHERE key = 8",
    "a vector for nobody": (
        "INSERT INTO record_vectors SELECT 99, space_id, label, NULL, 0, 0 FROM record_vectors LIMIT 1"
    ),
    "bytes not marked as needed": "DELETE FROM blob_references WHERE record_key = 12",
    "bytes needed by nobody": "INSERT INTO blob_references (blob_hash, record_key) SELECT hash, 99 FROM blobs",
    "the labels' sequence too low": "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'vectors'",
    "the labels' sequence lost": "DELETE FROM sqlite_sequence WHERE name = 'vectors'",
    "the keys' sequence too low": "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'records'",
    "the keys' sequence at its end": "UPDATE sqlite_sequence SET seq = 9223372036854775807 WHERE name = 'records'",
    "the labels' sequence nearly at its end": "UPDATE sqlite_sequence SET seq = 1 << 62 WHERE name = 'vectors'",
    "the labels' sequence at its end": "UPDATE sqlite_sequence SET seq = 9223372036854775807 WHERE name = 'vectors'",
    "last_label from the future": "UPDATE spaces SET last_label = 1000",
    "last_label beyond all": "UPDATE spaces SET last_label = 9223372036854775807",
    "last_removal from the future": "UPDATE spaces SET last_removal = 1000",
    "removal_floor from the future": "UPDATE spaces SET removal_floor = 1000",
    "an index of SQLite is missing": "DROP INDEX record_vectors_by_label",
    "a removal of no space": "INSERT INTO removals (space_id, label) VALUES (99, 1)",
    "a change of no collection": "INSERT INTO record_changes (collection_id, record_key) VALUES (99, 1)",
    "a change that no collection knows of": "INSERT INTO record_changes (collection_id, record_key) VALUES (1, 1)",
    "last_change from the future": "UPDATE collections SET last_change = 1000",
    "last_change beyond all": "UPDATE collections SET last_change = 9223372036854775807",
    "last_change below all": "UPDATE collections SET last_change = -1",
    "last_change is no number": "UPDATE collections SET last_change = 'now'",
    "change_floor from the future": "UPDATE collections SET change_floor = 1000",
    "change_floor is no number": "UPDATE collections SET change_floor = x'00'",
    "the changes' sequence too low": (
        "INSERT INTO record_changes (sequence, collection_id, record_key) VALUES (5, 1, 1);"
        "UPDATE collections SET last_change = 5 WHERE id = 1;"
        "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'record_changes'"
    ),
    "the changes' sequence lost": (
        "INSERT INTO record_changes (sequence, collection_id, record_key) VALUES (5, 1, 1);"
        "UPDATE collections SET last_change = 5 WHERE id = 1;"
        "DELETE FROM sqlite_sequence WHERE name = 'record_changes'"
    ),
    "the changes' sequence at its end": (
        "INSERT INTO record_changes (sequence, collection_id, record_key) VALUES (9223372036854775807, 1, 1)"
    ),
}


@pytest.mark.parametrize("damage", MENDABLE)
def test_what_has_one_right_answer_is_mended(made, damage):
    plant(made, *MENDABLE[damage].split(";"))
    report = check(made)
    assert not report
    assert len(report.problems) >= 1
    assert all("--fix" in problem.advice or "reindex" in problem.advice for problem in report)
    report = check(made, fix=True)
    assert report
    assert all(problem.fixed for problem in report)
    assert_whole(made)


def test_a_live_label_that_the_index_was_told_to_forget(made):
    """The handle that runs check has lost the vector from its index by then; mending brings it back."""
    with vecdb.open(made, plugins=plugins_for_tests()) as database:
        texts = database.collection("texts")
        assert texts.search("text 2", k=1)[0].content == "text 2"
        label = label_of(made, "c")
        plant(
            made,
            f"INSERT INTO removals (space_id, label) SELECT space_id, label FROM vectors WHERE label = {label}",
            "UPDATE spaces SET last_removal = (SELECT max(sequence) FROM removals)",
        )
        assert "text 2" not in [hit.content for hit in texts.search("text 2", k=10)]
        assert not database.check()
        assert database.check(fix=True)
        assert texts.search("text 2", k=1)[0].content == "text 2"
        assert list(database.check()) == []


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_damaged_vector_is_left_out_with_a_warning_and_embedded_again(folder, kind):
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        texts = database.create_collection("texts", embedder="counting", index=kind)
        texts.add([*TEXTS, TEXTS[2]], ids=list("abcdefg"))
        good = {record.id: record.vectors for record in texts}
    label = label_of(folder, "c")
    plant(folder, FLIP.format(label))
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        texts = database.collection("texts")
        with pytest.warns(
            vecdb.VecdbWarning, match="1 stored vector.* damaged .*left out of searches; run `vecdb check`"
        ):
            hits = texts.search("text 2", k=10)
        assert {hit.id for hit in hits} == set("abdef")
        report = database.check()
        assert not report
        assert [problem.what for problem in report] == [f"the vector with label {label} is damaged"]
        assert "collection 'texts', space 'default'" in report.problems[0].where
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vecdb.VecdbWarning)
            report = database.check(fix=True)
        assert report
        assert [problem.fixed for problem in report] == [True]
        assert list(database.check()) == []
        for id, vector in good.items():
            np.testing.assert_array_equal(texts.get([id])[0].vectors, vector)
        assert [hit.id for hit in texts.search("text 2", k=2)] == ["c", "g"]
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        assert [hit.id for hit in database.collection("texts").search("text 2", k=2)] == ["c", "g"]


def test_a_truncated_vector(made):
    plant(made, f"UPDATE vectors SET data = substr(data, 1, 7) WHERE label = {label_of(made, 'c')}")
    assert not check(made)
    assert check(made, fix=True)
    assert_whole(made)


def test_embedding_again_keeps_the_vectors_of_other_spaces(folder):
    spaces = {"default": {"embedder": "counting", "source": "a"}, "b": {"embedder": "counting", "source": "b"}}
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        collection = database.create_collection("c", spaces=spaces)
        collection.add([{"a": "one", "b": "two"}], ids=["x"], metadata=[{"n": 1.0, "ä": [None]}])
        before = collection.get(["x"])[0]
    rows = "SELECT space_id, source_hash FROM record_vectors ORDER BY 1"
    hashes = ask(folder, rows)
    plant(folder, FLIP.format("(SELECT min(label) FROM vectors)"))
    assert check(folder, fix=True)
    assert ask(folder, rows) == hashes  # known as embedded: equal content is not embedded again
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        after = database.collection("c").get(["x"])[0]
    assert (repr(after.metadata), after.content) == (repr(before.metadata), before.content)
    for name in spaces:
        np.testing.assert_array_equal(after.vectors[name], before.vectors[name])


def test_a_damaged_vector_that_the_caller_brought_cannot_be_mended(made):
    plant(made, FLIP.format(label_of(made, "z")))
    for fix in (False, True):
        report = check(made, fix=fix)
        assert not report
        assert any("must be added again" in problem.advice for problem in report)
        assert not any(problem.fixed for problem in report)
    with vecdb.open(made) as database:
        brought = database.collection("brought")
        brought.upsert([None], ids=["z"], vectors=[[5, 6]])
        assert [hit.id for hit in brought.search([5, 6], k=1)] == ["z"]
    assert_whole(made)


def test_a_new_record_does_not_share_a_damaged_vector(made):
    plant(made, FLIP.format(label_of(made, "x")))
    with vecdb.open(made) as database:
        brought = database.collection("brought")
        brought.add([None], ids=["new"], vectors=[[3, 4]])
        assert [hit.id for hit in brought.search([3, 4], k=3)] == ["x", "y", "new"]
    assert_whole(made)


def test_a_damaged_vector_whose_embedder_is_missing(folder, tmp_path):
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        database.create_collection("texts", embedder=f"counting:{model}").add(["a"], ids=["a"])
    plant(folder, FLIP.format(1))
    model.unlink()
    report = check(folder, fix=True)
    assert not report
    assert any("embedding again failed" in problem.advice and "model.bin" in problem.advice for problem in report)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM vectors WHERE label = 7", "missing row of vectors"),
        ("DELETE FROM record_vectors WHERE record_key = 7", "lost a vector that it brought"),
        ("UPDATE records SET vector_count = 0 WHERE key = 7", "the record 'w' is damaged"),
        ("UPDATE vectors SET checksum = checksum + 1 WHERE label = 8", "the vector with label 8 is damaged"),
        ("UPDATE records SET content = 'other' WHERE id = 'a'", "the record 'a' is damaged"),
        ("UPDATE records SET content = x'ff' WHERE id = 'a'", "the record 'a' is damaged"),
        ("UPDATE records SET content = CAST(x'ff' AS TEXT) WHERE id = 'a'", "the record 'a' is damaged"),
        ("UPDATE records SET id = 'other' WHERE id = 'a'", "the record 'other' is damaged"),
        ("UPDATE records SET metadata = '{\"n\": 1}' WHERE id = 'a'", "the metadata of record 'a' is damaged"),
        ("UPDATE record_vectors SET label = 7 WHERE record_key = 8", "which vector record number 8 has is damaged"),
        ("UPDATE blobs SET data = x'00'", "stored bytes are damaged"),
        ("UPDATE collections SET name = 'other' WHERE id = 2", "a row was changed"),
        ("UPDATE spaces SET dimension = 3 WHERE id = 2", "a row was changed"),
        ("UPDATE spaces SET options = '{' WHERE id = 2", "a row was changed"),
        ("DELETE FROM spaces WHERE id = 2", "a collection has no space"),
        ("UPDATE records SET metadata = '[1]' WHERE id = 'a'", "not a JSON object"),
        ("UPDATE records SET metadata = '{' WHERE id = 'a'", "not a JSON object"),
        ("UPDATE records SET collection_id = 2 WHERE id = 'a'", "space of another collection"),
        ("DELETE FROM blobs", "missing row of blobs"),
        ("DELETE FROM collections WHERE id = 2", "missing row of collections"),
    ],
)
def test_what_is_lost_is_found_and_not_called_mended(made, damage, words):
    plant(made, damage)  # foreign keys are off on this connection
    for fix in (False, True):
        report = check(made, fix=fix)
        assert not report
        found = [problem for problem in report if words in problem.what]
        assert found
        assert not found[0].fixed
        if fix:
            assert not any("--fix" in problem.advice for problem in report)
            assert any(word in found[0].advice for word in ("backup", "again", "delete it"))


def test_a_damaged_page_of_the_file(made):
    file = made / "vecdb.sqlite3"
    data = bytearray(file.read_bytes())
    for page in range(8192, len(data), 8192):
        if data[page] == 13:  # a leaf of a table
            data[page + 3 : page + 5] = b"\xff\xff"  # its number of cells
    file.write_bytes(data)
    try:
        report = check(made)
    except vecdb.CorruptDatabaseError as error:
        advice = str(error)
    else:
        assert not report
        advice = report.problems[0].advice
    assert "restore a backup" in advice


def test_check_compares_the_index_with_the_rows(made):
    with vecdb.open(made, plugins=plugins_for_tests()) as database:
        texts = database.collection("texts")
        texts.search("a")
        index = texts._space("default").index
        index.tail.remove(index.tail.labels()[:2])
        report = database.check()
        assert not report
        assert [problem.what for problem in report] == ["the index lacks 2 vectors and holds 0 that are gone"]
        assert database.check(fix=True)
        assert list(database.check()) == []
        assert [texts.search(text, k=1)[0].content for text in TEXTS] == TEXTS
