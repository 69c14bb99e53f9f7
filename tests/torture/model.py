"""Random calls to the public API, every answer compared with a model in plain Python and numpy."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.machine import Databases

_STEPS = 120  # of one machine
_EXAMPLES = 25  # machines for each of hypothesis's own seeds
_MOST_FAILURES = 3
_EFFORT = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    database=None,
    deadline=None,
    derandomize=False,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def run(run: Run) -> Outcome:
    """Machines until there are enough steps; each slice of them has a seed of its own, one more than the last."""
    machine = type("Databases", (Databases,), {"place": run.scratch, "_templates": {}})
    failures: list[str] = []
    begin, number = time.monotonic(), run.seed
    while machine.steps < run.count and len(failures) < _MOST_FAILURES:
        before = machine.steps
        try:
            run_state_machine_as_test(seed(number)(machine), settings=_EFFORT)
        except Exception as error:
            failures.append(_told(error, number, machine.steps - before))
        number += 1
        if (number - run.seed) % 10 == 0:
            run.say(f"{machine.steps:,} steps, {machine.steps / (time.monotonic() - begin):.0f} a second")
    counts = {"steps": machine.steps, "databases": machine._number, "steps a second": _rate(machine.steps, begin)}
    return Outcome(counts, tuple(failures))


def _rate(steps: int, begin: float) -> float:
    return round(steps / (time.monotonic() - begin))


def _told(error: BaseException, number: int, steps: int) -> str:
    """The steps that show it, as hypothesis found them, and where it showed."""
    group = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
    notes = list(dict.fromkeys(note for one in (error, *group) for note in getattr(one, "__notes__", [])))
    places = [f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in _own_frames(group[0])]
    shown = f"--seed {number} shows it within {steps} steps: {type(group[0]).__name__}: {group[0]}"
    return "\n".join([shown, *places[-6:], *notes])


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    found = traceback.extract_tb(error.__traceback__)
    return [frame for frame in found if "hypothesis" not in frame.filename]


CAMPAIGN = Campaign(
    name="model",
    summary="random calls to the public API, every answer compared with a model",
    unit="steps",
    short=20_000,
    long=2_000_000,
    run=run,
)
