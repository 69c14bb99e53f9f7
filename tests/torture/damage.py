"""Damage: files and rows of a database change behind its back; it may refuse, warn or report, never err in silence.

For index files and the shared memory of the log nothing may be lost, for the log a whole number of the last
transactions. Lost bytes of the database file cannot come back, but nothing may be wrong in silence.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vecdb
from tests.storage.embedders import plugins_for_tests
from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.damage_bases import Base, make_bases
from tests.torture.damage_files import (
    Damage,
    Refused,
    damage_database,
    damage_index,
    damage_log,
    damage_shared_memory,
)
from tests.torture.damage_rows import damage_rows
from tests.torture.damage_visit import Visit

_KINDS: tuple[tuple[Callable[..., Damage], int], ...] = (
    (damage_rows, 35), (damage_database, 30), (damage_index, 20), (damage_log, 10), (damage_shared_memory, 5),
)  # fmt: skip
_SECONDS = 60
_MEMORY = 1 << 30  # bytes more than the campaign itself has
_SHOWN = 150  # kinds of failures whose first example is told


@dataclass(slots=True)
class _Round:
    number: int
    base: Base
    damage: Damage
    folder: Path
    child: int


class _Damaging:
    """The bases, and one round after another on copies of them."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._seed = seed
        self._scratch = scratch
        self._plugins = plugins_for_tests()
        self._plugins.embedders()
        self.bases = make_bases(scratch / "bases", seed, lambda path: vecdb.open(path, plugins=self._plugins))
        gc.collect()

    def begin(self, number: int) -> _Round:
        """Damage a copy, and let a child look at it."""
        chance = random.Random(f"{self._seed}/{number}")
        folder = self._scratch / f"round-{number}" / "damaged.vecdb"
        while True:
            base = chance.choice(self.bases)
            shutil.rmtree(folder.parent, ignore_errors=True)
            shutil.copytree(base.folder, folder)
            [kind] = chance.choices([kind for kind, _ in _KINDS], [weight for _, weight in _KINDS])
            try:
                damage = kind(folder, base, self.bases, chance)
                break
            except Refused:
                continue
        child = os.fork()
        if not child:
            self._look(folder, base, damage)
        return _Round(number, base, damage, folder, child)

    def _look(self, folder: Path, base: Base, damage: Damage) -> None:
        """In the child, which ends here: whatever kills it ends nothing else."""
        status = 1
        try:
            with (folder.parent / "said").open("w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                faulthandler.enable(said)
                faulthandler.dump_traceback_later(_SECONDS - 5, file=said)
                signal.alarm(_SECONDS)
                _limit_memory()
                verdict = Visit(folder, base.state, damage, self._plugins).run()
                found = {"outcome": verdict.outcome, "failures": verdict.failures}
                (folder.parent / "verdict.json").write_text(json.dumps(found))
            status = 0
        finally:
            os._exit(status)

    def end(self, one: _Round) -> tuple[str, list[tuple[str, str]]]:
        """Wait for the child: the outcome, and the kind and text of each failure."""
        _, status = os.waitpid(one.child, 0)
        outcome, failures = "crashed", []
        if status == 0:
            found = json.loads((one.folder.parent / "verdict.json").read_text())
            outcome, failures = found["outcome"], [(kind, text) for kind, text in found["failures"]]
        else:
            said = (one.folder.parent / "said").read_text(errors="replace")[-1500:]
            code = os.waitstatus_to_exitcode(status)
            how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            failures = [("hung" if code == -signal.SIGALRM else "crash of the interpreter", f"{how}: {said}")]
        shutil.rmtree(one.folder.parent, ignore_errors=True)
        return outcome, failures


def _limit_memory() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))


def run(run: Run) -> Outcome:
    """Damage as many copies as asked for; a child for each processor looks at one."""
    if sys.platform != "linux":
        return Outcome(skipped="damage needs Linux: a warm process is forked for each round")
    damaging = _Damaging(run.scratch, run.seed)
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    running: deque[_Round] = deque()
    for number in range(run.count + 1):
        while running and (len(running) >= (os.cpu_count() or 1) or number == run.count):
            _count(damaging, running.popleft(), run, counts, kinds, examples)
        if number < run.count:
            running.append(damaging.begin(number))
        if number and number % 2000 == 0:
            run.say(f"{number} damages, {sum(kinds.values())} failures of {len(kinds)} kinds")
    failures = [f"{times} x {kind}: {examples[kind]}" for kind, times in kinds.most_common()]
    if len(failures) > _SHOWN:
        failures = [*failures[:_SHOWN], f"and {len(failures) - _SHOWN} kinds more"]
    return Outcome({"damages": run.count, **dict(sorted(counts.items()))}, tuple(failures))


def _count(
    damaging: _Damaging, one: _Round, run: Run, counts: Counter[str], kinds: Counter[str], examples: dict[str, str]
) -> None:
    outcome, failures = damaging.end(one)
    damage = one.damage
    counts[f"{damage.family}: damages"] += 1
    counts[f"{damage.family}: {outcome}"] += 1
    for kind, text in failures:
        counts[f"{damage.family}: {kind.partition(':')[0]}"] += 1
        name = f"{damage.family}, {damage.kind}: {kind}"
        kinds[name] += 1
        again = f"seed {run.seed}, round {one.number}, base {one.base.name!r}, {damage.detail}"
        examples.setdefault(name, f"{text:.700} ({again})")


def look_again(seed: int, number: int, scratch: Path) -> list[Any]:
    """A round once more, for whoever looks for a fault: the failures. The damaged folder is made in `scratch`."""
    damaging = _Damaging(scratch, seed)
    one = damaging.begin(number)
    print(one.base.name, one.damage.family, one.damage.kind, one.damage.detail)
    return [*damaging.end(one)]


CAMPAIGN = Campaign(
    name="damage",
    summary="Bits, blocks, files and rows change behind its back: right answers, or an error, a warning, a report.",
    unit="damages",
    short=500,
    long=50_000,
    run=run,
)
