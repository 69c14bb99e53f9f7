"""Writers, readers and others at one database, killed and started again; afterwards their journals are judged."""

from __future__ import annotations

import os
import random
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import vecdb
from tests.torture import members
from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.journals import State, Story, longest_wait, lost_counts, wrong_answers, wrong_holders
from tests.torture.members import COLLECTION, DIMENSION, KEYS, Part
from tests.torture.processes import Child, in_child

_ROUND = 20  # seconds, then everybody ends and the history is judged
_MANY = 300  # seconds; a longer run has more members
_KILL_EVERY = 0.6
_END_WITHIN = 90.0
_MOST_FAILURES = 20


@dataclass
class Member:
    """A place that is taken by one process after the other."""

    name: str
    live: Callable[[Part], None]
    starts: int = 0
    child: Child | None = None


@dataclass
class Round:
    """One round: who was there from when to when, and what is wrong so far."""

    number: int
    seed: int
    folder: Path
    journals: Path
    lives: dict[int, tuple[float, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    kills: int = 0

    @property
    def stop(self) -> Path:
        """The file that ends it."""
        return self.journals / "stop"

    def start(self, member: Member) -> None:
        """A new process takes this place."""
        member.starts += 1
        name = f"{member.name}-{self.number}.{member.starts}"
        seed = self.seed * 1000 + member.starts
        member.child = Child(partial(member.live, Part(name, seed, self.folder, self.journals, self.stop)))
        self.lives[member.child.pid] = (time.monotonic(), float("inf"))

    def end(self, member: Member, *, kill: bool) -> None:
        """Wait for its end, which SIGKILL may hasten; another end is a failure, and so is what it says then."""
        child = member.child
        if child is None:
            return
        if kill:
            child.kill()
            self.kills += 1
        ended = child.wait(_END_WITHIN)
        self.lives[child.pid] = (self.lives[child.pid][0], time.monotonic())
        if ended.status not in ((-signal.SIGKILL,) if kill else (0,)) and not (kill and ended.status == 0):
            self.problems.append(f"{member.name} ended with status {ended.status}: {ended.output[-3000:]}")
        elif re.search("VecdbWarning|Fatal Python error|Exception ignored", ended.output):
            self.problems.append(f"{member.name} said {ended.output[-1000:]}")
        member.child = None


def run(run: Run) -> Outcome:
    """Rounds until the time is over."""
    if sys.platform != "linux":
        return Outcome(skipped="its processes are forked and share CLOCK_MONOTONIC, as on Linux")
    folder = run.scratch / "shared.vecdb"
    with vecdb.open(folder, durability="normal") as database:
        database.create_collection(
            COLLECTION, dimension=DIMENSION, metric="l2", index="hnsw", index_options={"M": 8, "ef_construction": 40}
        )
    counts = {"calls": 0, "acknowledged": 0, "reads": 0, "kills": 0, "locked": 0, "longest wait (s)": 0.0, "lost": 0}
    failures: list[str] = []
    begin, number = time.monotonic(), 0
    state, counters = dict.fromkeys(KEYS), {}
    while (left := run.count - (time.monotonic() - begin)) > 1 and len(failures) < _MOST_FAILURES:
        number += 1
        round = Round(number, run.seed + number - 1, folder, run.scratch / f"round-{number}")
        members_ = _members(*((8, 8) if run.count >= _MANY else (3, 2)))
        _play(round, members_, min(_ROUND, left))
        story = Story.told_by(round.journals, {pid: end for pid, (_, end) in round.lives.items()})
        held = in_child(partial(_final, folder, round.journals))
        problems = round.problems + story.problems
        if held.result is None:
            problems.append(f"opening it at the end: {held.output[-3000:]}")
            failures += [f"round {number} (seed {run.seed}): {problem}" for problem in problems]
            break
        after, counted, found = held.result
        problems += found + wrong_answers(story, state, after) + wrong_holders(story, round.lives)
        lost = lost_counts(story, counters, counted)
        failures += [f"round {number} (seed {run.seed}): {problem}" for problem in problems + lost]
        state, counters = after, counted
        acknowledged = list(story.acknowledged)
        counts["calls"] += len(story.calls)
        counts["acknowledged"] += len(acknowledged)
        counts["reads"] += sum("held" in (call.answer or {}) for call in story.calls)
        counts["locked"] += sum("locked" in (call.answer or {}) for call in story.calls)
        counts["kills"] += round.kills
        counts["lost"] += len(lost)
        counts["longest wait (s)"] = max(counts["longest wait (s)"], round_to(longest_wait(acknowledged)))
        run.say(f"round {number}: {len(story.calls)} calls, {round.kills} kills, {len(problems + lost)} failures")
        shutil.rmtree(round.journals)
    return Outcome(counts, tuple(failures[:_MOST_FAILURES]))


def round_to(seconds: float) -> float:
    """Milliseconds are exact enough."""
    return int(seconds * 1000) / 1000


def _members(writers: int, readers: int) -> list[Member]:
    return [
        *(Member(f"writer{n}", members.writer) for n in range(writers)),
        *(Member(f"reader{n}", members.reader) for n in range(readers)),
        Member("carer", members.carer),
        Member("impatient", members.impatient),
        Member("forker", members.forker),
        Member("asynchronous", members.asynchronous),
    ]


def _play(round: Round, everybody: list[Member], seconds: float) -> None:
    """Start all, kill some, end all; also those that they forked."""
    round.journals.mkdir()
    chance = random.Random(round.seed)
    watching, held = os.pipe()  # held by everybody that descends from here: at its end all are gone
    os.set_inheritable(held, True)
    deadline = time.monotonic() + seconds
    for member in everybody:
        round.start(member)
    while time.monotonic() < deadline:
        time.sleep(chance.random() * 2 * _KILL_EVERY)
        member = chance.choice(everybody)
        round.end(member, kill=True)
        round.start(member)
        for other in everybody:
            if other.child is not None and _has_ended(other.child):
                round.end(other, kill=False)
                round.problems.append(f"{other.name} ended by itself")
                round.start(other)
    round.stop.touch()
    for member in everybody:
        round.end(member, kill=False)
    os.close(held)
    if not select.select([watching], [], [], _END_WITHIN)[0]:
        round.problems.append("forked children were still running at the end")
    os.close(watching)


def _has_ended(child: Child) -> bool:
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _final(folder: Path, journals: Path) -> tuple[State, dict[str, int], list[str]]:
    """What the keys and the counters hold, and what is wrong with the database or with a backup of it."""
    problems = []
    with vecdb.open(folder) as database:
        collection = database.collection(COLLECTION)
        found = {record.id: record for record in collection}
        state = {id: [found[id].content, found[id].metadata["n"]] if id in found else None for id in KEYS}
        counters = {id: int(record.content) for id, record in found.items() if id.startswith("counter ")}
        if found.keys() - state.keys() - counters.keys():
            problems.append(f"records that nobody wrote: {sorted(found.keys() - state.keys() - counters.keys())[:5]}")
        differences = collection._space("default").index.differences()
        if differences != ([], []):
            problems.append(f"the index lacks {differences[0]} and holds {differences[1]} too many")
        for id, record in found.items():
            if collection.search(record.vectors, k=1, ef=600)[0].distance > 1e-5:
                problems.append(f"{id} does not find itself")
        problems += [f"check: {one.where}: {one.what}" for one in database.check()]
    for copy in sorted(journals.glob("*.copy"))[:3]:
        with vecdb.open(copy) as database:
            held = {record.id: record.content for record in database.collection(COLLECTION)}
            problems += [f"{copy.name}: {one.where}: {one.what}" for one in database.check()]
            halves = [id for id in KEYS if id.endswith("a") and held.get(id) != held.get(id[:-1] + "b")]
            problems += [f"{copy.name}: the halves of {id} differ" for id in halves]
    return state, counters, problems


CAMPAIGN = Campaign(
    name="concurrency",
    summary="processes, threads and forks at one database, killed and started again; their history is judged",
    unit="seconds",
    short=20,
    long=3_600,
    run=run,
)
