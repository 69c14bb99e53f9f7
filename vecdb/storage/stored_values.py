"""Values read from a database file, which may be damaged or a stranger's: a column takes any type and size."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import numpy as np

from vecdb.errors import CorruptDatabaseError, shown
from vecdb.types import Labels

MAX_INTEGER = 2**63 - 1
LARGEST_SEQUENCE = 2**62  # a sequence beyond this was not counted by anybody
MAX_JSON_CHARACTERS = 16 * 2**20
MAX_JSON_DEPTH = 100
INDEX_LIMITS = {"M": (2, 128), "ef_construction": (2, 10_000), "ef": (1, 2**31 - 1)}
"""What the HNSW index takes: lowest and highest value of each of its options."""
_JSON = f"{{}} of at most {{:,}} characters, nested at most {MAX_JSON_DEPTH} deep"


def as_text(value: Any, *, what: str) -> str:
    """`value`, if it is text.

    Args:
        value: as SQLite gave it.
        what: how the error calls it.

    Raises:
        CorruptDatabaseError: it is not. The same holds for the functions below.
    """
    return value if type(value) is str else _wrong(what, value, "text")


def as_text_or_none(value: Any, *, what: str) -> str | None:
    """`value`, if it is text or NULL."""
    return value if value is None or type(value) is str else _wrong(what, value, "text")


def as_bytes_or_none(value: Any, *, what: str) -> bytes | None:
    """`value`, if it is bytes or NULL."""
    return value if value is None or type(value) is bytes else _wrong(what, value, "bytes")


def as_integer(value: Any, lowest: int, highest: int, *, what: str) -> int:
    """`value`, if it is an integer from `lowest` to `highest`."""
    if type(value) is not int or not lowest <= value <= highest:
        _wrong(what, value, f"an integer from {lowest} to {highest}")
    return value


def rising(key: int, before: int) -> int:
    """`key`, if it is above the one before: in a damaged file keys may fall, and who follows them would not end."""
    if key <= before:
        raise CorruptDatabaseError(
            f"key {key} stands behind key {before}: the file is damaged; run `vecdb check`, or restore a backup"
        )
    return key


def as_one_of(value: Any, known: Sequence[Any], *, what: str) -> Any:
    """`value`, if it is one of the known ones."""
    return value if value in known else _wrong(what, value, " or ".join(map(repr, known)))


def as_integers(values: Sequence[Any], *, what: str) -> Labels:
    """`values` as int64 (n,), if all of them are integers of 64 bits."""
    if not values:
        return np.empty(0, np.int64)
    if not {type(value) for value in values} <= {int}:
        _wrong(what, next(value for value in values if type(value) is not int), "an integer")
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return _wrong(what, max(values, key=abs), "an integer of 64 bits")


def as_json_object(value: Any, *, what: str, longest: int = MAX_JSON_CHARACTERS) -> dict[str, Any]:
    """`value` read as the JSON of an object, nested 100 deep at most, without white space around it."""
    found = json_object(value, longest)
    return found if found is not None else _wrong(what, value, _JSON.format("a JSON object", longest))


def as_json_array(value: Any, *, what: str, longest: int = MAX_JSON_CHARACTERS) -> list[Any]:
    """`value` read as the JSON of a list, with the same limits."""
    found = _json(value, longest)
    return found if type(found) is list else _wrong(what, value, _JSON.format("a JSON list", longest))


def json_object(value: Any, longest: int = MAX_JSON_CHARACTERS) -> dict[str, Any] | None:
    """As `as_json_object`, for what is read thousands of times; None where it is something else."""
    found = _json(value, longest)
    return found if type(found) is dict else None


def _json(value: Any, longest: int) -> Any:
    """`value` read as JSON; None where it is none, or is beyond a limit."""
    if type(value) is not str or len(value) > longest:
        return None
    try:
        found, end = _scan(value, 0)
    except (ValueError, RecursionError, StopIteration):  # also an integer of thousands of digits
        return None
    if end != len(value):
        return None
    # It is not nested deeper than it has brackets, which spares the walk.
    brackets = value.count("{") + value.count("[")
    return found if brackets <= MAX_JSON_DEPTH or _depth(found) <= MAX_JSON_DEPTH else None


def _depth(value: Any) -> int:
    """Levels of lists and objects in `value`."""
    depth, level = 0, [value]
    while level := [inner for inner in level if type(inner) in (dict, list)]:
        depth += 1
        level = [inner for outer in level for inner in (outer.values() if type(outer) is dict else outer)]
    return depth


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_scan: Callable[[str, int], tuple[Any, int]] = cast("Any", json.JSONDecoder(parse_constant=_refuse_constant)).scan_once


def _wrong(what: str, value: Any, expected: str) -> NoReturn:
    raise CorruptDatabaseError(f"{what} is {shown(value)}, not {expected}; run `vecdb check`, or restore a backup")
