"""Attack the promises of RELIABILITY.md, and say what was seen.

    python -m tests.torture                  all campaigns, the long form (hours)
    python -m tests.torture --short          as in CI (minutes)
    python -m tests.torture kill --count 100000 --seed 7
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.processes import scratch_folder

ROOT = Path(__file__).resolve().parents[2]
# What takes longest begins first, so that the jobs end together.
MODULES = ("soak", "fuzz", "model", "kill", "power", "faults", "damage", "mutants", "concurrency")


def campaign(name: str) -> Campaign:
    """The campaign of this module; imported only where it runs, because some change the process."""
    found: Campaign = importlib.import_module(f"tests.torture.{name}").CAMPAIGN
    return found


def run_one(name: str, count: int, seed: int) -> tuple[Outcome, float]:
    """Run a campaign in this process, against a mutant if the environment says so; the seconds that it took."""
    importlib.import_module("tests.torture.mutants").apply_from_environment()
    begin = time.monotonic()
    if not hasattr(os, "fork"):
        return Outcome(skipped="the campaigns fork, which this system cannot"), 0.0
    with scratch_folder(name) as scratch:
        outcome = campaign(name).run(Run(count, seed, scratch, lambda line: print(f"{name}: {line}", file=sys.stderr)))
    return outcome, time.monotonic() - begin


def run_apart(name: str, *, short: bool, count: int | None, seed: int) -> dict[str, object]:
    """Run a campaign in a process of its own."""
    command = [sys.executable, "-m", "tests.torture", name, "--here", "--seed", str(seed)]
    command += ["--short"] if short else []
    command += ["--count", str(count)] if count is not None else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    try:
        found: dict[str, object] = json.loads(done.stdout)
    except ValueError:
        failure = f"the campaign itself ended with status {done.returncode}: {done.stdout[-2000:]}"
        return {"name": name, "counts": {}, "failures": [failure], "skipped": "", "seconds": 0.0, "seed": seed}
    return found


def shown(result: dict[str, object]) -> str:
    """A line of the table."""
    counts = result["counts"]
    words = ", ".join(f"{value:,.10g} {name}" for name, value in counts.items()) if isinstance(counts, dict) else ""
    failures = result["failures"]
    state = f"skipped: {result['skipped']}" if result["skipped"] else f"{len(failures)} failures"  # type: ignore[arg-type]
    return f"{result['name']:<12} {result['seconds']:>7.0f} s  {state}  {words}"


def main() -> int:
    """Run campaigns and print what was seen; the exit status is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="CAMPAIGN", help=f"default: all of {', '.join(MODULES)}")
    parser.add_argument("--short", action="store_true", help="the short form, as in CI")
    parser.add_argument("--count", type=int, help="how much of it, in the campaign's unit")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="campaigns at a time (default 1)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(MODULES)
    if unknown := sorted(set(names) - set(MODULES)):
        parser.error(f"there is no campaign {unknown[0]!r}; there are {', '.join(MODULES)}")
    if options.here:
        found = campaign(names[0])
        count = options.count if options.count is not None else found.short if options.short else found.long
        outcome, seconds = run_one(names[0], count, options.seed)
        print(json.dumps({"name": names[0], "seed": options.seed, "seconds": seconds, **asdict(outcome)}))
        return bool(outcome.failures)
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = [
            pool.submit(run_apart, name, short=options.short, count=options.count, seed=options.seed) for name in names
        ]
        results = []
        for run in runs:
            results.append(run.result())
            print(shown(results[-1]), flush=True)
            for failure in results[-1]["failures"]:  # type: ignore[attr-defined]
                print(f"  FAILED (seed {options.seed}): {failure}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), "utf-8")
    return any(result["failures"] for result in results)


if __name__ == "__main__":
    sys.exit(main())
