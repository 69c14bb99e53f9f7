"""The tables on the terminal and in RESULTS.md, with plots beside it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.compare import curve, tables
from tests.benchmarks.compare.catalog import NAMES, OURS, PEERS
from tests.benchmarks.compare.client import ROOT
from tests.benchmarks.compare.environments import InstallError, environment, run
from tests.benchmarks.compare.knobs import TARGETS
from tests.benchmarks.compare.session import Session

PLOTTING = ("matplotlib==3.11.2",)


def write(session: Session, folder: Path, command: str) -> None:
    """Everything that is in the store of the session."""
    store = session.store
    facts = store.get("run") or {}
    parts = [(data, tables.all_tables(store, data, about["count"])) for data, about in facts["data"].items()]
    points = tables.growth(store, curve.sizes(session.count))
    grown = tables.curve(points)
    failed = tables.skipped(store)
    for data, made in parts:
        print(f"\n=== {_title(data, facts)} ===")
        for table in made:
            print(f"\n{table.text()}")
    for table in (grown, failed):
        if table.rows:
            print(f"\n{table.text()}")
    lines = [
        "# vecdb beside its embedded peers", "",
        f"Made by `{command}`. Do not edit.", "",
        f"- Machine: {facts['machine']}. Processes that wanted to run, on average: {facts['busy']}.",
        f"- Rounds: {session.rounds}, all peers in turn in each; medians, and ratios within a round. CPU time is that "
        "of the process and its children; wall time, p50 and p99 depend on what else ran.",
        "- hnswlib is the bare library, for comparison: it keeps ids and vectors, no records, and cannot filter.",
        "- Every graph has M = 16 and ef_construction = 200. The setting is ef (for each peer its name of it).", "",
        "## Versions", "",
    ]
    for peer in PEERS:
        about = store.get(f"about/{peer.name}")
        if about is not None:
            lines.append(f"- {peer.name}: {about['versions']}" + (f"; {peer.note}" if peer.note else ""))
    plots = _plots(session, folder, [data for data, _ in parts], points)
    for data, made in parts:
        lines += ["", f"## {_title(data, facts)}", "", f"{facts['data'][data]['source']}."]
        lines += [line for name in plots if name.startswith(data) for line in ("", f"![{name}]({name})")]
        for table in made:
            lines += ["", table.markdown()]
    lines += [line for name in plots if name.startswith(curve.NAME) for line in ("", f"![{name}]({name})")]
    for table in (grown, failed):
        if table.rows:
            lines += ["", table.markdown()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text("\n".join(lines) + "\n", "utf-8")
    print(f"\nwritten: {folder / 'RESULTS.md'} and {len(plots)} plots")


def _title(data: str, facts: dict[str, dict[str, dict[str, int]]]) -> str:
    about = facts["data"][data]
    return f"{data.capitalize()}: {about['count']:,} × {about['dimension']}"


def _plots(session: Session, folder: Path, parts: list[str], points: list[dict[str, Any]]) -> list[str]:
    """Names of the SVG files; none, with the reason, where matplotlib cannot be had."""
    numbers: dict[str, Any] = {"order": list(NAMES), "ours": OURS, "data": {}, "curve": points}
    for data in parts:
        reader = tables.Reader(session.store, data)
        numbers["data"][data] = {
            "ingest": {peer: reader.median("ingest", peer, "complete_cpu") for peer in reader.peers("ingest")},
            "search": {
                target: {peer: reader.median(f"search-{target}", peer, "cpu") for peer in NAMES}
                for target in TARGETS
            },
            "filter": {peer: reader.filtered(peer) for peer in reader.peers("filter")},
            "count": (session.store.get("run") or {})["data"][data]["count"],
        }
    source = session.store.folder / "plots.numbers"
    source.write_text(json.dumps(numbers), "utf-8")
    try:
        python = Path(sys.executable)
        if importlib.util.find_spec("matplotlib") is None:
            python = environment(session.cache / "environments", "plots", PLOTTING)
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(python), "-m", "tests.benchmarks.compare.plots", str(source), str(folder)]
        return run(command, "the plots cannot be made", ROOT).split()
    except InstallError as error:
        print(f"no plots: {error}", file=sys.stderr)
        return []
