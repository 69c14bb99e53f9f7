"""Tables fit the terminal and show what is there; JSON, JSON lines and CSV can be read back."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import vecdb
from vecdb.cli.output import Column, cell, cut, field_lines, pad, table, text_width, wrap, write_fields, write_rows
from vecdb.cli.progress import ProgressBar, format_rate, format_seconds, progress_line

COLUMNS = [
    Column("rank", "right"),
    Column("id"),
    Column("content", shrink=True, least=10, weight=2),
    Column("metadata", shrink=True, least=8),
]
ROWS = [
    {
        "rank": 1,
        "id": "gzip.open",
        "content": "Open a gzip-compressed file in binary mode.",
        "metadata": {"year": 2020},
    },
    {
        "rank": 10,
        "id": "日本",
        "content": "日本語のテキストをひらく、とても長い文",
        "metadata": {"tags": ["a", "b"], "ok": True},
    },
]


def test_a_table_that_fits():
    assert table(COLUMNS[:2], ROWS, 80) == ["rank  id", "   1  gzip.open", "  10  日本"]


def test_a_table_that_has_to_be_cut_looks_like_this():
    assert table(COLUMNS, ROWS, 46) == [
        "rank  id         content             metadata",
        "   1  gzip.open  Open a gzip-compr…  year=2020",
        "  10  日本       日本語のテキスト…   tags=[\"a…",
    ]


@pytest.mark.parametrize("width", [20, 30, 46, 60, 80, 200])
def test_no_line_of_a_table_is_wider_than_the_terminal(width):
    for line in table(COLUMNS, ROWS, width):
        # Below 30 columns not even the headings fit.
        assert text_width(line) <= max(width, 30)


def test_a_column_that_wraps_shows_all_of_its_text():
    columns = [Column("option"), Column("help", shrink=True, wrap=True)]
    lines = table(columns, [{"option": "x", "help": "one two three"}], 17)
    assert lines == ["option  help", "x       one two", "        three"]


def test_wide_and_combining_characters_are_counted_as_a_terminal_does():
    assert text_width("日本") == 4
    assert text_width("e\u0301") == 1
    assert text_width("🎉") == 2
    assert pad("日", 4) + "|" == "日  |"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert wrap("日本語 テキスト", 6) == ["日本語", "テキス", "ト"]


def test_a_cell_holds_nothing_that_a_terminal_would_obey():
    assert cell("red \x1b[31mtext\x07\nnext\tline\u202e\x9b\ud800") == "red �[31mtext� next line���"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.12345, "0.123"),
        ({"a": 1, "b": "1", "c": None, "d": True}, "a=1 b=1 c=null d=true"),
        (["x", 1], "x, 1"),
        (Path("a/b.wav"), "a/b.wav"),
        (vecdb.Image(b"123"), "Image(3 bytes)"),
    ],
)
def test_cells(value, shown):
    assert cell(value) == shown


def test_fields_keep_the_lines_of_a_text():
    assert field_lines({"id": "a", "content": "one\n  two", "n": 2, "long": "word " * 8}, 40) == [
        "id       a",
        "content  one",
        "           two",
        "n        2",
        "long     word word word word word word",
        "         word word",
    ]


def test_json_and_json_lines_hold_all_values(capsys):
    rows = [
        {"id": "ü", "content": Path("a.wav"), "vector": np.array([0.1, 1], np.float32), "image": vecdb.Image(b"12")},
        {"id": "b", "content": None, "vector": None, "n": np.int64(3)},
    ]
    write_rows("json", [Column("id")], rows)
    found = json.loads(capsys.readouterr().out)
    assert found[0] == {"id": "ü", "content": "a.wav", "vector": [0.1, 1.0], "image": {"image": "2 bytes"}}
    write_rows("jsonl", [Column("id")], rows)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found
    write_rows("json", [Column("id")], [])
    assert json.loads(capsys.readouterr().out) == []


def test_csv_quotes_what_must_be_quoted(capsys):
    rows = [{"id": 'a "b", c', "content": "two\nlines", "metadata": {"year": 2020}}, {"id": "b"}]
    write_rows("csv", [Column("id"), Column("content"), Column("metadata")], rows)
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["id", "content", "metadata"],
        ['a "b", c', "two\nlines", '{"year": 2020}'],
        ["b", "", ""],
    ]
    write_fields("csv", {"a": 1, "b": True})
    assert capsys.readouterr().out == "a,b\n1,true\n"


# --- progress -----------------------------------------------------------------------------------


def test_a_progress_line_tells_share_rate_and_time_left():
    line = progress_line("Embedding", "texts", 250, 1000, 2.0)
    assert line == "Embedding  █████░░░░░░░░░░░░░░░  25%  125/s  6.0 s left  250 of 1,000 texts"
    assert "left" not in progress_line("Embedding", "texts", 1000, 1000, 8.0)
    assert progress_line("Reading", "texts", 1200, None, 2.0) == "Reading  1,200 texts  600/s"


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10 s"), (61, "1:01 min"), (3661, "1:01 h")])
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(0.52, "0.5"), (45.2, "45"), (987, "987"), (12345, "12,300")])
def test_rates(rate, text):
    assert format_rate(rate) == text


def test_progress_is_drawn_on_a_terminal_only_and_cleared(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr("sys.stderr", stream)
        with ProgressBar("Embedding", "texts") as progress:
            progress(1, 2)
            progress(2, 2)
        assert ("100%" in stream.getvalue()) == drawn
        assert stream.getvalue().endswith("\r\x1b[K") == drawn
