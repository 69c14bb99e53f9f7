"""What the journals of the campaign "concurrency" say, and whether that can be."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.members import KEYS
from tests.torture.register import ABSENT, Read, Write, impossible_reads

State = dict[str, Any]  # key to [content, number], or None
_SOONEST = 0.045  # seconds that an impatient member waits at the least


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a member.

    Attributes:
        begin, end: on CLOCK_MONOTONIC; of one that was never finished, the end of its process.
        answer: what came of it; None where it was never finished.
        words: what it was called with.
    """

    journal: str
    pid: int
    do: str
    begin: float
    end: float
    words: Mapping[str, Any]
    answer: Mapping[str, Any] | None


@dataclass
class Story:
    """All calls of a round.

    Attributes:
        problems: what is wrong, in lines.
        pids: of everybody who wrote a journal.
    """

    calls: list[Call] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)

    @classmethod
    def told_by(cls, folder: Path, ends: Mapping[int, float]) -> Story:
        """Read the journals; `ends`: when the processes that were started had ended, by their id."""
        story = cls()
        for path in sorted(folder.glob("*.jsonl")):
            story._read(path, ends)
        return story

    def _read(self, path: Path, ends: Mapping[int, float]) -> None:
        begun: dict[str, Any] | None = None
        for line in path.read_bytes().split(b"\n")[:-1]:
            said = json.loads(line)
            self.pids.add(said["pid"])
            if said["what"] == "begin":
                begun = said
            elif said["what"] == "error":
                self.problems.append(f"{path.stem}: {said['do']} raised {said['error']}\n{said['trace']}")
                begun = None
            elif said["what"] == "end" and begun is not None:
                self._add(path.stem, begun, said["at"], said)
                begun = None
        if begun is not None:
            self._add(path.stem, begun, ends.get(begun["pid"], math.inf), None)

    def _add(self, journal: str, begun: dict[str, Any], end: float, answer: dict[str, Any] | None) -> None:
        self.calls.append(Call(journal, begun["pid"], begun["do"], begun["at"], end, begun, answer))

    @property
    def acknowledged(self) -> Iterator[Call]:
        """Writes that returned."""
        for call in self.calls:
            if call.do in _WRITES and call.answer is not None and not call.answer.keys() & {"locked", "refused"}:
                yield call


_WRITES = {"upsert", "add", "update_metadata", "delete", "count up"}


def wrong_answers(story: Story, before: State, after: State) -> list[str]:
    """What no order of the calls explains, given what each key held before and after all of them."""
    problems: list[str] = []
    contents, numbers = _Registers(before, 0), _Registers(before, 1)
    for call in story.calls:
        problems += _half_pairs(call)
        if call.do in _WRITES:
            _note_write(call, contents, numbers)
        elif call.answer is not None:
            if call.answer.get("wrong") or call.answer.get("twice") or call.answer.get("problems"):
                problems.append(f"{call.journal}: {call.do} answered {dict(call.answer)}")
            for id, held in call.answer.get("held", {}).items():
                contents.read(id, held and held[0], call)
                numbers.read(id, held and held[1], call)
            for id, is_there in call.answer.get("has", {}).items():
                if not is_there:
                    contents.read(id, ABSENT, call)
    last = Call("the end", 0, "get", math.inf, math.inf, {}, {})
    for id, held in after.items():
        contents.read(id, held and held[0], last)
        numbers.read(id, held and held[1], last)
    return problems + contents.problems("content") + numbers.problems("number")


class _Registers:
    """One register for each key: its content, or its number."""

    def __init__(self, before: State, part: int) -> None:
        self._writes = {
            id: [Write(before[id][part] if before[id] else ABSENT, -math.inf, -math.inf)] for id in KEYS
        }
        self._reads: dict[str, list[Read]] = defaultdict(list)

    def write(self, id: str, value: str | None, call: Call) -> None:
        self._writes[id].append(Write(value, call.begin, call.end, sure=call.answer is not None))

    def read(self, id: str, value: str | None, call: Call) -> None:
        self._reads[id].append(Read(value, call.begin, call.end, f"{call.journal} ({call.do})"))

    def problems(self, what: str) -> list[str]:
        found = {id: impossible_reads(self._writes[id], self._reads[id]) for id in KEYS}
        return [f"{what} of {id}: {problem}" for id in KEYS for problem in found[id]]


def _note_write(call: Call, contents: _Registers, numbers: _Registers) -> None:
    answer = call.answer or {}
    if "locked" in answer or call.do == "count up":
        return
    value = ABSENT if call.do == "delete" else call.words["value"]
    for id in call.words["ids"]:
        if answer.get("refused") == "RecordNotFoundError" or answer.get("count") == 0:
            contents.read(id, ABSENT, call)
        elif "refused" not in answer:
            numbers.write(id, value, call)
            if call.do != "update_metadata":
                contents.write(id, value, call)


def _half_pairs(call: Call) -> Iterator[str]:
    """Both of a pair are written and deleted in one call, so every moment has both or none."""
    answer = call.answer or {}
    if answer.get("count", 0) == 1:
        yield f"{call.journal}: a delete found one half of {call.words['ids']}"
    held = answer.get("held", {})
    for id, one in held.items():
        other = id[:-1] + "b"
        if id.endswith("a") and other in held and (one and one[0]) != (held[other] and held[other][0]):
            yield f"{call.journal}: {call.do} saw {id} as {one} and {other} as {held[other]}"


def lost_counts(story: Story, before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Counters that are not what was counted; each had one owner at a time."""
    problems, last, open_ones = [], dict(before), defaultdict(int)
    for call in sorted((call for call in story.calls if call.do == "count up"), key=lambda call: call.begin):
        id = call.words["id"]
        if call.answer is None:
            open_ones[id] += 1
            continue
        number, least = call.answer.get("number", -1), last.get(id, 0) + 1
        if not least <= number <= least + open_ones[id]:
            problems.append(f"{id} became {number} and should have become {least} (+{open_ones[id]} unfinished)")
        last[id], open_ones[id] = number, 0
    for id, number in last.items():
        if not number <= after.get(id, 0) <= number + open_ones[id]:
            problems.append(f"{id} is {after.get(id, 0)} at the end, {number} was acknowledged")
    return problems


def wrong_holders(story: Story, lives: Mapping[int, tuple[float, float]]) -> list[str]:
    """Members that did not wait, or were told of a holder that cannot have been it.

    Args:
        story: the calls.
        lives: when the processes that were started began and ended, by their id.
    """
    problems = []
    locked = [call for call in story.calls if call.answer is not None and "locked" in call.answer]
    for call in locked:
        holder, shown = call.answer and call.answer["holder"], f"{call.journal}: {call.do} from {call.begin:.3f}"
        if not call.journal.startswith("impatient"):
            problems.append(f"{shown} was refused although it was patient, for {call.end - call.begin:.1f} s")
        if call.end - call.begin < _SOONEST:
            problems.append(f"{shown} did not wait: {call.end - call.begin:.3f} s")
        if holder not in story.pids | lives.keys():
            problems.append(f"{shown} was told of process {holder}, which is none of ours")
        elif holder in lives and not _meet(lives[holder], (call.begin, call.end)):
            problems.append(f"{shown} was told of process {holder}, which was not there then")
        elif holder == call.pid and not any(
            other.pid == call.pid
            and other.journal != call.journal
            and _meet((other.begin, other.end), (call.begin, call.end))
            and "locked" not in (other.answer or {})
            for other in story.calls
        ):
            problems.append(f"{shown} was told of its own process {holder}, where nobody had the lock")
    return problems


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def longest_wait(calls: Iterable[Call]) -> float:
    """Seconds that the slowest of them took."""
    return max((call.end - call.begin for call in calls), default=0.0)
