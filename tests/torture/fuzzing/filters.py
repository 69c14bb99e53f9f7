"""Filters of any shape: refused where the documentation says so, else SQLite finds what plain Python finds."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.storage.filter_oracle import matches
from tests.torture.fuzzing.target import BrokenPromise, Target
from tests.torture.fuzzing.values import Bytes
from vecdb.errors import FilterError, InvalidInputError
from vecdb.storage.contents import encode_metadata
from vecdb.storage.filters import Filter

KEYS = [
    "a", "b", "a.b", "b.a", "a.b.a", "", ".", "a.", 'q"', "it's", "a[0]", "\\", "$a", "🙂", "\n", "é", "$.a", "%", "A",
]  # fmt: skip
WORDS = [
    "", "a", "ab", "1", "true", "null", "2020-01-31", "ä", "🙂🐕", "'", '"', "[]", "%", "_", "\uffff", "\U00010000",
]  # fmt: skip
NUMBERS = [
    0, -0.0, 1, 1.0, -1, 1.5, 0.1, 0.1 + 0.2, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, -(2**63), 1e308, 5e-324, 1 / 3,
]  # fmt: skip
OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$not"]
_COMPARING = ("$gt", "$gte", "$lt", "$lte")

_DATABASE = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
_DATABASE.execute("CREATE TABLE records (key INTEGER PRIMARY KEY, metadata TEXT)")


def _run(data: bytes, folder: Path) -> None:
    stored, wheres = _read(data)
    texts = []
    for metadata in stored:
        try:
            texts.append(encode_metadata(metadata))
        except InvalidInputError:
            continue
    _DATABASE.execute("DELETE FROM records")
    _DATABASE.executemany("INSERT INTO records (metadata) VALUES (?)", [(text,) for text in texts])
    kept = [json.loads(text) for text in texts]
    for where in wheres:
        _compare(where, kept)


def _compare(where: Any, kept: list[dict[str, Any]]) -> None:
    wrong = fault_of(where)
    try:
        made = Filter(where)
    except FilterError as error:
        if wrong is None:
            raise BrokenPromise(f"{where!r} was refused, and is right: {error}") from error
        return
    if wrong:
        raise BrokenPromise(f"{where!r} was taken, though {wrong}")
    found = _DATABASE.execute(f"SELECT key FROM records WHERE {made.sql}", made.parameters).fetchall()
    expected = [place for place, metadata in enumerate(kept, 1) if matches(where, metadata)]
    if sorted(key for (key,) in found) != expected:
        raise BrokenPromise(f"{where!r} matches {expected} of {kept!r}, SQLite finds {found}")


def fault_of(where: Any) -> str | None:
    """What is wrong with a filter, by the documentation; "" where a limit may or may not be reached."""
    sizes = [0, 0]
    fault = _group(where, 1, sizes)
    near_a_limit = sizes[0] > 20 or sizes[1] > 300
    return "" if near_a_limit else fault


def _group(where: Any, depth: int, sizes: list[int]) -> str | None:
    sizes[0] = max(sizes[0], depth)
    if not isinstance(where, Mapping):
        return "a group is no dict"
    for key, value in where.items():
        fault = _entry(key, value, depth, sizes)
        if fault:
            return fault
    return None


def _entry(key: Any, value: Any, depth: int, sizes: list[int]) -> str | None:
    if not isinstance(key, str):
        return "a key is no string"
    if key == "$not":
        return _group(value, depth + 1, sizes)
    if key in ("$and", "$or"):
        if not isinstance(value, list | tuple) or not value:
            return f"{key} has no list"
        return next((fault for item in value if (fault := _group(item, depth + 1, sizes))), None)
    if key.startswith("$"):
        return f"{key} is no operator"
    sizes[0] = max(sizes[0], depth + key.count("."))
    if not _is_text(key, nul=True):
        return "the key is no text"
    return _field(value, depth, sizes)


def _field(value: Any, depth: int, sizes: list[int]) -> str | None:
    sizes[0], sizes[1] = max(sizes[0], depth), sizes[1] + 1
    if not isinstance(value, Mapping):
        return None if _is_scalar(value) else "the value is no scalar"
    if not value:
        return "there is no operator"
    for name, operand in value.items():
        if name not in OPERATORS:
            return f"{name!r} is no operator"
        if name == "$not":
            fault = _field(operand, depth + 1, sizes) if isinstance(operand, Mapping) else "$not has no operators"
        else:
            sizes[1] += 1
            fault = _operand(name, operand)
        if fault:
            return fault
    return None


def _operand(name: str, operand: Any) -> str | None:
    if name == "$exists":
        return None if isinstance(operand, bool) else "$exists has no bool"
    if name in ("$in", "$nin"):
        right = isinstance(operand, list | tuple | set | frozenset) and all(map(_is_scalar, operand))
        return None if right else f"{name} has no list of scalars"
    if not _is_scalar(operand):
        return f"{name} has no scalar"
    if name in _COMPARING and (operand is None or isinstance(operand, bool)):
        return f"{name} compares no such thing"
    return None


def _is_text(value: str, *, nul: bool = False) -> bool:
    return not any(0xD800 <= ord(letter) < 0xE000 for letter in value) and (nul or "\0" not in value)


def _is_scalar(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float) and math.isfinite(value)


# --- values out of bytes ------------------------------------------------------------------------


def _read(data: bytes) -> tuple[list[Any], list[Any]]:
    if data.startswith(b"["):  # written by hand: [[metadata, …], [filter, …]]
        try:
            stored, wheres = json.loads(data)
            return list(stored), list(wheres)
        except (ValueError, TypeError, RecursionError):
            pass
    source = Bytes(data)
    stored = [_metadata(source, 3) for _ in range(1 + source.below(4))]
    return stored, [_where(source, 5) for _ in range(1 + source.below(4))]


def _key(source: Bytes) -> str:
    """One of the first ones, mostly, or filters would hardly ever meet what is stored."""
    kind = source.below(16)
    return source.text() if kind == 15 else source.choice(KEYS if kind > 9 else KEYS[:3])


def _scalar(source: Bytes) -> Any:
    kind = source.below(16)
    if kind < 6:
        return source.choice((0, 1, 1.0, "a", "ab", "1"))
    if kind < 9:
        return source.choice(NUMBERS)
    if kind < 12:
        return source.choice(WORDS)
    makers = (source.integer, source.real, source.text, lambda: source.choice((None, True, False)))
    return makers[kind % 4]()


def _value(source: Bytes, depth: int) -> Any:
    kind = source.below(4) if depth and source.left else 0
    if kind == 2:
        return [_value(source, depth - 1) for _ in range(source.below(4))]
    return _metadata(source, depth - 1) if kind == 3 else _scalar(source)


def _metadata(source: Bytes, depth: int) -> dict[str, Any]:
    return {_key(source): _value(source, depth) for _ in range(source.below(4))}


def _where(source: Bytes, depth: int) -> Any:
    if source.below(40) == 39:
        return _anything(source, 2)
    found: dict[Any, Any] = {}
    for _ in range(source.below(3)):
        kind = source.below(12) if depth and source.left else 0
        if kind in (8, 9):
            found[source.choice(("$and", "$or"))] = [_where(source, depth - 1) for _ in range(source.below(4))]
        elif kind == 10:
            found["$not"] = _where(source, depth - 1)
        elif kind == 11:
            found[_anything_hashable(source)] = _anything(source, 2)
        elif kind >= 4:
            found[_key(source)] = _condition(source, 3)
        else:
            found[_key(source)] = _scalar(source)
    return found


def _condition(source: Bytes, depth: int) -> Any:
    found: dict[Any, Any] = {}
    for _ in range(1 + source.below(2)):
        name = source.choice(OPERATORS)
        if source.below(16) == 15:
            found[name] = _anything(source, 2)
        elif name == "$not":
            found[name] = _condition(source, depth - 1) if depth and source.left else {"$exists": True}
        elif name in ("$in", "$nin"):
            found[name] = [_scalar(source) for _ in range(source.below(4))]
        elif name == "$exists":
            found[name] = source.choice((True, False))
        else:
            found[name] = _scalar(source)
    return found


def _anything(source: Bytes, depth: int) -> Any:
    kind = source.below(9) if source.left else 0
    if kind == 5:
        return source.take(source.below(6))
    if kind == 6:
        return {_anything_hashable(source) for _ in range(source.below(3))}
    if kind == 7:
        return tuple(_scalar(source) for _ in range(source.below(3)))
    if kind == 8 and depth:
        return {_anything_hashable(source): _anything(source, depth - 1) for _ in range(source.below(3))}
    return _value(source, depth)


def _anything_hashable(source: Bytes) -> Any:
    made = (_scalar, lambda one: one.take(2), lambda one: one.choice(("$gt", "$xor", "$", "$AND", "$eq")))
    return made[source.below(3)](source)


def _seeds(folder: Path) -> list[bytes]:
    stored = [{"a": {"b": 1}}, {"a.b": 1}, {"a": [1, "x", None]}, {"a": "2024-05-06", "b": True}, {"n": 2**53 + 1}]
    wheres = [
        {"a.b": 1}, {"a": {"$in": [1, "x", None]}, "b": {"$ne": False}},
        {"$or": [{"a": {"$contains": "x"}}, {"b": True}]},
        {"$not": {"a": {"$gte": "2024", "$lt": "2025"}}}, {"n": {"$not": {"$gt": 2.0**53}}}, {"a": {"$exists": False}},
        {"$and": [{"a": {"$nin": []}}, {"$not": {"b": None}}]}, {"a": {"$in": [1, 1.0, True]}},
    ]  # fmt: skip
    every = [None, True, False, *NUMBERS, *WORDS]
    rows = [{"a": value} for value in (*every, [1, "ab", None, True], {"b": 1})] + [{}]
    for name in OPERATORS[:-1]:  # each operator with each value, over each value
        operands = [True, False] if name == "$exists" else [[v] for v in every] if name in ("$in", "$nin") else every
        if name in _COMPARING:
            operands = [*NUMBERS, *WORDS]
        wheres += [{"a": {name: operand}} for operand in operands]
    crossed = [json.dumps([rows, wheres[start : start + 40]]).encode() for start in range(8, len(wheres), 40)]
    written = [json.dumps([stored, [where]]).encode() for where in wheres[:8]]
    return [*written, *crossed, *(bytes((n * 37 + i * i * 11) % 256 for i in range(80)) for n in range(12))]


TARGETS = [Target("filters", _seeds, _run, longest=400, words=[name.encode() for name in OPERATORS])]
