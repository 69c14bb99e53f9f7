"""Columns stay within their budget; what does not fit, SQL answers."""

from __future__ import annotations

import pytest

from tests.test_filtering import ALL, add, found, known


@pytest.fixture
def notes(database):
    made = database.create_collection("notes", dimension=2, metric="l2", index="exact")
    add(made, range(10))
    return made


def test_fields_that_were_used_longest_ago_are_let_go(notes, monkeypatch):
    assert found(notes, ALL)
    room = known(notes).nbytes + 3000
    monkeypatch.setattr("vecdb.filtering.MEMORY_BUDGET", room)
    for name in "abcdefgh":
        values = [f"{name} {n}" * 5 for n in range(10)]
        for n, value in enumerate(values):
            notes.update_metadata(str(n), {"n": n, name: value})
        assert found(notes, {name: values[3]}) == ["3"]
        assert found(notes, ALL)
        assert {"n", name} <= known(notes).columns.keys()
    assert "a" not in known(notes).columns
    assert known(notes).nbytes <= room
    assert found(notes, {"a": {"$exists": True}}) == []


def test_a_field_that_does_not_fit_is_left_to_sql(notes, monkeypatch):
    notes.update_metadata("3", {"n": 3, "long": "x" * 100_000})
    monkeypatch.setattr("vecdb.filtering.MEMORY_BUDGET", 50_000)
    plan = notes.explain([0, 0], where={"long": {"$contains": "xx"}})
    assert (plan.filtered_by, plan.hits) == ("sql", 1)
    assert found(notes, {"n": 3}) == ["3"]
    notes.update_metadata("4", {"n": 4, "long": "x" * 100_001})
    plan = notes.explain([0, 0], where={"long": {"$contains": "xx"}})
    assert (plan.filtered_by, plan.hits) == ("sql", 2)


def test_too_many_records_are_left_to_sql(notes, monkeypatch):
    monkeypatch.setattr("vecdb.filtering.MEMORY_BUDGET", 100)
    plan = notes.explain([0, 0], where={"n": 3})
    assert (plan.filtered_by, plan.hits) == ("sql", 1)
    assert known(notes) is None


def test_a_filter_with_many_new_fields_is_left_to_sql_until_all_are_there(notes):
    where = {"$or": [{f"field {n}": 1} for n in range(20)] + [{"n": 3}]}
    by = [notes.explain([0, 0], where=where).filtered_by for _ in range(4)]
    assert by == ["sql", "sql", "columns", "columns"]
    assert found(notes, where) == ["3"]


def test_values_that_records_had_once_do_not_stay_for_ever(notes):
    ids, longest = [str(n) for n in range(10)], 0
    for n in range(0, 1500, 10):
        metadata = [{"n": n + more} for more in range(10)]
        notes.upsert([None] * 10, ids=ids, metadata=metadata, vectors=[[more, 0] for more in range(10)])
        assert found(notes, {"n": n + 3}) == ["3"]
        longest = max(longest, len(known(notes).columns["n"].dictionary.numbers))
    assert 900 < longest < 1100


def test_a_field_that_grows_out_of_the_budget_is_left_to_sql(notes, monkeypatch):
    assert found(notes, ALL)
    monkeypatch.setattr("vecdb.filtering.MEMORY_BUDGET", known(notes).nbytes + 2000)
    by = []
    for n in range(40):
        notes.update_metadata("3", {"n": n, "text": f"{n} " * 50})
        plan = notes.explain([0, 0], where={"text": f"{n} " * 50})
        by.append(plan.filtered_by)
        assert plan.hits == 1
    assert by[0] == "columns"
    assert by[-1] == "sql"


def test_there_are_never_many_columns_to_keep_current(notes):
    for n in range(100):
        assert found(notes, {f"field {n}": {"$exists": True}}) == []
    assert len(known(notes).columns) == 64
    assert "field 99" in known(notes).columns
