"""Lists of values after SQL's IN, in a few lengths only.

Each length is another statement. A connection keeps hundreds of statements compiled, and one that takes a hundred
values is 70 KiB: with every length that comes up, each connection would hold 10 MiB and compile most of its queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_Value = TypeVar("_Value")

_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_PLACEHOLDERS = {length: f"({', '.join('?' * length)})" for length in _LENGTHS}


def in_lists(values: Sequence[_Value]) -> Iterator[tuple[str, list[_Value]]]:
    """`values` in parts, each with SQL's list of placeholders for it: `(?, ?)`.

    A part that is shorter than its list names its last value again, which changes nothing after IN.
    """
    for start in range(0, len(values), _LENGTHS[-1]):
        part = list(values[start : start + _LENGTHS[-1]])
        length = next(length for length in _LENGTHS if length >= len(part))
        yield _PLACEHOLDERS[length], part + part[-1:] * (length - len(part))
