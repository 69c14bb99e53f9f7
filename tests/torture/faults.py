"""Faults: the n-th file operation of a kind fails, or the n-th request for memory, once or from then on.

A fixed workload meets each fault in a child of its own. What raises must raise an error of vecdb that
says what to do, and says the truth; reads go on or raise one too; when the fault is over, the same handle
goes on or a fresh one does; and in the end the database holds what was acknowledged, and of what
failed all or nothing. The same on small full disks, and under limits of the operating system (disks.py).

The long form tries every n of every kind, with each error that the kind can meet; of the requests for
memory, which are many, `_MOST_ALLOCATIONS` spread evenly.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture import shim
from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.disks import can_mount, disk_lives
from tests.torture.faults_life import Point, live, warm_up
from tests.torture.power_upgrade import problems_after_upgrade
from tests.torture.processes import Child, Ended, in_child
from tests.torture.shim import Action, Kind
from tests.torture.verdict import judge
from tests.torture.workload import backup_folder

_MOST_ALLOCATIONS = 2_000
_MOST_DISKS = 400
# What a fault may leave: an index file is a cache, and what could not be removed is at the next opening.
_CACHES = ("leftover", "IndexRebuiltWarning", "check: index files")
# What each kind of operation can meet. EINTR comes once: whoever is interrupted for ever does not return.
_ERRORS = {
    Kind.OPEN: (errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EINTR),
    Kind.CREATE: (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE),
    Kind.READ: (errno.EIO, errno.EINTR),
    Kind.WRITE: (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EINTR),
    Kind.TRUNCATE: (errno.EIO, errno.ENOSPC, errno.EROFS),
    Kind.SYNC: (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    Kind.RENAME: (errno.EIO, errno.ENOSPC, errno.EROFS),
    Kind.UNLINK: (errno.EIO, errno.EROFS),
    Kind.MKDIR: (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    Kind.RMDIR: (errno.EIO, errno.EROFS),
    Kind.LOCK: (errno.EIO, errno.ENOLCK, errno.EINTR),
    Kind.MAP: (errno.ENOMEM,),
    Kind.STAT: (errno.EIO, errno.ENOMEM),
    Kind.ALLOCATE: (errno.ENOMEM,),
}


def points(reached: dict[Kind, int]) -> Iterator[list[Point]]:
    """All points, in groups that differ in n only. `reached`: operations of each kind without a fault."""
    for kind, errors in _ERRORS.items():
        most = reached[kind]
        step = max(1, most // _MOST_ALLOCATIONS) if kind is Kind.ALLOCATE else 1
        for error in errors:
            for for_ever in (False, True)[: 1 if error == errno.EINTR else 2]:
                yield [Point(kind, at, Action.FAIL, error, for_ever) for at in range(1, most + 1, step)]
    for for_ever in (False, True):  # a disk that is full in the middle of a write
        yield [Point(Kind.WRITE, at, Action.SHORT, errno.ENOSPC, for_ever) for at in range(1, reached[Kind.WRITE] + 1)]


def chosen(groups: list[list[Point]], count: int, chance: random.Random) -> list[Point]:
    """`count` of the points: the same number of each group, as far as there are so many."""
    for group in groups:
        chance.shuffle(group)
    chance.shuffle(groups)
    found: list[Point] = []
    for turn in range(max(map(len, groups))):
        found += [group[turn] for group in groups if turn < len(group)]
        if len(found) >= count:
            break
    return found[:count]


class Attack:
    """Lives with faults, and what they show.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._running: list[tuple[Any, Path, Child]] = []
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.missed: list[str] = []

    def begin(self, what: Any, place: Path, life: Any) -> None:
        """Start a life, when there is room for it."""
        while len(self._running) >= (os.cpu_count() or 1):
            self.take()
        self._running.append((what, place, Child(life)))

    def take(self) -> None:
        """Wait for the oldest life and judge what it leaves."""
        what, place, child = self._running.pop(0)
        ended = child.wait(120)
        problems = self._problems(ended, place)
        self.counts["points"] += 1
        if problems:
            self.failures.append(f"{what}: {'; '.join(problems[:4])}")
        shutil.rmtree(place, ignore_errors=True)

    def _problems(self, ended: Ended, place: Path) -> list[str]:
        if ended.status:
            self.counts["crashes" if ended.crashed else "foreign exceptions"] += 1
            return [f"it ended with status {ended.status}: {ended.output[-2500:]}"]
        found = ended.result
        self.counts.update(found["counts"])
        for problem in found["problems"]:
            self.counts[problem.partition(":")[0]] += 1
        problems = list(found["problems"])
        judged = in_child(partial(_judge, place / "faults.vecdb", found["states"], found["backups"]))
        if judged.status:
            self.counts["corrupt"] += 1
            return [*problems, f"afterwards the database cannot be judged: {judged.output[-2000:]}"]
        self.counts["half or lost"] += bool(judged.result)
        return problems + judged.result

    def finish(self) -> None:
        while self._running:
            self.take()


def _judge(folder: Path, states: list[Any], backups: list[tuple[int, list[Any]]]) -> list[str]:
    problems = judge(folder, states, searches=2)[1]
    for step, copies in backups:
        found = judge(backup_folder(folder, step), copies, quick=True)[1]
        problems += [f"backup of step {step}: {problem}" for problem in found]
    problems += problems_after_upgrade(folder.with_name("old.vecdb"))
    return [problem for problem in problems if not problem.startswith(_CACHES)]


def attack(run: Run) -> Outcome:
    """Try `run.count` points."""
    found = Attack(run)
    warm_up(run.scratch / "warm")
    first = in_child(partial(live, run.scratch / "without", None))
    if first.status or first.result["problems"]:
        return Outcome(failures=(f"without a fault: {first.output[-2000:]} {first.result}",))
    reached = {Kind(int(kind)): count for kind, count in first.result["reached"].items()}
    run.say(", ".join(f"{count} of {kind.name}" for kind, count in reached.items()))
    chance = random.Random(run.seed)
    disks = list(disk_lives(chance, min(max(6, run.count // 5), _MOST_DISKS)))
    if in_child(can_mount).result is not True:
        run.say("full disks are left out: mounting one needs privileges")
        disks = [(what, life) for what, life in disks if what.startswith("a limit")]
    groups = list(points(reached))
    some = chosen([group for group in groups if group], run.count - len(disks), chance)
    for number, point in enumerate(some):
        place = run.scratch / f"life-{number}"
        found.begin(point, place, partial(live, place, point))
        if number % 500 == 499:
            run.say(f"{number + 1} of {len(some)} points, {len(found.failures)} failures")
    for number, (what, life) in enumerate(disks):
        place = run.scratch / f"disk-{number}"
        found.begin(what, place, partial(life, place))
    found.finish()
    found.counts["possible points"] = sum(map(len, groups)) + len(disks)
    return Outcome(dict(found.counts), tuple(found.failures[:100]))


CAMPAIGN = Campaign(
    name="faults",
    summary="the n-th operation on a file, or request for memory, fails; full disks; limits",
    unit="points",
    short=60,
    long=1_000_000,  # more than there are
    run=partial(shim.apart, "faults"),
)
