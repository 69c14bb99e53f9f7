"""Which records changed stands in the log, in the transaction of the change, and the log is bounded."""

from __future__ import annotations

import pytest

from vecdb.storage.changes import changed_after, log_changes, records_state
from vecdb.storage.consistency import mend_rows
from vecdb.storage.damage import Damage, mend_references


def add(collection, *ids):
    collection.add([None] * len(ids), ids=list(ids), metadata=[{"id": id} for id in ids], vectors=[[1, 2]] * len(ids))


@pytest.fixture
def notes(database):
    made = database.create_collection("notes", dimension=2)
    add(made, "a", "b", "c")
    return made


def state(collection):
    with collection._engine.snapshot() as snapshot:
        return records_state(snapshot, collection._key)


def logged(collection, change=0):
    with collection._engine.snapshot() as snapshot:
        return changed_after(snapshot, collection._key, change).tolist()


def test_each_change_is_logged_and_new_records_are_not(notes):
    assert (logged(notes), state(notes).last_change, state(notes).last_key) == ([], 0, 3)
    for change, keys in (
        (lambda: notes.update_metadata("b", {"n": 1}), [2]),
        (lambda: notes.upsert(["text"], ids=["c"], vectors=[[3, 4]]), [3]),
        (lambda: notes.upsert(["text", None], ids=["c", "d"], metadata=[{"n": 1}, {}], vectors=[[3, 4], [5, 6]]), [3]),
        (lambda: notes.upsert(["text"], ids=["c"], metadata=[{"n": 1}], vectors=[[3, 4]]), []),  # nothing changed
        (lambda: notes.upsert(["text"], ids=["c"], metadata=[{"n": 1}], vectors=[[7, 7]]), [3]),
        (lambda: notes.delete(["a", "d"]), [1, 4]),
        (lambda: notes.delete(where={"n": 1}), [2, 3]),
        (lambda: add(notes, "e"), []),
        (lambda: notes.delete(["unknown"]), []),
    ):
        before = state(notes).last_change
        change()
        assert logged(notes, before) == keys
        assert (state(notes).last_change > before) is bool(keys)


def test_a_change_is_logged_for_its_own_collection_only(database, notes):
    other = database.create_collection("other", dimension=2)
    add(other, "x")
    other.update_metadata("x", {})
    assert (logged(notes), logged(other)) == ([], [4])
    assert state(notes).last_change == 0
    with database._engine.transaction() as transaction:
        log_changes(transaction, [1, 4, 99])
    assert (logged(notes), logged(other)) == ([1], [4])
    assert state(notes).last_change == state(other).last_change


def test_what_is_rolled_back_is_not_logged(database, notes):
    def fails():
        with database._engine.transaction() as transaction:
            log_changes(transaction, [1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert (logged(notes), state(notes).last_change) == ([], 0)


def test_the_log_is_pruned_in_strides(database, notes, monkeypatch):
    monkeypatch.setattr("vecdb.storage.changes._KEPT_CHANGES", 10)
    lengths = []
    for n in range(100):
        notes.update_metadata("b", {"n": n})
        with database._engine.snapshot() as snapshot:
            (count,), (lowest,) = snapshot.rows(
                "SELECT count(*) FROM record_changes UNION ALL SELECT min(sequence) - 1 FROM record_changes"
            )
        lengths.append(count)
        assert lowest == state(notes).change_floor
    assert max(lengths) == 20
    assert min(lengths[10:]) == 10


def test_the_log_goes_with_its_collection(database, notes):
    notes.update_metadata("a", {})
    database.delete_collection("notes")
    with database._engine.snapshot() as snapshot:
        assert snapshot.rows("SELECT * FROM record_changes") == []


def test_labels_that_are_mended_are_logged_with_them(database, notes):
    """Between this transaction and the next one of mending, somebody may search."""
    with database._engine.transaction() as transaction:
        mend_references(transaction, Damage(labels=[(1, 2, 1)]))
    assert logged(notes) == [2]


def test_mending_forgets_the_log_so_that_all_is_read_anew(database, notes):
    notes.update_metadata("a", {})
    before = state(notes)
    mend_rows(database._engine)
    after = state(notes)
    assert after.change_floor == after.last_change > before.last_change
    assert logged(notes) == []
    assert database.check()
    notes.update_metadata("b", {"n": 1})
    assert logged(notes, after.last_change) == [2]
