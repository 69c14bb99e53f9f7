"""What the command line reads: records in lines, JSON and CSV; conditions; texts that are cut into passages."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import click

from tests.torture.fuzzing.target import BrokenPromise, Target
from vecdb.cli.passages import split_passages
from vecdb.cli.records_in import guess_format, read_records
from vecdb.cli.where import parse_value, parse_where
from vecdb.errors import InvalidInputError
from vecdb.storage.contents import check_id, encode_content, encode_metadata
from vecdb.storage.filters import Filter

_FORMATS = ("lines", "jsonl", "json", "csv", None)
_DEEP = 20_000


def _records(data: bytes, folder: Path) -> None:
    """The first byte says the format; None lets the first line decide, as `vecdb add` does."""
    kind = _FORMATS[data[0] % len(_FORMATS)] if data else "lines"
    try:
        text = data[1:].decode("utf-8")
    except UnicodeDecodeError:
        text = data[1:].decode("utf-8", "surrogateescape")
    lines = io.StringIO(text, newline=None)
    bad: list[int] = []
    try:
        if kind is None:
            kind, given = guess_format(lines)
        else:
            given = lines
        for record in read_records(given, kind, lambda number, error: bad.append(number)):
            _store(record)
    except (InvalidInputError, click.UsageError):
        return
    if any(number < 1 for number in bad):
        raise BrokenPromise(f"a bad line has the number {min(bad)}")


def _store(record) -> None:
    """What storing makes of it before anything is embedded or written."""
    for encode in (lambda: check_id(record.id), lambda: encode_metadata(record.metadata)):
        try:
            encode()
        except InvalidInputError:
            continue
    try:
        encode_content(record.content)
    except InvalidInputError:
        return


def _record_seeds(folder: Path) -> list[bytes]:
    lines = (
        b'{"id": "a", "content": "The cat", "metadata": {"year": 2020}}\n{"text": "x", "n": 1.5, "vector": [1, 2]}\n'
    )
    listed = b'[{"id": 7, "content": "The cat", "year": 2020},\n {"text": "dog", "vectors": {"default": [0.5]}}]'
    table = b'id,content,year,vector,metadata\na,"The ""cat"", it",2020,"[1, 2]","{""x"": 1}"\nb,dog,,true,\n'
    plain = "first line\n\nsecond, ünd more\r\nthird".encode()
    deep = [b"[" * _DEEP, b'{"content": ' * _DEEP, b'[{"metadata":' * _DEEP, b'{"n": ' + b"9" * 6000 + b"}"]
    wide = [b'content,metadata\nx,"' + b"[" * _DEEP + b'"', b"content\n" + b"x" * 140_000, b'content\n"\0"\r\r"']
    seeds = [bytes([number]) + data for number, data in enumerate((plain, lines, listed, table))]
    seeds += [b"\4" + data for data in (plain, lines, listed, *deep)]
    return seeds + [bytes([number]) + data for number in (1, 2) for data in deep] + [b"\3" + data for data in wide]


def _conditions(data: bytes, folder: Path) -> None:
    typed = data.decode("utf-8", "surrogateescape").split("\x1f")
    for one in typed:
        value = parse_value(one)
        if isinstance(value, dict):
            raise BrokenPromise(f"{one!r} became the object {value!r}")
    try:
        found = parse_where(typed)
    except ValueError:
        return
    try:
        Filter(found)
    except InvalidInputError:
        return


def _condition_seeds(folder: Path) -> list[bytes]:
    typed = ["year>=2020", "kind=function", 'name!="2020"', "tags~news", '{"year": {"$gte": 2020}}', 'k=["a",1,null]',
             "a.b<=1.5e3", "x==1\x1fy!=[true]", "n=1e999", "n=123456789012345678901", "a=>3", "a~[", "="]  # fmt: skip
    deep = [
        '{"$not": ' * _DEEP,
        '{"a":' * _DEEP + "1" + "}" * _DEEP,
        "a=" + "[" * _DEEP,
        "a" + " " * _DEEP,
        " =" * _DEEP,
    ]
    return [text.encode() for text in (*typed, *deep)]


_SIZES = (7, 40, 200, 1000)


def _passages(data: bytes, folder: Path) -> None:
    """The first byte says the size and whether it is Markdown. Every letter and digit is in one passage, once."""
    head = data[0] if data else 0
    size, markdown = _SIZES[head % 4], bool(head & 4)
    text = data[1:].decode("utf-8", "replace")
    passages = split_passages(text, markdown=markdown, size=size)
    lines = text.splitlines()
    for passage in passages:
        if len(passage.text) > size or not passage.text.strip():
            raise BrokenPromise(f"a passage of {len(passage.text)} characters where {size} are allowed")
        if not 1 <= passage.line <= len(lines):
            raise BrokenPromise(f"a passage begins on line {passage.line} of {len(lines)}")
    kept = Counter(letter for passage in passages for letter in passage.text if letter.isalnum())
    had = Counter(letter for letter in text if letter.isalnum())
    if kept != had:
        raise BrokenPromise(f"{had - kept} got lost and {kept - had} are too many")


def _passage_seeds(folder: Path) -> list[bytes]:
    markdown = "# Title\n\nA paragraph. Another! A third?\n\nSub\n---\n\n```py\nx = 1\n\ny = 2\n```\n\n## B ##\n"
    plain = "One sentence. Two sentences.\n\n" * 4 + "word " * 60 + "\n\n日本語の文。次の文！" + "x" * 90
    long = ["#" + " " * _DEEP + "x", "# a" + " #" * _DEEP, "`" * _DEEP, "~~~\n" * 5000, "a\n---\n" * 3000, ". " * _DEEP,
            "a" * _DEEP, ".\"'" * 7000, "=" * _DEEP, "# a\n" * 30_000, " " * _DEEP + "x", "# \t" * 7000]  # fmt: skip
    seeds = [bytes([head]) + text.encode() for head in (4, 5, 7, 3) for text in (markdown, plain)]
    return [*seeds, *(b"\7" + text.encode() for text in long)]


TARGETS = [
    Target(
        "records", _record_seeds, _records, words=[b'"content"', b'"text"', b'"metadata"', b'"id"', b'"vector"', b"NaN"]
    ),
    Target(
        "conditions", _condition_seeds, _conditions, longest=1000, words=[b"$gte", b">=", b"!=", b"~", b"\x1f", b"["]
    ),
    Target("passages", _passage_seeds, _passages, words=[b"\n\n", b"```", b"~~~", b"# ", b"---", b". "]),
]
