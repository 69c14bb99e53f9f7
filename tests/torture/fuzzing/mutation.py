"""Changing inputs by chance: what finds faults where atheris is not installed, though less of them."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Sequence

_NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1)
_LAYOUTS = {"<b": 8, "<h": 16, ">h": 16, "<i": 32, ">i": 32, "<q": 64, ">q": 64}
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), 1e38, 1e300)


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes], words: Sequence[bytes], longest: int) -> bytes:
    """The input with one to eight changes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        _change(changed, chance, others, words)
    return bytes(changed[:longest])


def _change(data: bytearray, chance: random.Random, others: Sequence[bytes], words: Sequence[bytes]) -> None:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 2, 4, 8, 32, 256)))
    kinds = [
        "flip",
        "flip",
        "byte",
        "number",
        "float",
        "remove",
        "repeat",
        "cut",
        "splice",
        *(["word"] * 2 if words else []),
    ]
    match chance.choice(kinds):
        case "flip" if data:
            data[start % len(data)] ^= 1 << chance.randrange(8)
        case "byte" if data:
            data[start % len(data)] = chance.randrange(256)
        case "number":
            layout, bits = chance.choice(sorted(_LAYOUTS.items()))
            value = (chance.choice(_NUMBERS) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
            packed = struct.pack(layout, value)
            data[start : start + len(packed)] = packed
        case "float":
            packed = struct.pack(chance.choice("<>") + "d", chance.choice(_FLOATS))
            data[start : start + 8] = packed
        case "remove":
            del data[start:end]
        case "repeat":
            data[start:start] = data[start:end] * chance.choice((1, 1, 2, 50))
        case "cut":
            del data[start:]
        case "splice" if others:
            other = chance.choice(others)
            place = chance.randrange(len(other) + 1)
            data[start:end] = other[place : place + chance.choice((4, 16, 64, len(other)))]
        case "word":
            data[start : chance.choice((start, end))] = chance.choice(words)


def shrunk(data: bytes, still: Callable[[bytes], bool], *, seconds: float = 5.0) -> bytes:
    """A smaller input that does the same: parts are left out as long as it does."""
    deadline = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while time.monotonic() < deadline:
        place, before = 0, len(data)
        while place < len(data) and time.monotonic() < deadline:
            less = data[:place] + data[place + size :]
            if still(less):
                data = less
            else:
                place += size
        if size == 1 and len(data) == before:
            break
        size = max(1, size // 2)
    return data
