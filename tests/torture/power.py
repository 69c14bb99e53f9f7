"""Power losses: every file operation of a workload is traced, and states are built that a disk may hold afterwards.

What the simulation covers: what was not synced is lost, whole, from some write on, any part of the
writes, torn at 512 bytes or 4 KiB, in any order, across all files; a file that grew without its bytes
holds zeros or nonsense; changes of names (creating, renaming, removing, folders too) are a journal of
which some beginning arrived, or, in the strict reading of POSIX, any subset of those whose folder was
not synced. SQLite's -shm file holds anything. The workload makes a database from nothing, writes in all
ways, saves indexes, rebuilds them, vacuums, backs up, closes and opens; or it upgrades a database of an
older schema. What returned is known by a log that is part of the trace, so it is exact to the operation.

What it does not: a disk that lies about a sync, or damages what it was not asked to write (see the
campaign `damage`); two processes that write; file systems that write a sector half.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture import shim
from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.history import History, Log
from tests.torture.power_states import Disk, Loss
from tests.torture.power_upgrade import judge_upgrade, perform_upgrade, start_upgrade
from tests.torture.processes import Child, in_child
from tests.torture.shim import Kind, Step
from tests.torture.verdict import judge
from tests.torture.workload import LASTING, WEIGHTS, Model, after, backup_folder, choose, open_database, perform

_OPERATIONS = 50
_STATES = 250  # of each trace
_IN_A_CHILD = 16
_WHOLE_EVERY = 10  # states: these are searched more, written to, and judged again
_WEIGHTS = {**WEIGHTS, "reopen": 5, "backup": 4}
_DATABASE = "power.vecdb"
_LOG = "log"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is traced.

    Attributes:
        number: of the trace, in a run.
        seed: of the run.
        durability: as in `vecdb.open`.
        upgrades: whether it is an upgrade, and not the workload.
    """

    number: int
    seed: int
    durability: str
    upgrades: bool

    @classmethod
    def numbered(cls, number: int, seed: int) -> Plan:
        """Two of five traces promise less, one in five is an upgrade."""
        return cls(number, seed, "normal" if number % 5 in (1, 3) else "full", number % 5 == 2)

    def chance(self, *more: Any) -> random.Random:
        return random.Random(repr((self.seed, self.number, *more)))


# --- the workload -------------------------------------------------------------------------------


def work(root: Path, trace: Path, plan: Plan) -> int:
    """Do what is traced, in a child; how many operations returned."""
    shim.watch(root, trace)
    log = Log(root / _LOG)
    if plan.upgrades:
        return perform_upgrade(root / _DATABASE, log)
    chance, model, done = plan.chance("work"), {}, 0
    database = open_database(root / _DATABASE, durability=plan.durability)
    for step in range(_OPERATIONS):
        if step < len(LASTING):
            operation = {"do": "create", "collection": LASTING[step], "n": step}
        else:
            operation = choose(chance, model, step, _WEIGHTS, most=8)
        log.trying(operation)
        if operation["do"] == "reopen":
            database.close()
            database = open_database(root / _DATABASE, durability=plan.durability)
        else:
            perform(database, model, operation)
        log.done()
        model, done = after(model, operation), done + 1
    database.close()
    return done


# --- following it -------------------------------------------------------------------------------


@dataclass
class Moment:
    """How far a trace was followed: the disk then, and what the log said by then."""

    disk: Disk
    plan: Plan
    place: int = 0
    history: History = field(default_factory=lambda: History([{}]))

    def __post_init__(self) -> None:
        self._log: int | None = None
        self._saved = False  # whether an absent database is a lost one
        self.past: list[Model] = [{}]  # what `durability="normal"` may go back to

    def follow(self, steps: list[Step], until: int) -> None:
        """Go on to a later operation."""
        for step in steps[self.place : until]:
            self.disk.follow(step)
            if step.kind is Kind.CREATE and Path(step.path).name == _LOG:
                self._log = step.file
            elif step.kind is Kind.WRITE and step.file == self._log:
                self._listen(step.data)
        self.place = until

    def _listen(self, line: bytes) -> None:
        operation = self.history.in_flight or {}
        self.history.follow_line(line)
        if operation.get("do") == "reopen":  # closing syncs everything
            self.past.clear()
        self._saved |= bool(operation) and (self.plan.durability == "full" or operation["do"] == "reopen")
        self.past += [state for state in self.history.allowed() if state not in self.past[-1:]]

    def allowed(self) -> list[Model | None]:
        """What the database may hold after a power loss at this moment; None: it may be absent."""
        states: list[Model | None] = [*(self.history.allowed() if self.plan.durability == "full" else self.past)]
        return states if self._saved else [*states, None]


def judge_state(moment: Moment, folder: Path, number: int) -> tuple[list[str], list[str]]:
    """Write what is left at this moment, and judge it: what is wrong, and names of what may be left over."""
    plan = moment.plan
    chance = plan.chance("state", number)
    moment.disk.write(folder, Loss.some(chance), chance, {_LOG})
    database = folder / _DATABASE
    if plan.upgrades:
        return judge_upgrade(database, moment.history), []
    left = [path.name for path in folder.iterdir() if path.name.endswith(".unfinished")]
    whole = number % _WHOLE_EVERY == 0
    found, problems = judge(database, moment.allowed(), seed=number, quick=not whole)
    left += [problem for problem in problems if not _counts(problem, plan)]
    problems = [problem for problem in problems if _counts(problem, plan)]
    if found < 0 and plan.durability == "full" and judge(database, moment.past, quick=True)[0] >= 0:
        problems.append("what is there instead is an earlier state: acknowledged operations are lost")
    for step, states in moment.history.backups.items():
        copy = backup_folder(database, step)
        if None in states or not copy.exists() or moment.history.acknowledged < step + 3 or chance.random() < 0.1:
            wrong = judge(copy, states, seed=number, quick=not whole)[1]
            problems += [f"backup of step {step}: {problem}" for problem in wrong]
    if whole and not problems and database.exists():
        state = moment.allowed()[found]
        found_then = [problem for problem in _go_on(database, state, chance) if _counts(problem, plan)]
        problems += [f"written to afterwards: {problem}" for problem in found_then]
    return problems, left


def _counts(problem: str, plan: Plan) -> bool:
    """Whether it breaks a promise."""
    # With less durability the removal of an index file may outlive the commit that gave it up: it is a cache.
    rebuilt = "IndexRebuiltWarning" in problem or "index files" in problem
    return not (rebuilt and plan.durability == "normal")


def _go_on(folder: Path, model: Model | None, chance: random.Random) -> list[str]:
    """A database that was cut off must take new operations."""
    model = model or {}
    with open_database(folder) as database:
        for step in range(1000, 1006):
            missing = next((name for name in LASTING if name not in model), None)
            operation = {"do": "create", "collection": missing, "n": step}
            if missing is None:
                operation = choose(chance, model, step, {**WEIGHTS, "reopen": 0, "vacuum": 0, "backup": 0}, most=5)
            perform(database, model, operation)
            model = after(model, operation)
    return judge(folder, [model], searches=1)[1]


# --- many states --------------------------------------------------------------------------------


def judge_states(moment: Moment, steps: list[Step], states: list[tuple[int, int]], folder: Path) -> list[Any]:
    """Judge states (cut, number), in order of the cuts; for each (number, problems, what may be left over)."""
    found = []
    for cut, number in states:
        moment.follow(steps, cut)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                problems, left = judge_state(moment, folder, number)
        except Exception as error:
            problems, left = [f"{type(error).__name__}: {error}"], []
        found.append((number, problems, left))
    return found


class Attack:
    """Judges the states of traces and counts.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def trace(self, plan: Plan, states: int) -> None:
        """Trace a workload and judge so many states of it."""
        place = self._run.scratch / f"trace-{plan.number}"
        root = place / "root"
        root.mkdir(parents=True)
        if plan.upgrades:
            start_upgrade(root / _DATABASE, plan.number)
        moment = Moment(Disk(root), plan)
        worked = in_child(partial(work, root, place / "trace", plan))
        if worked.status:
            self._fail(plan, f"the workload itself failed: {worked.output}")
            return
        steps = list(shim.steps(place / "trace"))
        chance = plan.chance("cuts")
        cuts = sorted((chance.randint(1, len(steps)), number) for number in range(states))
        self._judge(moment, steps, cuts, place)
        moment.follow(steps, len(steps))
        differences = moment.disk.differences()
        if differences:
            self._fail(plan, f"the shim did not see all: {differences[:3]}; no state of this trace counts")
        self.counts.update(acknowledged=worked.result, traced=len(steps), synced=moment.disk.syncs, traces=1)
        shutil.rmtree(place)

    def _judge(self, moment: Moment, steps: list[Step], cuts: list[tuple[int, int]], place: Path) -> None:
        running: list[tuple[list[tuple[int, int]], Child]] = []
        where = {number: cut for cut, number in cuts}
        for start in range(0, len(cuts), _IN_A_CHILD):
            some = cuts[start : start + _IN_A_CHILD]
            if len(running) >= (os.cpu_count() or 1):
                self._take(moment, steps, where, running.pop(0), place)
            running.append((some, Child(partial(judge_states, moment, steps, some, place / f"state-{start}"))))
            moment.follow(steps, some[-1][0])
        for one in running:
            self._take(moment, steps, where, one, place)

    def _take(
        self, moment: Moment, steps: list[Step], where: dict[int, int], one: tuple[Any, Child], place: Path
    ) -> None:
        some, child = one
        ended = child.wait(300)
        plan = moment.plan
        if ended.status:
            self.counts["crashes"] += ended.crashed
            numbers = [number for _, number in some]
            self._fail(plan, f"one of the states {numbers} ended its judge with {ended.status}: {ended.output[-3000:]}")
            return
        for number, problems, left in ended.result:
            self.counts["states"] += 1
            self.counts["unfinished backups left"] += any(name.endswith(".unfinished") for name in left)
            self.counts["indexes rebuilt"] += any("IndexRebuiltWarning" in text for text in left)
            if problems:
                chance = plan.chance("state", number)
                at = f"state {number}, cut after {where[number]} of {len(steps)} operations, {Loss.some(chance)}"
                near = [_shown(step) for step in steps[max(0, where[number] - 3) : where[number]]]
                self._fail(plan, f"{at}, after {', '.join(near)}: {'; '.join(problems[:4])}")
                self.counts[_kind_of(problems)] += 1

    def _fail(self, plan: Plan, text: str) -> None:
        what = "upgrade" if plan.upgrades else f"durability {plan.durability}"
        self.failures.append(f"trace {plan.number} ({what}), {text}")


def _shown(step: Step) -> str:
    return f"{step.kind.name.lower()} {Path(step.path).name or step.file}"


def _kind_of(problems: list[str]) -> str:
    text = "; ".join(problems)
    for words, kind in {
        "are lost": "lost",
        "is gone": "lost",
        "states is there": "half",
        "a search for": "wrong answers",
        "check: ": "corrupt",
        "leftover": "leftovers",
        "CorruptDatabaseError": "corrupt",
        "StorageError": "corrupt",
    }.items():
        if words in text:
            return kind
    return "foreign exceptions"


def attack(run: Run) -> Outcome:
    """Judge `run.count` states."""
    found = Attack(run)
    number, left = 0, run.count
    while left > 0:
        states = min(left, _STATES)
        found.trace(Plan.numbered(number, run.seed), states)
        number, left = number + 1, left - states
        if number % 20 == 0:
            run.say(f"{run.count - left} states, {len(found.failures)} failures")
    return Outcome(dict(found.counts), tuple(found.failures[:50]))


CAMPAIGN = Campaign(
    name="power",
    summary="power losses at any file operation, with all that a disk may lose then",
    unit="states",
    short=1_000,
    long=100_000,
    run=partial(shim.apart, "power"),
)
