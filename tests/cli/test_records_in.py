"""Reading lines, JSON lines and CSV."""

import click
import pytest

from vecdb import InvalidInputError, Record
from vecdb.cli.records_in import guess_format, read_records
from vecdb.cli.where import parse_where


def read(text, format):
    bad = []
    lines = iter(text.splitlines(keepends=True))
    return list(read_records(lines, format, lambda number, error: bad.append((number, str(error))))), bad


def test_lines_get_ids_of_their_own():
    records, bad = read("one\n\n  two \r\none\n", "lines")
    assert [record.content for record in records] == ["one", "  two ", "one"]
    assert len({record.id for record in records}) == 3
    assert bad == []


def test_json_lines():
    text = (
        '{"id": "a", "content": "x", "metadata": {"year": 1}, "kind": "note"}\n'
        '{"id": 7, "text": "y"}\n\n'
        '{"id": "v", "vector": [1, 2]}\n'
    )
    assert read(text, "jsonl")[0] == [
        Record("a", "x", {"kind": "note", "year": 1}, None),
        Record("7", "y", {}, None),
        Record("v", None, {}, [1, 2]),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ('{"content": "a", "text": "b"}', "both"),
        ('{"content": "a", "metadata": 3}', "metadata"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_rest_is_read(line, problem):
    records, bad = read(f'{{"id": "a", "text": "x"}}\n{line}\n{{"id": "b", "text": "y"}}\n', "jsonl")
    assert [record.id for record in records] == ["a", "b"]
    [(number, message)] = bad
    assert number == 2
    assert problem in message


def test_csv_numbers_become_numbers_and_empty_cells_are_left_out():
    text = (
        'id,text,year,price,zip,note,big\n'
        'a,"x, y",2020,1.50,01234,,99999999999999999999\n'
        '1,"two\nlines",-3,1e5,0,n,+1\n'
    )
    assert read(text, "csv")[0] == [
        Record("a", "x, y", {"year": 2020, "price": 1.5, "zip": "01234", "big": "99999999999999999999"}),
        Record("1", "two\nlines", {"year": -3, "price": 1e5, "zip": 0, "note": "n", "big": "+1"}),
    ]


def test_csv_with_too_many_cells_in_a_row():
    records, bad = read("id,text\na,x\nb,y,z\nc,w\n", "csv")
    assert [record.id for record in records] == ["a", "c"]
    assert bad[0][0] == 3


@pytest.mark.parametrize("cell", ["true", "1e5", "01234", "NaN", "Ada", "null", "-3", "99999999999999999999"])
def test_a_cell_is_found_by_the_filter_that_is_typed_like_it(cell):
    [record], _ = read(f"id,text,value\na,x,{cell}\n", "csv")
    meant = parse_where([f"value={cell}"])["value"]["$eq"]
    assert (type(record.metadata["value"]), record.metadata["value"]) == (type(meant), meant)


def test_csv_with_two_columns_of_one_name():
    with pytest.raises(click.UsageError, match="two columns 'year'"):
        read("id,text,year,year\na,x,1,2\n", "csv")


def test_a_json_list_holds_records_and_a_bad_item_costs_only_itself():
    text = '[\n  {"id": "a", "text": "x"},\n  3,\n  {"id": "b", "content": "y", "year": 1}\n]\n'
    records, bad = read(text, "json")
    assert records == [Record("a", "x"), Record("b", "y", {"year": 1})]
    assert bad[0][0] == 2
    lines = '{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n'
    assert read(lines, "json")[0] == [Record("a", "x"), Record("b", "y")]
    with pytest.raises(InvalidInputError, match="not JSON"):
        read('[{"id": "a"}', "json")


def test_csv_without_content():
    with pytest.raises(InvalidInputError, match="call one of them 'content'"):
        read("id,body\na,x\n", "csv")


@pytest.mark.parametrize(
    ("first", "format"),
    [
        ('{"text": "a"}', "jsonl"),
        ("{}", "jsonl"),
        ("{a", "lines"),
        ('[{"id": 1},', "json"),
        ("[\n", "json"),
        ("[x] buy milk", "lines"),
        ("3", "lines"),
    ],
)
def test_the_format_is_guessed_from_the_first_line(first, format):
    found, lines = guess_format(iter([first, "x"]))
    assert found == format
    assert list(lines) == [first, "x"]
    assert list(guess_format(iter([]))[1]) == []
