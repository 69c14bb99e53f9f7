"""`python -m tests.benchmarks --peers`: vecdb beside its embedded peers, on the same data in the same run."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from tests.benchmarks.compare import curve, dataset, machine, report, sources
from tests.benchmarks.compare.catalog import NAMES, OURS, PEERS, REFERENCE
from tests.benchmarks.compare.session import Session
from tests.benchmarks.compare.stages import Stage
from tests.benchmarks.compare.store import Store

PARTS = ("sentences", "words", "curve")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vecdb-benchmarks"


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks --peers", description=__doc__)
    parser.add_argument("--only", help=f"peers with commas between: {','.join(NAMES)}; vecdb and hnswlib always run")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)} (default: all)")
    parser.add_argument("--count", type=int, help="at most so many records of each data set (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default 3)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of environments, data and raw results")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run of the same --count")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1], help="of RESULTS.md, plots")
    options = parser.parse_args(arguments)
    options.only = set((options.only or ",".join(NAMES)).split(",")) | {OURS, REFERENCE}
    options.parts = options.parts.split(",")
    for wrong in sorted(options.only - set(NAMES)) + sorted(set(options.parts) - set(PARTS)):
        parser.error(f"there is no {wrong!r}; peers are {', '.join(NAMES)}, parts are {', '.join(PARTS)}")
    if options.rounds < 1 or (options.count is not None and options.count < 1000):
        parser.error("--rounds must be at least 1, --count at least 1000")
    if not Path("/proc/self/clear_refs").exists():
        parser.error("memory and CPU time are read from /proc: this runs on Linux only")
    return options


def main(arguments: list[str]) -> None:
    """Install, make the data, measure, report."""
    options = parse(arguments)
    cache = options.cache.absolute()
    store = Store(cache / "results" / str(options.count or "all"), resume=options.resume)
    peers = [peer for peer in PEERS if peer.name in options.only]
    session = Session(cache, store, options.rounds, options.count, peers)
    if not options.resume:
        session.forget_databases()
    session.install()
    facts = store.get("run") or {"data": {}}
    facts.update(machine=machine.words(), busy=f"{machine.busy():.1f} at the start")
    for name in (part for part in PARTS[:2] if part in options.parts):
        folder, source = sources.prepare(cache, name)
        count = min(options.count or dataset.size(folder), dataset.size(folder))
        for share in (None, *dataset.SHARES):
            dataset.truth(folder, count, share)
        facts["data"][name] = {"count": count, "dimension": dataset.dimension(folder), "source": source}
        store.put("run", facts)
        # One ingest of the larger set: it takes longest, and the smaller one tells how far rounds differ.
        Stage(session, folder, count, options.rounds if name == PARTS[0] else 1).run()
    if "curve" in options.parts:
        curve.run(session, sources.many_words(cache, max(curve.sizes(options.count))))
    facts["busy"] += f", {machine.busy():.1f} at the end (five minutes)"
    store.put("run", facts)
    report.write(session, options.output, f"python -m tests.benchmarks --peers {shown(arguments)}".strip())
    session.forget_databases()


def shown(arguments: list[str]) -> str:
    """The options as they were given, without those that name a folder of this machine."""
    kept, hide = [], False
    for argument in arguments:
        if not hide and not argument.startswith(("--cache", "--output")):
            kept.append(argument)
        hide = argument in ("--cache", "--output")
    return shlex.join(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
