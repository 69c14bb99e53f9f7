"""Is a campaign any good? vecdb is broken on purpose, and the campaign must find it.

Each mutant names the campaign that finds it, and how much of it that takes. The control is the same
campaign with the same seed and vecdb as it is: it must find nothing.
"""

from __future__ import annotations

import importlib
import os
import random
import time
from collections import Counter

from tests.torture import breaking
from tests.torture.breaking import Mutant
from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.processes import in_child

VARIABLE = "VECDB_TORTURE_MUTANT"
_LONGEST = 1800.0  # seconds for one mutant
_QUICK = "kill"  # it ends with its first failure


def apply(name: str) -> None:
    """Break vecdb in this process, before it opens a database, in the way that this mutant says.

    Children made by fork inherit it. A campaign that starts a fresh interpreter calls
    `apply_from_environment()` there, first of all: the variable VECDB_TORTURE_MUTANT names the mutant,
    and is inherited. Nothing else is needed in a campaign: it attacks vecdb as it finds it.

    Raises:
        KeyError: there is no such mutant.
    """
    os.environ[VARIABLE] = name
    if name not in _applied:
        _applied.append(name)
        breaking.MUTANTS[name].break_it()


def apply_from_environment() -> None:
    """Apply the mutant that VECDB_TORTURE_MUTANT names, if it names one."""
    if name := os.environ.get(VARIABLE):
        apply(name)


def applied() -> bool:
    """Whether vecdb is broken on purpose in this process."""
    return bool(_applied)


_applied: list[str] = []


def attack(campaign: str, count: int, mutant: str, run: Run) -> tuple[Outcome, float]:
    """Run a campaign against a mutant, or against vecdb as it is (""); the seconds that it took.

    It ends with its first failure, if it can.
    """

    def attacked() -> dict[str, object]:
        if mutant:
            apply(mutant)
        found: Campaign = importlib.import_module(f"tests.torture.{campaign}").CAMPAIGN
        scratch = run.scratch / (mutant or f"control of {campaign}")
        scratch.mkdir()
        outcome = found.run(Run(count, run.seed, scratch, lambda _: None, most_failures=1))
        return {"counts": dict(outcome.counts), "failures": outcome.failures, "skipped": outcome.skipped}

    begun = time.monotonic()
    ended = in_child(attacked, _LONGEST)
    if ended.result is None:
        # Not what finds a mutant: a campaign tells what it found, and does not die of it.
        outcome = Outcome(failures=(), skipped=f"the campaign itself failed: {ended.output[-2000:]}")
    else:
        outcome = Outcome(ended.result["counts"], tuple(ended.result["failures"]), ended.result["skipped"])
        broken = [failure for failure in outcome.failures if failure.startswith("the campaign itself")]
        if broken:
            outcome = Outcome(skipped=f"{broken[0]}: {ended.output[-2000:]}")
    return outcome, time.monotonic() - begun


def run(run: Run) -> Outcome:
    """Try so many mutants; each must be found, and the controls must find nothing.

    All of them, or some chosen by the seed among those of the campaign that is quick to find one.
    """
    chosen = list(breaking.MUTANTS.values())
    if run.count < len(chosen):
        quick = [mutant for mutant in chosen if mutant.campaign == _QUICK]
        chosen = random.Random(run.seed).sample(quick, min(run.count, len(quick)))
    counts: Counter[str] = Counter(dict.fromkeys(("mutants", "found", "survivors", "skipped", "controls"), 0))
    failures = []
    for mutant in chosen:
        outcome, seconds = attack(mutant.campaign, mutant.count, mutant.name, run)
        counts["mutants"] += 1
        counts["found" if outcome.failures else "skipped" if outcome.skipped else "survivors"] += 1
        run.say(f"{mutant.name}: {_shown(mutant, outcome)} ({seconds:.0f} s)")
        if outcome.skipped.startswith("the campaign itself"):
            failures.append(f"{mutant.name}: {outcome.skipped}")
        elif not outcome.failures and not outcome.skipped:
            failures.append(
                f"{mutant.name} survives {mutant.count} of {mutant.campaign} ({mutant.what}): {outcome.counts}"
            )
    for campaign in sorted({mutant.campaign for mutant in chosen}):
        most = max(mutant.count for mutant in chosen if mutant.campaign == campaign)
        outcome, seconds = attack(campaign, most, "", run)
        counts["controls"] += 1
        run.say(f"control of {campaign}: {len(outcome.failures)} failures ({seconds:.0f} s)")
        failures += [f"the control of {campaign} finds something: {failure}" for failure in outcome.failures]
        if outcome.skipped.startswith("the campaign itself"):
            failures.append(f"the control of {campaign}: {outcome.skipped}")
    return Outcome(dict(counts), tuple(failures))


def _shown(mutant: Mutant, outcome: Outcome) -> str:
    if outcome.failures:
        return f"found by {mutant.campaign}: {outcome.failures[0][-300:]}"
    return f"skipped: {outcome.skipped[-300:]}" if outcome.skipped else "survives"


CAMPAIGN = Campaign(
    name="mutants",
    summary="vecdb broken on purpose, in one way after another: the campaigns must find each",
    unit="mutants",
    short=4,
    long=len(breaking.MUTANTS),
    run=run,
)
