"""What is typed and piped in may be anything: a line that says what is wrong, within a moment."""

import time

import click
import pytest

from vecdb import InvalidInputError
from vecdb.cli.passages import split_passages
from vecdb.cli.records_in import guess_format, read_records
from vecdb.cli.where import parse_where

DEEP = 100_000


def refuse(number, error):
    raise error


def test_a_cell_of_csv_that_is_too_large_is_an_error_that_says_so():
    rows = read_records(["content\n", "x" * 200_000 + "\n"], "csv", refuse)
    with pytest.raises(InvalidInputError, match=r"the CSV cannot be read behind line 1 \(field larger.*JSON lines"):
        list(rows)


def test_json_that_is_nested_too_deep_to_be_read():
    with pytest.raises(ValueError, match="is not JSON"):
        parse_where(['{"a":' * DEEP])
    assert guess_format(iter(["[" * DEEP]))[0] == "lines"
    with pytest.raises(InvalidInputError, match="'metadata' is"):
        list(read_records(["content,metadata\n", f'x,"{"[" * DEEP}"\n'], "csv", refuse))
    with pytest.raises((InvalidInputError, click.UsageError)):
        list(read_records(["[" * DEEP], "jsonl", refuse))


@pytest.mark.parametrize(
    "text",
    ["# heading\n" * 60_000, "# a" + " " * DEEP + "#" + " " * DEEP + "b", "#" + " " * DEEP + "#" * DEEP + "b"],
    ids=["headings", "blanks", "marks"],
)
def test_a_long_text_is_cut_in_a_time_that_grows_with_its_length(text):
    """It took minutes: the time grew with the square of the length."""
    begin = time.process_time()
    passages = split_passages(text, markdown=True)
    assert time.process_time() - begin < 20
    assert passages


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("# Title", "Title"), ("##  Title  ##  ", "Title"), ("# C#", "C#"), ("# C #", "C"), ("#\tTab\t#", "Tab"),
        ("### a # b", "a # b"),
    ],
)
def test_a_heading_without_its_marks(line, name):
    assert [passage.heading for passage in split_passages(f"{line}\n\ntext", markdown=True)] == [name]
