"""Arbitrary values out of arbitrary bytes: nearby bytes give nearby values, so that a fuzzer finds its way."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Bytes:
    """Bytes that are used up from the front; behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._place)

    def take(self, count: int) -> bytes:
        found = self._data[self._place : self._place + count]
        self._place += count
        return found.ljust(count, b"\0")

    def below(self, limit: int) -> int:
        return int.from_bytes(self.take(1 if limit <= 256 else 2), "little") % limit

    def choice(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def integer(self) -> int:
        return int.from_bytes(self.take(self.choice((1, 1, 2, 8, 9))), "little", signed=True)

    def real(self) -> float:
        return float(struct.unpack("<d", self.take(8))[0])

    def text(self) -> str:
        raw = self.take(self.below(12))
        return raw.decode("utf-8", self.choice(("replace", "replace", "replace", "surrogateescape")))
