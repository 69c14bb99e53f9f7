"""What filters know of the records is current, of the search's own snapshot, within its budget; else SQL answers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import plugins_for_tests
from vecdb.storage.column_rows import exact_floats
from vecdb.storage.filters import Filter
from vecdb.storage.writes import NewVector, relink
from vecdb.vectors import to_blobs

ROOT = Path(__file__).parents[1]
ALL = {"n": {"$gte": 0}}


@pytest.fixture
def notes(database):
    made = database.create_collection("notes", dimension=2, metric="l2", index="exact")
    add(made, range(10))
    return made


def add(collection, numbers):
    numbers = list(numbers)
    collection.add(
        [None] * len(numbers), ids=[str(n) for n in numbers], metadata=[{"n": n} for n in numbers],
        vectors=[[n, 0.0] for n in numbers],
    )  # fmt: skip


def found(collection, where, **options):
    """Ids of the hits, after making sure that columns answer."""
    plan = collection.explain([0.0, 0.0], where=where, k=1000, **options)
    assert plan.filtered_by == "columns"
    ids = [hit.id for hit in collection.search([0.0, 0.0], where=where, k=1000, **options)]
    assert plan.hits == len(ids)
    return ids


def plant(folder, *statements):
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def known(collection):
    return collection._memory.columns._known


# --- keeping current ----------------------------------------------------------------------------


def test_a_search_finds_what_every_kind_of_change_did(notes):
    assert found(notes, {"n": {"$lt": 3}}) == ["0", "1", "2"]
    begun = known(notes)
    add(notes, [-1])
    assert found(notes, {"n": {"$lt": 2}}) == ["0", "1", "-1"]
    notes.update_metadata("0", {"n": 100})
    assert found(notes, {"n": {"$lt": 2}}) == ["1", "-1"]
    notes.upsert([None], ids=["9"], metadata=[{"n": 0}], vectors=[[0.5, 0]])
    assert found(notes, {"n": {"$lt": 2}}) == ["9", "1", "-1"]
    notes.upsert([None], ids=["9"], metadata=[{"n": 0}], vectors=[[7.5, 0]])  # another label, the same metadata
    assert found(notes, {"n": {"$lt": 2}}) == ["1", "-1", "9"]
    notes.delete(["1"])
    assert found(notes, {"n": {"$lt": 2}}) == ["-1", "9"]
    notes.delete(where={"n": {"$gte": 0}})
    assert found(notes, {"n": {"$lt": 2}}) == ["-1"]
    assert known(notes).keys.tolist() == [11]
    assert begun.keys.tolist() == list(range(1, 11))  # what another search holds does not change


def test_what_another_handle_writes_is_seen(folder, notes):
    assert found(notes, {"n": 3}) == ["3"]
    with vecdb.open(folder) as other:
        theirs = other.collection("notes")
        theirs.update_metadata("5", {"n": 3})
        assert found(notes, {"n": 3}) == ["3", "5"]
        theirs.delete(["3"])
        assert found(notes, {"n": 3}) == ["5"]
        add(theirs, [50])
        assert found(notes, {"n": 50}) == ["50"]


WRITER = """
import sys, vecdb
with vecdb.open(sys.argv[1]) as database:
    notes = database.collection("notes")
    for line in sys.stdin:
        id, n = line.split()
        if n == "gone":
            notes.delete([id])
        else:
            notes.upsert([None], ids=[id], metadata=[{"n": int(n)}], vectors=[[int(id), 0]])
        print("done", flush=True)
"""


def test_what_another_process_writes_is_seen_once_it_is_acknowledged(folder, notes):
    command = [sys.executable, "-c", WRITER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes) as writer:
        for n in range(30):
            writer.stdin.write(f"{n % 12} {1000 + n if n % 3 else 'gone'}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
            assert found(notes, {"n": 1000 + n}) == ([str(n % 12)] if n % 3 else [])
        writer.stdin.close()
        assert writer.wait() == 0


def test_new_records_of_another_collection_change_nothing(database, notes):
    assert found(notes, {"n": 3}) == ["3"]
    other = database.create_collection("other", dimension=2)
    add(other, range(1, 5))
    other.update_metadata("3", {"n": 4})
    columns = known(notes).columns["n"]
    assert found(notes, {"n": 3}) == ["3"]
    assert known(notes).keys.tolist() == list(range(1, 11))
    np.testing.assert_array_equal(known(notes).columns["n"].codes, columns.codes)


def test_a_record_that_gets_another_vector_without_other_content(folder):
    """Embedding again gives it one with another label: the filter must admit that one."""
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        texts = database.create_collection("texts", embedder="counting")
        texts.add(["one", "two"], ids=["a", "b"], metadata=[{"n": 1}, {"n": 2}])
        assert [hit.id for hit in texts.search("one", where={"n": 1})] == ["a"]
        with database._engine.transaction() as transaction:
            content = transaction.rows("SELECT content_hash FROM records WHERE key = 1")[0][0]
            (data,) = to_blobs(np.full((1, 8), 8**-0.5, np.float32))
            relink(transaction, 1, [(1, content, NewVector(1, data, content))])
        plan = texts.explain("one", where={"n": 1})
        assert (plan.filtered_by, plan.allowed, plan.hits) == ("columns", 1, 1)
        assert texts.search("one", where={"n": 1})[0].distance > 0.01


def test_a_damaged_vector_that_a_new_record_replaces(folder, notes):
    assert found(notes, {"n": {"$lt": 2}}) == ["0", "1"]
    plant(folder, "UPDATE vectors SET data = zeroblob(8) WHERE label = 2")
    notes.add([None], ids=["twin"], metadata=[{"n": 50}], vectors=[[1.0, 0]])  # record 1 gets its vector, too
    assert found(notes, {"n": {"$lt": 2}}) == ["0", "1"]


def test_labels_that_are_mended(folder, notes):
    assert found(notes, {"n": {"$lt": 2}}) == ["0", "1"]
    plant(folder, "UPDATE record_vectors SET label = 7 WHERE record_key = 1")
    database = vecdb.open(folder)
    with database:
        assert found(database.collection("notes"), {"n": 0}) == ["0"]  # with the vector of another
        assert database.collection("notes").explain([0, 0], where={"n": {"$in": [0, 6]}}).allowed == 1
        assert database.check(fix=True)
        assert database.collection("notes").search([0, 0], where={"n": 0})[0].distance == 0
    assert found(notes, {"n": {"$lt": 2}}) == ["0", "1"]


def test_records_whose_links_a_check_removes(folder):
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        texts = database.create_collection("texts", embedder="counting")
        texts.add(["one", "two"], ids=["a", "b"], metadata=[{"n": 1}, {"n": 2}])
        with vecdb.open(folder, plugins=plugins_for_tests()) as other:
            plant(folder, "DELETE FROM vectors WHERE label = 1")
            assert [hit.id for hit in texts.search("two", where={"n": {"$lt": 3}})] == ["b", "a"]  # still in memory
            assert texts.explain("two", where={"n": {"$lt": 3}}).allowed == 2
            assert other.check(fix=True)
        plan = texts.explain("one", where={"n": 1})
        assert (plan.filtered_by, plan.allowed, plan.hits) == ("columns", 1, 1)


def test_metadata_that_changed_by_itself_is_read_anew_after_a_check(folder, database, notes):
    assert found(notes, {"n": 4}) == ["4"]
    plant(folder, """UPDATE records SET metadata = '{"n":77}' WHERE id = '3'""")
    with pytest.warns(vecdb.VecdbWarning, match="1 stored record.* damaged"):
        assert notes.search([0, 0], where={"n": 3}) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vecdb.VecdbWarning)
        assert not database.check(fix=True)
    assert found(notes, {"n": 3}) == []
    with pytest.warns(vecdb.VecdbWarning, match="1 stored record.* damaged"):
        assert notes.search([0, 0], where={"n": 77}) == []
    notes.update_metadata("3", {"n": 3})
    assert found(notes, {"n": 3}) == ["3"]


def test_behind_the_log_all_is_loaded_anew(folder, notes, monkeypatch):
    monkeypatch.setattr("vecdb.storage.changes._KEPT_CHANGES", 10)
    assert found(notes, {"n": 3}) == ["3"]
    with vecdb.open(folder) as other:
        for n in range(60):
            other.collection("notes").update_metadata(str(n % 7), {"n": n + 100})
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
        kept, floor = connection.execute(
            "SELECT count(*), (SELECT change_floor FROM collections) FROM record_changes"
        ).fetchone()
    assert 0 < floor < 60
    assert kept == 60 - floor
    assert found(notes, {"n": {"$lt": 100}}) == ["7", "8", "9"]
    assert found(notes, {"n": 159}) == ["3"]


def test_rows_that_went_back_are_loaded_anew(folder, notes):
    """A counter that damage raised falls again at the next change."""
    notes.update_metadata("1", {"n": 1})
    plant(folder, "UPDATE collections SET last_change = 1000")
    assert found(notes, {"n": 3}) == ["3"]
    notes.update_metadata("5", {"n": 3})
    assert found(notes, {"n": 3}) == ["3", "5"]


def test_a_damaged_sequence_of_keys_leaves_it_to_sql(folder, notes):
    plant(folder, "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'records'")
    plan = notes.explain([0, 0], where={"n": 3})
    assert (plan.filtered_by, plan.hits) == ("sql", 1)


# --- what columns cannot do, SQL does -----------------------------------------------------------


def test_explain_says_what_answered(notes):
    assert notes.explain([0, 0]).filtered_by is None
    assert notes.explain([0, 0], where={}).filtered_by is None
    assert notes.explain([0, 0], where=ALL).filtered_by == "columns"


def test_an_object_with_one_key_twice(folder, notes):
    """JSON of somebody else: SQLite sees both values."""
    text = '{"n":3,"n":4}'
    plant(folder, f"UPDATE records SET metadata = '{text}' WHERE id = '8'")
    for value in (3, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vecdb.VecdbWarning)
            plan = notes.explain([0, 0], where={"n": value})
        assert (plan.filtered_by, plan.allowed) == ("sql", 2)
    assert notes.explain([0, 0], where={"other": 1}).filtered_by == "columns"


def test_metadata_that_is_no_json_is_what_it_was_for_sql(folder, notes):
    plant(folder, "UPDATE records SET metadata = '{\"n\":' WHERE id = '8'")
    with pytest.raises(vecdb.CorruptDatabaseError, match="metadata of a record is damaged; run `vecdb check`"):
        notes.search([0, 0], where={"n": 3})


def test_a_label_that_is_no_number_is_the_error_that_it_was(folder, notes):
    plant(folder, "PRAGMA foreign_keys = OFF", "UPDATE record_vectors SET label = 'x' WHERE record_key = 4")
    with pytest.raises(vecdb.CorruptDatabaseError, match="label of a record's vector"):
        notes.search([0, 0], where=ALL)
    assert [hit.id for hit in notes.search([0, 0], where={"n": 5})] == ["5"]


def test_a_text_that_is_no_utf8_is_compared_as_bytes(folder, notes):
    plant(folder, "UPDATE records SET metadata = CAST(x'7b226e223a22ff227d' AS TEXT) WHERE id = '8'")  # {"n":"?"}
    assert notes.explain([0, 0], where={"n": 3}).filtered_by == "columns"
    assert notes.explain([0, 0], where={"n": 3}).hits == 1


def test_numbers_of_the_filter_are_those_that_sqlite_reads(notes, monkeypatch):
    """Some versions of it read the last bit of a decimal otherwise than Python; stored ones were read so, too."""
    with notes._engine.snapshot() as snapshot:
        assert exact_floats(snapshot, [0.3, 1e308, -0.0]) == {0.3: 0.3, 1e308: 1e308, 0.0: 0.0}
        assert exact_floats(snapshot, []) == {}
    notes.update_metadata("3", {"m": 0.1 + 0.2})
    notes.update_metadata("4", {"m": [0.1 + 0.2]})
    monkeypatch.setattr("vecdb.filtering.exact_floats", lambda _, floats: dict.fromkeys(floats, 0.1 + 0.2))
    for condition in (0.3, {"$in": [0.3]}, {"$gte": 0.3}):
        assert found(notes, {"m": condition}) == ["3"]
    assert found(notes, {"m": {"$contains": 0.3}}) == ["4"]
    assert found(notes, {"m": {"$gt": 0.3}}) == []


# --- shared vectors -----------------------------------------------------------------------------


def test_of_records_with_one_vector_only_those_that_match_are_returned(notes):
    for id, n in (("x", 3), ("y", 77), ("z", 3)):
        notes.add([None], ids=[id], metadata=[{"n": n}], vectors=[[3.0, 0]])
    assert found(notes, {"n": 3}) == ["3", "x", "z"]
    assert found(notes, {"n": 77}) == ["y"]
    assert found(notes, {"n": {"$ne": 3}}) == ["0", "1", "2", "y", *map(str, range(4, 10))]
    batch = notes.search_batch([[3, 0], [0, 0]], where={"n": 3}, k=5)
    assert [[hit.id for hit in hits] for hits in batch] == [["3", "x", "z"]] * 2
    notes.upsert([None], ids=["3"], metadata=[{"n": 3}], vectors=[[1.0, 0]])  # shares with another one now
    assert found(notes, {"n": 3}) == ["3", "x", "z"]
    assert found(notes, {"n": 1}) == ["1"]


def test_the_filter_is_not_evaluated_again_for_the_hits(database, notes):
    assert found(notes, {"n": {"$lt": 5}}) == [str(n) for n in range(5)]
    asked = []
    with database._engine.snapshot() as snapshot:
        snapshot.driver.set_trace_callback(asked.append)
    notes.search([0, 0], where=ALL)
    with database._engine.snapshot() as snapshot:
        snapshot.driver.set_trace_callback(None)
    assert any("FROM record_vectors JOIN records" in sql for sql in asked)
    assert not any("records.metadata" in sql for sql in asked)


def test_records_without_a_vector_in_the_space(database):
    spaces = {"default": {"dimension": 2, "metric": "l2"}, "title": {"embedder": "counting", "source": "title"}}
    both = database.create_collection("both", spaces=spaces)
    contents = [{"title": "a"}, None, {"title": "a"}, {"title": "b"}]
    vectors = {"default": [[n, 0.0] for n in range(4)]}
    both.add(contents, ids=list("wxyz"), metadata=[{"n": n} for n in range(4)], vectors=vectors)
    assert found(both, {"n": {"$lt": 3}}) == ["w", "x", "y"]
    plan = both.explain("a", where={"n": {"$lt": 3}}, space="title")
    assert (plan.filtered_by, plan.allowed, plan.hits) == ("columns", 1, 2)
    assert [hit.id for hit in both.search("a", where={"n": {"$lt": 3}}, space="title")] == ["w", "y"]


# --- threads and forks --------------------------------------------------------------------------


def test_threads_that_search_while_one_writes_see_one_state_each(database, notes):
    """Every change keeps exactly one record with `it`; a filter that mixes two states sees none or two."""
    notes.update_metadata("0", {"n": 0, "it": True})
    notes.delete([str(n) for n in range(1, 10)])
    faults, stop, answered = [], threading.Event(), []

    def search():
        try:
            while not stop.is_set():
                plan = notes.explain([0, 0], where={"it": True})
                answered.append(plan.filtered_by)
                hits = notes.search([0, 0], where={"it": True, "n": {"$gte": 0}})
                if len(hits) != 1 or plan.hits != 1 or hits[0].metadata["it"] is not True:
                    faults.append((plan, hits))
        except BaseException as error:
            faults.append(error)
            raise

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(1, 120):
        # In one transaction: what was "it" is another thing, and a record that may be new is it.
        notes.upsert(
            [None, None], ids=[str((n - 1) % 7), str(n % 7)], metadata=[{"n": n}, {"n": n, "it": True}],
            vectors=[[0, n - 1.0], [0, float(n)]],
        )  # fmt: skip
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert answered.count("columns") > len(answered) // 4


def test_a_search_of_an_older_snapshot_never_sees_what_is_newer(database, notes):
    where, columns = Filter({"n": 3}), notes._memory.columns
    space = notes._space("default").row.id
    with database._engine.snapshot() as before:
        assert before.rows("SELECT count(*) FROM records") == [(10,)]
        notes.update_metadata("5", {"n": 3})
        add(notes, [50])
        assert found(notes, {"n": 3}) == ["3", "5"]
        old = columns.admitted(before, space, where)
        assert (old.labels.labels.tolist(), old.matching) == ([4], None)
    with database._engine.snapshot() as now:
        assert columns.admitted(now, space, where).labels.labels.tolist() == [4, 6]
        assert columns.admitted(now, space, where).matching is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_begins_with_nothing_and_a_free_lock(notes):
    assert found(notes, {"n": 3}) == ["3"]
    reading, writing = os.pipe()
    with notes._memory.columns._lock:  # as another thread may hold it
        pid = os.fork()
        if not pid:
            try:
                signal.alarm(30)  # rather than wait for ever
                empty = known(notes) is None
                notes.update_metadata("5", {"n": 3})
                os.write(writing, repr((empty, found(notes, {"n": 3}))).encode())
            finally:
                os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "(True, ['3', '5'])"
    os.waitpid(pid, 0)
    assert found(notes, {"n": 3}) == ["3", "5"]


def test_an_interrupt_while_columns_are_made_leaves_right_answers(notes, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for place in ("load", "with_space", "with_column"):
        with monkeypatch.context() as patched:
            patched.setattr(f"vecdb.storage.known_records.KnownRecords.{place}", interrupted)
            with pytest.raises(KeyboardInterrupt):
                notes.search([0, 0], where={"n": 3})
    assert found(notes, {"n": 3}) == ["3"]
    notes.update_metadata("5", {"n": 3})
    with monkeypatch.context() as patched:
        patched.setattr("vecdb.storage.known_records.KnownRecords.caught_up", interrupted)
        with pytest.raises(KeyboardInterrupt):
            notes.search([0, 0], where={"n": 3})
    assert found(notes, {"n": 3}) == ["3", "5"]


def test_deleting_the_collection_under_a_search(database, notes):
    assert found(notes, {"n": 3}) == ["3"]
    database.delete_collection("notes")
    with pytest.raises(vecdb.CollectionNotFoundError):
        notes.search([0, 0], where={"n": 3})
