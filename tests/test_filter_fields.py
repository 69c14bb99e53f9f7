"""Fields that were declared for filters at creation: remembered, read together, and the last to be let go."""

import sqlite3

import pytest

import vecdb
from vecdb.storage.engine import DATABASE_FILE


def made(database, name="notes", fields=("year", "author.name"), **options):
    notes = database.create_collection(name, dimension=2, filter_fields=fields, **options)
    metadata = [{"year": 2000 + n, "author": {"name": "Ann" if n % 2 else "Bo"}, "other": n} for n in range(6)]
    notes.add([None] * 6, metadata=metadata, vectors=[[1, n] for n in range(6)])
    return notes


def in_memory(notes):
    known = notes._memory.columns._known
    return set() if known is None else set(known.columns)


def test_they_are_remembered(folder):
    with vecdb.open(folder) as database:
        assert made(database).filter_fields == ("year", "author.name")
        assert made(database, "plain", ()).filter_fields == ()
        assert database.get_or_create_collection("new", dimension=2, filter_fields=["a", "a"]).filter_fields == ("a",)
    with vecdb.open(folder, read_only=True) as database:
        assert database.collection("notes").filter_fields == ("year", "author.name")
        assert database.collection("plain").filter_fields == ()
        assert database.check()


def test_the_first_of_them_brings_all_and_no_other_one_does(database):
    notes = made(database)
    assert len(notes.search([1, 1], where={"other": 3})) == 1
    assert in_memory(notes) == {"other"}
    assert len(notes.search([1, 1], where={"year": {"$gte": 2003}})) == 3
    assert in_memory(notes) == {"other", "year", "author.name"}
    notes.add([None], metadata=[{"year": 2003, "author": {"name": "Cy"}}], vectors=[[2, 1]])
    assert len(notes.search([1, 1], where={"author.name": "Cy"})) == 1
    assert len(notes.search([1, 1], where={"year": {"$gte": 2003}})) == 4


def test_others_are_let_go_first(database, monkeypatch):
    monkeypatch.setattr("vecdb.filtering._MOST_COLUMNS", 3)
    notes = made(database)
    notes.search([1, 1], where={"year": 2001})
    for field in ("a", "b", "c", "d"):
        assert len(notes.search([1, 1], where={field: {"$exists": False}})) == 6
        assert in_memory(notes) == {"year", "author.name", field}


def test_one_for_which_there_is_no_room_is_not_read_again_and_again(database, monkeypatch):
    notes = made(database)
    columns = notes._memory.columns
    reads = []
    monkeypatch.setattr("vecdb.filtering.MEMORY_BUDGET", 10**9)
    with_column = type(columns)._with_declared

    def noting(self, snapshot, known):
        monkeypatch.setattr("vecdb.filtering.MEMORY_BUDGET", known.nbytes + 1)
        reads.append(known)
        return with_column(self, snapshot, known)

    monkeypatch.setattr(type(columns), "_with_declared", noting)
    assert len(notes.search([1, 1], where={"year": 2001})) == 1
    assert columns._passed_over == {"author.name"}
    monkeypatch.undo()
    assert len(notes.search([1, 1], where={"author.name": "Ann"})) == 3  # a filter that asks for it gets it
    assert in_memory(notes) == {"year", "author.name"}


WRONG = ["year", {"year": 1}, 3, [1], ["$and"], [["a"]], [None], [str(n) for n in range(33)]]


@pytest.mark.parametrize("fields", WRONG)
def test_what_no_filter_could_ask_for_is_refused(database, fields):
    with pytest.raises(vecdb.InvalidInputError):
        database.create_collection("notes", dimension=2, filter_fields=fields)
    assert database.collections() == []


def test_they_go_with_their_collection(database):
    made(database)
    database.delete_collection("notes")
    assert made(database, fields=()).filter_fields == ()


@pytest.mark.parametrize("value", ["x", "[", '{"a":1}', "[1,2]", b"\xff", None, 3])
def test_damage_costs_speed_only(folder, value):
    with vecdb.open(folder) as database:
        made(database)
    connection = sqlite3.connect(folder / DATABASE_FILE)
    with connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        sql = "UPDATE properties SET value = ? WHERE name LIKE 'filter_fields/%'"
        connection.execute(sql, (value if value is not None else "null",))
    connection.close()
    with vecdb.open(folder) as database:
        notes = database.collection("notes")
        assert notes.filter_fields == ()
        assert len(notes.search([1, 1], where={"author.name": "Ann"})) == 3
