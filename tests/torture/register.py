"""Whether the reads and writes of one register could have happened one after the other (an interval-order check).

Every write has an interval of time and a value that no other write has, except "absent". What is
checked is necessary for linearizability: a read returns a value whose writing had begun; not one that
was overwritten before the read began; and not one older than what a read that ended before saw.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

ABSENT = None


class Write(NamedTuple):
    """Of a value, in flight from `begin` to `end`; one that is not `sure` may not have happened at all."""

    value: str | None
    begin: float
    end: float
    sure: bool = True


class Read(NamedTuple):
    """Of a value, between `begin` and `end`; `who` read it."""

    value: str | None
    begin: float
    end: float
    who: str


def impossible_reads(writes: Iterable[Write], reads: Iterable[Read]) -> list[str]:
    """What is wrong with these reads, each in a line. The first write is what was there in the beginning."""
    writes = list(writes)
    by_value = {write.value: write for write in writes if write.value is not ABSENT}
    absent = sorted((write for write in writes if write.value is ABSENT), key=lambda write: write.begin)
    absent_since = [write.begin for write in absent]
    latest_end = _running_maximum([write.end for write in absent])
    overwritten = _Latest([(write.end, write.begin) for write in writes if write.sure])
    problems, seen = [], []
    found: list[tuple[Read, Write]] = []
    for read in sorted(reads, key=lambda read: read.end):
        if read.value is ABSENT:
            place = bisect.bisect_left(absent_since, read.end)
            write = Write(ABSENT, -math.inf, latest_end[place - 1]) if place else None
        else:
            write = by_value.get(read.value)
        if write is None or write.begin > read.end:
            problems.append(f"{read.who} read {read.value!r}, which nobody had written ({read})")
            continue
        if overwritten.before(read.begin) > write.end:
            problems.append(f"{read.who} read {read.value!r}, which was overwritten before it began ({read}, {write})")
        found.append((read, write))
        if read.value is not ABSENT:
            seen.append((read.end, write.begin))
    newest_seen = _Latest(seen)
    for read, write in found:
        if newest_seen.before(read.begin) > write.end:
            problems.append(f"{read.who} read {read.value!r}, older than what was read before ({read}, {write})")
    return problems


class _Latest:
    """Of pairs (end, begin): the latest beginning among those that ended before a time."""

    def __init__(self, pairs: Iterable[tuple[float, float]]) -> None:
        ordered = sorted(pairs)
        self._ends = [end for end, _ in ordered]
        self._begins = _running_maximum([begin for _, begin in ordered])

    def before(self, time: float) -> float:
        place = bisect.bisect_left(self._ends, time)
        return self._begins[place - 1] if place else -math.inf


def _running_maximum(numbers: Sequence[float]) -> list[float]:
    found: list[float] = []
    for number in numbers:
        found.append(max(number, found[-1]) if found else number)
    return found
