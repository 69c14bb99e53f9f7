"""Reading records for `vecdb add`: plain lines, JSON lines, CSV."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Literal

import click

from vecdb.cli.where import parse_value
from vecdb.errors import InvalidInputError
from vecdb.types import Record

InputFormat = Literal["lines", "jsonl", "json", "csv"]

_CONTENT_NAMES = ("content", "text")
_KNOWN = {"id", "metadata", "vector", "vectors", *_CONTENT_NAMES}

BadLine = Callable[[int, InvalidInputError], None]


def guess_format(lines: Iterator[str]) -> tuple[InputFormat, Iterator[str]]:
    """JSON lines if the first line is a JSON object, JSON if it begins a list, else plain lines; and all lines."""
    first = next(lines, None)
    if first is None:
        return "lines", iter(())
    whole = chain([first], lines)
    if first.strip() == "[" or first.lstrip().startswith("[{"):
        return "json", whole
    try:
        return ("jsonl" if isinstance(json.loads(first), dict) else "lines"), whole
    except (ValueError, RecursionError):
        return "lines", whole


def read_records(lines: Iterable[str], format: InputFormat, on_bad_line: BadLine) -> Iterator[Record]:
    """The records in some lines, one after the other.

    Args:
        lines: of a text file.
        format: "lines": each line that is not empty is a content. "jsonl": each line is an object with
            `content` or `text`, and optionally `id`, `metadata`, `vector` or `vectors`; its other values
            are metadata. "json": a list of such objects. "csv": a heading names the same; cells are read
            like the values of --where, empty ones are left out.
        on_bad_line: called with the number of a line (of an item, for "json") that cannot be read and the
            error; it may raise.

    Raises:
        click.UsageError: two columns of the CSV have one name.
        InvalidInputError: none of them is the content, or the CSV or the JSON of a list is broken.
    """
    rows = {"lines": _plain, "jsonl": _json_lines, "json": _json, "csv": _csv}[format](lines)
    for number, row in rows:
        try:
            yield _record(row() if callable(row) else row)
        except InvalidInputError as error:
            on_bad_line(number, error)


Row = dict[str, Any] | Callable[[], dict[str, Any]]


def _plain(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, {"content": line.rstrip("\r\n")}


def _json(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    text = "".join(lines)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.lstrip().startswith("["):  # JSON lines in a file that is called .json
            yield from _json_lines(text.splitlines())
            return
        raise InvalidInputError(
            f"the input is not JSON ({error}); correct it, or write an object on each line"
        ) from error
    for number, item in enumerate(found if isinstance(found, list) else [found], 1):
        yield number, lambda item=item: _checked(item)  # type: ignore[misc]


def _json_lines(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, lambda line=line: _object(line)  # type: ignore[misc]


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"not JSON ({error}); each line is a JSON object") from error
    return _checked(found)


def _checked(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidInputError(f"a JSON {type(found).__name__}, not an object; write {{\"content\": …}}")
    return found


def _csv(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(lines)
    try:
        yield from _rows_of_csv(reader)
    except csv.Error as error:  # a cell of more than 131,072 characters, for one
        raise InvalidInputError(
            f"the CSV cannot be read behind line {reader.line_num} ({error}); correct it, or give JSON lines instead"
        ) from error


def _rows_of_csv(reader: csv.DictReader[str]) -> Iterator[tuple[int, Row]]:
    heading = reader.fieldnames or []
    twice = sorted({name for name in heading if heading.count(name) > 1})
    if twice:
        raise click.UsageError(f"The CSV has two columns {twice[0]!r}, and one would be lost; rename one of them.")
    if heading and not {*_CONTENT_NAMES, "vector", "vectors"} & set(heading):
        raise InvalidInputError(
            f"the CSV has the columns {', '.join(heading)}, none of which is the content; call one of them 'content'"
        )
    for row in reader:
        if None in row:
            yield reader.line_num, _too_many_cells
        else:
            yield reader.line_num, {key: _cell(key, value) for key, value in row.items() if value}


def _too_many_cells() -> dict[str, Any]:
    raise InvalidInputError("more cells than the heading has columns; quote cells that hold commas")


def _cell(column: str, text: str) -> Any:
    if column in ("vector", "vectors", "metadata"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if column in _KNOWN:
        return text
    return parse_value(text)


def _record(row: dict[str, Any]) -> Record:
    given = [name for name in _CONTENT_NAMES if name in row]
    if len(given) > 1:
        raise InvalidInputError("both 'content' and 'text' are given; keep one of them")
    metadata = row.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidInputError(f"'metadata' is {metadata!r:.60}; give a JSON object")
    others = {key: value for key, value in row.items() if key not in _KNOWN}
    id = row.get("id")
    return Record(
        str(uuid.uuid4()) if id is None else str(id) if isinstance(id, int) and not isinstance(id, bool) else id,
        row[given[0]] if given else None,
        {**others, **metadata},
        row.get("vectors", row.get("vector")),
    )
