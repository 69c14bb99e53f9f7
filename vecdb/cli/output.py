"""Printing results: tables for people; JSON, JSON lines and CSV for programs. All of it to stdout."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from vecdb.types import Audio, Image

ELLIPSIS = "…"
_GAP = "  "
_WIDTH_WITHOUT_TERMINAL = 120
_LONGEST_CELL = 3_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: which value of a row it shows, and its heading.
        align: "left" or "right" (numbers).
        shrink: whether its text may be cut to make the table fit. Others are cut only where even that
            does not help.
        least: characters that are left of it at least.
        weight: how much of the room it gets beside others that may be cut.
        wrap: go on in further lines, in place of being cut.
    """

    key: str
    align: Literal["left", "right"] = "left"
    shrink: bool = False
    least: int = 12
    weight: float = 1.0
    wrap: bool = False


def write_rows(format: str, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows of the same kind.

    Args:
        format: "table", "json" (one list), "jsonl" (an object a line) or "csv" (with a heading).
        columns: what the table and CSV show; JSON has all values of a row.
        rows: values by name.
    """
    if format == "jsonl":
        for row in rows:
            _echo(_json(row))
        return
    listed = list(rows)
    if format == "json":
        _echo(_json(listed, indent=2))
    elif format == "csv":
        _echo(_csv([column.key for column in columns], listed), nl=False)
    else:
        for number, line in enumerate(table(columns, listed)):
            _echo(click.style(line, bold=True) if number == 0 else line)


def write_fields(format: str, fields: Mapping[str, Any]) -> None:
    """Print one thing with its values: "name  value" lines, a JSON object, or CSV of one row."""
    if format == "json":
        _echo(_json(fields, indent=2))
    elif format == "jsonl":
        _echo(_json(fields))
    elif format == "csv":
        _echo(_csv(list(fields), [fields]), nl=False)
    else:
        for line in field_lines(fields):
            _echo(line)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _echo(text: str, *, nl: bool = True) -> None:
    """To stdout; what its encoding lacks is written as an escape, because a result must not fail to print."""
    click.echo(text.encode(_encoding(), "backslashreplace").decode(_encoding()), nl=nl)


def counted(number: int, what: str) -> str:
    """ "1 record", "2 records"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def note(text: str) -> None:
    """Say something to the person, on stderr."""
    click.echo(text, err=True)


# --- tables -------------------------------------------------------------------------------------


def terminal_width() -> int:
    """Columns of the terminal (or of $COLUMNS); 120 where there is none."""
    return shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 24)).columns


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int | None = None) -> list[str]:
    """The lines of a table, the heading first, each fitting `width`."""
    cells = [[cell(row.get(column.key)) for column in columns] for row in rows]
    widest = [
        max([text_width(column.key), *(text_width(line[index]) for line in cells)])
        for index, column in enumerate(columns)
    ]
    widths = _fit(columns, widest, (terminal_width() if width is None else width) - len(_GAP) * (len(columns) - 1))
    lines: list[str] = []
    for row in [[column.key for column in columns], *cells]:
        parts = [
            wrap(text, room) if column.wrap else [cut(text, room)]
            for text, room, column in zip(row, widths, columns, strict=True)
        ]
        for texts in zip_longest(*parts, fillvalue=""):
            padded = [pad(*one) for one in zip(texts, widths, [column.align for column in columns], strict=True)]
            lines.append(_GAP.join(padded).rstrip())
    return lines


def _fit(columns: Sequence[Column], widest: Sequence[int], available: int) -> list[int]:
    """Widths that add up to what there is: columns that may shrink first, the widest of them most."""
    widths = list(widest)
    shrinking = [index for index, column in enumerate(columns) if column.shrink]
    headings = [text_width(column.key) for column in columns]
    least = [max(column.least, heading) for column, heading in zip(columns, headings, strict=True)]
    for candidates, limits in ((shrinking, least), (range(len(columns)), headings)):
        while sum(widths) > available:
            still_wide = [index for index in candidates if widths[index] > limits[index]]
            if not still_wide:
                break
            widths[max(still_wide, key=lambda index: widths[index] / columns[index].weight)] -= 1
    return widths


def field_lines(fields: Mapping[str, Any], width: int | None = None) -> list[str]:
    """Lines "name  value"; a long value goes on below itself, a text of several lines keeps its lines."""
    names = max((text_width(name) for name in fields), default=0)
    available = max((terminal_width() if width is None else width) - names - len(_GAP), 20)
    lines: list[str] = []
    for name, value in fields.items():
        if isinstance(value, str) and "\n" in value:
            shown = [_visible(part.expandtabs(4)) for part in value.splitlines()]
        else:
            shown = wrap(cell(value), available)
        head = pad(name, names)
        for part in shown:
            lines.append(f"{head}{_GAP}{part}".rstrip())
            head = " " * names
    return lines


def cell(value: Any) -> str:
    """A value as one line of a table: no line breaks, nothing that a terminal would obey."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _one_line(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Path | Image | Audio):
        return _one_line(str(value))
    if isinstance(value, Mapping):
        return _one_line(" ".join(f"{key}={plain(item)}" for key, item in value.items()))
    if isinstance(value, list | tuple):
        return _one_line(", ".join(plain(item) for item in value))
    return _one_line(str(value))


def plain(value: Any) -> str:
    """A value inside a cell: text as it is, anything else as JSON, so that 1 and true look as in a filter."""
    return value if isinstance(value, str) else str(value) if isinstance(value, Path) else _json(value)


def _one_line(text: str) -> str:
    shortened = text[:_LONGEST_CELL]
    return _visible(" ".join(shortened.split()))


def _visible(text: str) -> str:
    return "".join("�" if _obeyed(char) else char for char in text)


def _obeyed(char: str) -> bool:
    """Whether a terminal acts on a character: controls, and those that turn the direction of what follows."""
    return unicodedata.category(char) in ("Cc", "Cs") or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def text_width(text: str) -> int:
    """Columns that a text takes on a terminal: two for wide characters, none for combining ones."""
    return len(text) if text.isascii() else sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits `width` columns with an ellipsis."""
    if text_width(text) <= width:
        return text
    taken, used = 0, 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        taken += 1
    return text[:taken].rstrip() + ELLIPSIS if width > 0 else ""


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns, broken between words where that is possible."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        while text_width(word) > width:
            head = cut(word, width + 1)[:-1] or word[0]
            lines[-1] = head
            lines.append("")
            word = word[len(head) :]  # noqa: PLW2901  (what is left of it)
        lines[-1] = word
    return lines


def pad(text: str, width: int, align: str = "left") -> str:
    """The text filled with spaces to `width` columns."""
    filling = " " * max(width - text_width(text), 0)
    return filling + text if align == "right" else text + filling


# --- for programs -------------------------------------------------------------------------------


def _json(value: Any, *, indent: int | None = None) -> str:
    found = json.dumps(_plain_json(value), ensure_ascii=False, indent=indent)
    try:
        found.encode(_encoding())
    except UnicodeEncodeError:
        return json.dumps(_plain_json(value), indent=indent)
    return found


def _plain_json(value: Any) -> Any:
    """A value in terms of JSON: a path becomes its text, images and sounds their size, arrays lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return [float(str(number)) for number in value]  # the shortest digits that give the same float32
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Image | Audio):
        return {type(value).__name__.lower(): f"{len(value.data)} bytes"}
    return value


def _csv(keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    for row in rows:
        writer.writerow([_csv_value(row.get(key)) for key in keys])
    return text.getvalue()


def _csv_value(value: Any) -> Any:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return str(value) if isinstance(value, Path) else _json(value)
