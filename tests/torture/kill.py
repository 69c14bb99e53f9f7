"""kill -9 at random moments and at named crash points; then the database is opened, checked and compared.

A lane has one database, which lives on from kill to kill: what the judge finds is what the next life
begins with. Two lanes, so that two processors have something to do; each is the same with the same seed
as far as kills from outside can be. Three ways to die: the parent kills at a random moment of what is
aimed at, the child kills itself at a crash point, and both while a database is opened or made. What
kills in another way (at the n-th file operation, say) gives `Lane.attempt` another `Plan`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import random
import select
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.torture import crash_points, mutants
from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.history import History
from tests.torture.lives import (
    NEW,
    OPENING,
    UPGRADES,
    Plan,
    copy_of_schema,
    learn,
    make_new,
    open_only,
    plant_leftovers,
    upgrade_old,
    upgrade_verdict,
    verdict,
    work,
)
from tests.torture.processes import Child, Ended, in_child
from tests.torture.verdict import judge
from tests.torture.workload import LASTING, WEIGHTS, Model, backup_folder, new_database

_LANES = 2
_LIVES = 250  # kills of one database
_OPENING_SHARE, _POINT_SHARE = 0.2, 0.6
_EVERY_POINT = 4_000  # kills; a campaign as long as this hits each point
_LONGEST = 60.0  # seconds for anything that a child does
_REPORT_EVERY = 30.0
# What is found wrong, by a word of its text.
_FINDINGS = {"lost": "lost", "duplicates": "duplicates", "wrong answers": "a search", "crashes": "crashed"}


class Lane:
    """A database and what is done to it.

    Args:
        seed, number: of the lane.
        kills: how many it is to do.
        scratch: a folder of its own.
        learned: what `learn` found.
        most_failures: it gives up after so many.
    """

    def __init__(
        self, seed: int, number: int, kills: int, scratch: Path, learned: Mapping[str, Any], most_failures: int
    ) -> None:
        self.name = f"seed {seed}, lane {number}"
        self.wanted, self.scratch, self.learned, self.most_failures = kills, scratch, learned, most_failures
        self.chance = random.Random(f"{seed} {number}")
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.hits: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()  # since the last hit
        self.aimed: Counter[str] = Counter()
        first = crash_points.first_points()
        others = sorted({*crash_points.points(), *_learned_points(learned)} - set(first))
        random.Random(seed).shuffle(first)
        random.Random(seed).shuffle(others)
        known = first + others
        self.points = known[number::_LANES] + known[(number + 1) % _LANES :: _LANES]
        self.folder = scratch / "lasting.vecdb"
        self.model: Model = {}
        self.deaths = _LIVES
        self.rounds = itertools.count(1)

    def run(self) -> dict[str, Any]:
        """Kill until it is enough."""
        enough = self.scratch.parent / "enough"  # told to the other lane
        while self.counts["kills"] < self.wanted and not enough.exists():
            self.round(next(self.rounds))
            (self.scratch / "progress").write_text(f"{self.counts['kills']} kills, {len(self.failures)} failures")
            if len(self.failures) >= self.most_failures:
                enough.touch()
        return {"counts": dict(self.counts), "failures": self.failures, "hits": dict(self.hits)}

    def round(self, number: int) -> None:
        """One life, a kill, perhaps another one while it is opened, and a verdict."""
        plan = self.plan(number)
        if plan.aim == NEW:
            self.make_new(number, plan)
        elif plan.aim in UPGRADES:
            self.upgrade(number, plan)
        else:
            self.work(number, plan)

    # --- choosing ---

    def plan(self, number: int) -> Plan:
        """What to do in this round."""
        kills = self.counts["kills"]
        opening_is_due = self.counts["kills while opening"] < _OPENING_SHARE * kills
        if opening_is_due and self.chance.random() < 0.3:
            return self.aim_at(NEW, number)
        if self.counts["kills at crash points"] < _POINT_SHARE * kills * (1 - _OPENING_SHARE):
            return self.aim_at_point(number)
        return self.aim_at(self.least_aimed(), number)

    def least_aimed(self) -> str:
        kinds = [*WEIGHTS, *UPGRADES]
        fewest = min(self.aimed[kind] for kind in kinds)
        return self.chance.choice([kind for kind in kinds if self.aimed[kind] == fewest])

    def aim_at(self, kind: str, number: int) -> Plan:
        """A kill at a random moment of this."""
        return Plan(
            kind,
            seed=self.chance.randrange(2**32),
            step=1000 * number,
            before=self.chance.choice((0, 2, 6, 20)),
            durability=self.chance.choice(("full", "normal")),
            small=self.chance.random() < 0.7,
        )

    def aim_at_point(self, number: int, only: str = "") -> Plan:
        """A kill at the point that was hit least, of those that lie in `only`."""

        def rank(point: str) -> tuple[int, int]:
            return self.hits[point] + self.missed[point] // 3, self.points.index(point)

        reached = {kind: known["hits"] for kind, known in self.learned.items() if only in ("", kind)}
        if not only:
            reached.pop(OPENING, None)
        point = min((point for point in self.points if any(point in hits for hits in reached.values())), key=rank)
        passing = {kind: self.learned[kind]["passes"][point] for kind in sorted(reached) if point in reached[kind]}
        (kind,) = self.chance.choices(list(passing), list(passing.values()))
        hit = 1 if self.missed[point] else self.chance.randint(1, reached[kind][point])
        return dataclasses.replace(self.aim_at(kind, number), point=point, hit=hit, small=True)

    # --- killing ---

    def attempt(self, plan: Plan, live: Callable[[Callable[[], None]], bool]) -> Ended:
        """Let a child live until it is killed: by itself at its point, or from here at a random moment."""
        reading, writing = os.pipe()

        def reached() -> None:
            os.write(writing, b".")

        child = Child(lambda: live(reached))
        os.close(writing)
        try:
            if not plan.point:
                select.select([reading], [], [], _LONGEST)
                longest = self.learned.get(plan.aim, {}).get("seconds", 0.05)
                child.kill(self.chance.uniform(0, 1.2 * longest))
            return child.wait(_LONGEST)
        finally:
            os.close(reading)

    def count(self, number: int, plan: Plan, ended: Ended) -> bool:
        """Take in how a child ended; whether it was killed as it was meant to be."""
        self.aimed[plan.aim] += 1
        if ended.status == -signal.SIGKILL:
            self.counts["kills"] += 1
            opening = plan.aim in (OPENING, NEW)
            kind = "while opening" if opening else "at crash points" if plan.point else "at random moments"
            self.counts[f"kills {kind}"] += 1
            if plan.point:
                self.hits[plan.point] += 1
                self.missed[plan.point] = 0
            return True
        if ended.status == 0:
            self.missed[plan.point] += 1
            return False
        self.fail(number, plan, f"{'crashed' if ended.crashed else 'raised'}: {ended.output[-3000:]}")
        return False

    def fail(self, number: int, plan: Plan, *problems: str) -> None:
        """Remember a broken promise."""
        for problem in problems:
            self.failures.append(f"{self.name}, round {number}, {plan}: {problem}")
            for finding, word in _FINDINGS.items():
                self.counts[finding] += word in problem

    def judged(self, number: int, plan: Plan, judge_it: Callable[[], Any], evidence: Path) -> Any:
        """What a judge says, in a child; what was there before is kept if it is a failure."""
        copy = self.scratch / "evidence"
        shutil.rmtree(copy, ignore_errors=True)
        if evidence.exists():
            shutil.copytree(evidence, copy)
        ended = in_child(judge_it, _LONGEST)
        found = ended.result
        problems = found[1] if found is not None else [f"the judge {_how(ended)}: {ended.output[-3000:]}"]
        if problems:
            kept = f" (kept in {self.keep(copy)})" if not mutants.applied() else ""
            self.fail(number, plan, *[problem + kept for problem in problems])
            return None
        return found[0]

    def keep(self, copy: Path) -> Path:
        """Evidence is kept after the campaign; whoever has seen it may remove it."""
        kept = Path(tempfile.mkdtemp(prefix="vecdb-kill-"))
        for path in (copy, self.scratch / "log"):
            if path.exists():
                shutil.move(path, kept)
        return kept

    # --- the lasting database ---

    def work(self, number: int, plan: Plan) -> None:
        if self.deaths >= _LIVES:
            self.begin_anew()
        log = self.scratch / "log"
        log.unlink(missing_ok=True)
        ended = self.attempt(plan, lambda reached: work(self.folder, self.model, log, plan, reached))
        killed = self.count(number, plan, ended)
        history = History([self.model])
        if log.exists():
            history.follow(log)
        if killed and self.counts["kills while opening"] < _OPENING_SHARE * self.counts["kills"]:
            self.kill_while_opening(number)
        allowed = history.allowed()
        backups = history.backups
        doing = history.in_flight
        again = doing["n"] if doing is not None and doing["do"] == "backup" else None
        seed = self.chance.randrange(2**32)
        found = self.judged(number, plan, lambda: verdict(self.folder, allowed, backups, again, seed), self.folder)
        for step in backups:
            shutil.rmtree(backup_folder(self.folder, step), ignore_errors=True)
        self.counts["acknowledged"] += history.acknowledged
        if killed:
            self.counts[f"kills in {doing['do'] if doing is not None else 'no operation'}"] += 1
        if found is None:
            self.deaths = _LIVES
            return
        if doing is not None and len(allowed) > 1:
            whole = found == len(allowed) - 1
            self.counts[f"in flight {'whole' if whole else 'in part' if found else 'absent'}"] += 1
        self.model = allowed[found]
        self.deaths += 1

    def kill_while_opening(self, number: int) -> None:
        """Another kill, of the process that opens what a killed one left."""
        plan = self.aim_at_point(number, OPENING) if self.chance.random() < 0.5 else self.aim_at(OPENING, number)
        if plan.point:
            plant_leftovers(self.folder)
        if self.count(number, plan, self.attempt(plan, lambda reached: open_only(self.folder, plan, reached))):
            self.counts["kills in openings"] += 1

    def begin_anew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for path in self.scratch.glob(".*.unfinished"):
            shutil.rmtree(path)
        self.model = in_child(lambda: new_database(self.folder)).result
        self.deaths = 0
        self.counts["databases"] += 1

    # --- new databases, upgrades ---

    def make_new(self, number: int, plan: Plan) -> None:
        folder, log = self.scratch / "new.vecdb", self.scratch / "log"
        log.unlink(missing_ok=True)
        if self.count(number, plan, self.attempt(plan, lambda reached: make_new(folder, log, plan, reached))):
            self.counts["kills in new databases"] += 1
        history = History([{}])
        if log.exists():
            history.follow(log)
        allowed: list[Model | None] = [*history.allowed()]
        if not history.acknowledged:
            allowed.append(None)
        self.counts["acknowledged"] += history.acknowledged
        self.judged(number, plan, lambda: judge(folder, allowed), folder)
        shutil.rmtree(folder, ignore_errors=True)

    def upgrade(self, number: int, plan: Plan) -> None:
        old = UPGRADES[plan.aim]
        folder = copy_of_schema(old, self.scratch)
        for _ in range(self.chance.choice((1, 1, 2))):  # the second one finds what the first one left
            if self.count(number, plan, self.attempt(plan, lambda reached: upgrade_old(folder, plan, reached))):
                self.counts["kills in upgrades"] += 1
        self.judged(number, plan, lambda: (0, upgrade_verdict(folder, old)), folder)
        shutil.rmtree(folder)


def _how(ended: Ended) -> str:
    return "crashed" if ended.crashed else f"ended with status {ended.status}"


def _learned_points(learned: Mapping[str, Any]) -> set[str]:
    return {point for known in learned.values() for point in known["hits"]}


# --- the campaign -------------------------------------------------------------------------------


def run(run: Run) -> Outcome:
    """Kill so many times."""
    if not hasattr(os, "fork") or not Path("/proc/self/fd").exists():
        return Outcome(skipped="its children are forks, which know their files by /proc: it needs Linux")
    warm_up(run.scratch)
    ended = in_child(lambda: learn(run.scratch))
    if ended.result is None:
        return Outcome(failures=(f"without any kill: {ended.output}",))
    lanes = []
    for number in range(_LANES):
        scratch = run.scratch / f"lane{number}"
        scratch.mkdir()
        kills = run.count // _LANES + (number < run.count % _LANES)
        lanes.append(Lane(run.seed, number, kills, scratch, ended.result, run.most_failures))
    results = in_turn(lanes, run)
    counts: Counter[str] = Counter(dict.fromkeys(("kills", "acknowledged", "lost", "duplicates"), 0))
    hits: Counter[str] = Counter()
    failures: list[str] = []
    for result in results:
        counts.update(result["counts"])
        hits.update(result["hits"])
        failures += result["failures"]
    expected = set(crash_points.points()) | _learned_points(ended.result)
    never = sorted(expected - set(hits))
    counts["crash points"], counts["crash points hit"] = len(expected), len(expected) - len(never)
    counts["hits of the crash point hit least"] = min(hits[point] for point in expected)
    if never and run.count >= _EVERY_POINT:
        failures.append(f"crash points never hit: {', '.join(never)}")
    for name in ("lost", "duplicates", "wrong answers", "crashes"):
        counts[name] += 0
    return Outcome(dict(counts), tuple(failures))


def warm_up(scratch: Path) -> None:
    """Import and find everything here, once: children begin with it."""
    folder = scratch / "warm.vecdb"
    new_database(folder)
    judge(folder, [{name: {} for name in LASTING}])
    shutil.rmtree(folder)


def in_turn(lanes: list[Lane], run: Run) -> list[dict[str, Any]]:
    """What the lanes find; beside each other where a second processor is idle."""
    idle = len(os.sched_getaffinity(0)) - os.getloadavg()[0]
    groups = [lanes] if idle > 1 else [[lane] for lane in lanes]
    results = []
    for group in groups:
        children = [Child(lane.run) for lane in group]
        with telling(group, run.say):
            ends = [child.wait(float("inf")) for child in children]
        results += [
            ended.result or {"counts": {}, "hits": {}, "failures": [f"{lane.name} {_how(ended)}: {ended.output}"]}
            for lane, ended in zip(group, ends, strict=True)
        ]
    return results


@contextlib.contextmanager
def telling(lanes: list[Lane], say: Callable[[str], None]) -> Iterator[None]:
    """Say every now and then how far the lanes are. Its thread begins after the forks, and ends with the block."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_REPORT_EVERY):
            for lane in lanes:
                progress = lane.scratch / "progress"
                if progress.exists():
                    say(f"{lane.name}: {progress.read_text()} of {lane.wanted}")

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


CAMPAIGN = Campaign(
    name="kill",
    summary="kill -9 at random moments, at named crash points and while opening; what was acknowledged is there",
    unit="kills",
    short=200,
    long=10_000,
    run=run,
)
