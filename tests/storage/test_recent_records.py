"""Hits that were found lately are not read again, and are never older than the search's own snapshot."""

import sqlite3

import numpy as np
import pytest

import vecdb
from vecdb.storage import recent_records
from vecdb.storage.engine import DATABASE_FILE

VECTORS = np.arange(40, dtype=np.float32).reshape(20, 2) + 1


@pytest.fixture
def notes(database):
    notes = database.create_collection("notes", dimension=2, metric="l2", index="exact")
    ids = [str(n) for n in range(20)]
    metadata = [{"n": n, "tags": ["a", {"b": n}]} if n % 2 else {"n": n, "word": "w"} for n in range(20)]
    notes.add([f"text {n}" for n in range(20)], ids=ids, metadata=metadata, vectors=VECTORS)
    return notes


def every_statement(database, call):
    """The SQL that a call runs on the connection that it reads from."""
    asked = []
    with database._engine.snapshot(single=True) as snapshot:
        snapshot.driver.set_trace_callback(asked.append)
    call()
    with database._engine.snapshot(single=True) as snapshot:
        snapshot.driver.set_trace_callback(None)
    return asked


def statements(database, call):
    """Those of them that read records."""
    return [sql for sql in every_statement(database, call) if "JOIN records" in sql]


def test_what_was_found_is_not_read_again(database, notes):
    first = notes.search(VECTORS[3], k=5)
    assert statements(database, lambda: notes.search(VECTORS[3], k=5)) == []
    assert notes.search(VECTORS[3], k=5) == first
    assert [hit.content for hit in first] == [f"text {hit.id}" for hit in first]
    assert len(statements(database, lambda: notes.search(VECTORS[15], k=5))) == 1
    assert statements(database, lambda: notes.search_batch(list(VECTORS[[3, 15]]), k=5)) == []


def test_the_callers_changes_of_metadata_stay_with_the_caller(notes):
    for id in ("2", "3"):  # flat, and with lists inside
        for _ in range(3):
            hit = notes.search(VECTORS[int(id)], k=1)[0]
            assert hit.id == id
            assert hit.metadata == ({"n": 2, "word": "w"} if id == "2" else {"n": 3, "tags": ["a", {"b": 3}]})
            hit.metadata["n"] = "changed"
            hit.metadata.get("tags", [0]).clear()


@pytest.mark.parametrize("other_handle", [False, True])
def test_every_kind_of_change_is_seen(folder, notes, other_handle):
    def nearest(k=1):
        return [(hit.id, hit.content, hit.metadata) for hit in notes.search(VECTORS[4], k=k)]

    other = vecdb.open(folder)
    with other:
        writing = other.collection("notes") if other_handle else notes
        assert nearest() == [("4", "text 4", {"n": 4, "word": "w"})]
        writing.update_metadata("4", {"n": 40})
        assert nearest() == [("4", "text 4", {"n": 40})]
        writing.upsert(["other text"], ids=["4"], metadata=[{}], vectors=[VECTORS[4]])
        assert nearest() == [("4", "other text", {})]
        writing.add(["the same place"], ids=["twin"], vectors=[VECTORS[4]])
        assert nearest(2) == [("4", "other text", {}), ("twin", "the same place", {})]
        writing.delete(["4"])
        assert nearest() == [("twin", "the same place", {})]
        writing.delete(["twin"])
        assert nearest()[0][0] in ("3", "5")


def test_a_search_in_an_older_snapshot_reads_what_is_there(database, notes):
    notes.search(VECTORS[4])
    labels = notes._spaces["default"].index.tail.labels()[4:5].tolist()

    def metadata(snapshot):
        (row,) = notes._memory.recent.with_labels(snapshot, labels)
        return recent_records.own_metadata(row[-1], row[1])

    with database._engine.snapshot() as older:
        assert metadata(older) == {"n": 4, "word": "w"}
        notes.update_metadata("4", {"n": 40})
        with database._engine.snapshot() as newer:
            assert metadata(newer) == {"n": 40}
            assert metadata(older) == {"n": 4, "word": "w"}
            assert metadata(newer) == {"n": 40}


def test_memory_is_bounded_and_what_is_used_stays(database, notes, monkeypatch):
    one = recent_records._BYTES_PER_RECORD + 300
    monkeypatch.setattr(recent_records, "MEMORY_BUDGET", 2 * 4 * one)  # two halves of some four records
    recent = notes._memory.recent
    for n in range(20):
        notes.search(VECTORS[n], k=1)
        notes.search(VECTORS[0], k=1)
        assert len(recent._kept.young) + len(recent._kept.old) <= 12
    assert statements(database, lambda: notes.search(VECTORS[0], k=1)) == []
    assert len(statements(database, lambda: notes.search(VECTORS[5], k=1))) == 1


def test_long_contents_are_not_kept(database, notes):
    notes.add(["long " * 10_000, None], ids=["long", "nothing"], vectors=[[500, 500], [600, 600]])
    for _ in range(2):
        assert len(statements(database, lambda: notes.search([500, 500], k=1))) == 1
    assert notes.search([500, 500], k=1)[0].content == "long " * 10_000
    assert notes.search([600, 600], k=1)[0].content is None
    assert statements(database, lambda: notes.search([600, 600], k=1)) == []


def test_a_damaged_record_is_warned_of_each_time(folder, notes):
    notes.add(["one of two"], ids=["twin"], vectors=[VECTORS[4]])
    with sqlite3.connect(folder / DATABASE_FILE) as connection:
        connection.execute("UPDATE records SET content = 'other' WHERE id = 'twin'")
    connection.close()
    for _ in range(3):
        with pytest.warns(vecdb.VecdbWarning, match=r"1 stored record.* damaged"):
            assert [hit.id for hit in notes.search(VECTORS[4], k=1)] == ["4"]


def test_contents_of_every_kind_come_again_as_they_were(database, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("in a file")
    contents = ["text", None, vecdb.Image(b"image"), file, {"title": "t", "picture": vecdb.Image(b"other")}]
    mixed = database.create_collection("mixed", dimension=2, metric="l2", index="exact")
    mixed.add(contents, ids=list("abcde"), vectors=VECTORS[:5])
    first = mixed.search(VECTORS[0], k=5)
    assert [hit.content for hit in first] == contents
    for _ in range(2):
        assert mixed.search(VECTORS[0], k=5) == first
        assert [hit.content for hit in mixed.search(VECTORS[0], k=2)] == ["text", None]


def test_where_nothing_changed_one_question_is_asked(database, notes):
    notes.search(VECTORS[3], k=5, where={"n": {"$lt": 9}})
    for where in (None, {"n": {"$lt": 9}}):
        notes.search(VECTORS[3], k=5, where=where)
        asked = every_statement(database, lambda where=where: notes.search(VECTORS[3], k=5, where=where))
        assert len(asked) == 1
        assert "last_label" in asked[0]


def test_searches_that_miss_any_number_of_records_compile_few_statements(database):
    """Each that a connection keeps compiled is of up to 300 KiB, and every number of missing records was another."""
    many = database.create_collection("many", dimension=2, metric="l2", index="exact")
    many.add([None] * 400, vectors=np.arange(800, dtype=np.float32).reshape(400, 2))
    compiled = set()
    for k in range(1, 400, 3):
        many.update_metadata(next(iter(many)).id, {"k": k})  # what was found before is out of date
        asked = every_statement(database, lambda k=k: [many.search([1.0, 1.0], k=n, exact=True) for n in (k, k + 2)])
        compiled |= {sql.count(",") for sql in asked if "JOIN records" in sql}
    assert len(compiled) <= 9
