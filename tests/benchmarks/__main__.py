"""`python -m tests.benchmarks [--count N] [--install]`: measures, and prints one table beside the targets.

With `--peers` first: vecdb beside its embedded peers (see `compare`).
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REPEATS = 5


def child_cpu(*command: str) -> float:
    """Median CPU seconds of a command, its start included."""
    costs = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return sorted(costs)[REPEATS // 2]


def measured(name: str, folder: Path, count: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.measure", name, str(folder), str(count)]
    # One thread everywhere: rates are per CPU second.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def installed_size() -> tuple[float, int]:
    """MB and number of packages of the core, installed into an empty folder without bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", folder, str(ROOT)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        files = [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        packages = len(list(Path(folder).glob("*.dist-info")))
        return sum(path.stat().st_size for path in files) / 1e6, packages


def embedding_rows(embedded: dict[str, Any]) -> list[tuple[str, str, str]]:
    """How near `ingest` comes to the bare model, or why that was not measured."""
    if "missing" in embedded:
        return [("ingest of texts", f"left out: {embedded['missing']:.60}", "")]
    return [
        ("ingest of texts, MiniLM int8, one thread", f"{embedded['per_second']:,.0f} texts/s", ""),
        ("… beside the bare model: wall, CPU", f"{embedded['wall']:.2f}, {embedded['cpu']:.2f}", "<= 1.1"),
    ]


def rows(count: int, *, install: bool) -> list[tuple[str, str, str]]:
    """What was measured: figure, value, target."""
    start = child_cpu(sys.executable, "-c", "pass")
    imported = child_cpu(sys.executable, "-c", "import vecdb") - start
    helped = child_cpu(sys.executable, "-m", "vecdb.cli.main", "--help")
    table = [
        ("import vecdb, CPU", f"{imported:.3f} s", "< 0.25 s"),
        ("vecdb --help, CPU", f"{helped:.3f} s", "< 0.4 s"),
    ]
    if install:
        megabytes, packages = installed_size()
        table.append(("core install without extras", f"{megabytes:.0f} MB, {packages} packages", "< 110 MB"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bench.vecdb"
        ingest = measured("ingest", folder, count)
        first, bare_first = measured("first", folder, count), measured("bare_first", folder, count)
        search = measured("search", folder, count)
        memory, bare = measured("memory", folder, count), measured("bare_memory", folder, count)
        lost = measured("recovery", folder, count)  # last: it loses the index
        embedded = measured("embedding", Path(temporary) / "embedding", count)
    filtered = ", ".join(f"{name}: {later:.1f} ({first:.0f})" for name, (first, later) in search["filtered_ms"].items())
    return [
        *table,
        ("add, 1,000 at a time, durable", f"{ingest['add_per_cpu_second']:,.0f} records per CPU second", ""),
        ("… and searchable", f"{ingest['searchable_per_cpu_second']:,.0f} records per CPU second", ">= 15,000"),
        ("… wall, the graph being built beside", f"{ingest['add_per_second']:,.0f} records/s", ""),
        ("graph complete and saved", f"{ingest['complete_seconds']:.0f} s after the first add", ""),
        ("disk", f"{ingest['disk_bytes_per_record']:,.0f} bytes a record", ""),
        *embedding_rows(embedded),
        ("open and first query", f"{first['seconds']:.2f} s ({first['cpu_seconds']:.2f} s CPU)", "< 1 s"),
        ("… when the libraries are loaded", f"{first['again_seconds']:.2f} s", "< 0.3 s"),
        ("hnswlib alone, loading the same graph", f"{bare_first['seconds']:.2f} s", ""),
        ("… with the index lost", f"{lost['seconds']:.2f} s ({lost['cpu_seconds']:.2f} s CPU)", "< 2 s"),
        (f"search, whole call (ef {search['ef']}, k 10)", f"{search['whole_us']:.0f} µs", ""),
        ("bare hnswlib query, same graph and ef", f"{search['bare_us']:.0f} µs", ""),
        ("ratio", f"{search['ratio']:.2f}", "<= 1.6"),
        ("recall@10 by default", f"{search['recall']:.3f}", ">= 0.95"),
        ("search with a filter, ms (the first)", filtered, ""),
        ("memory, open and searched", f"{memory['bytes'] / 1e6:.0f} MB", ""),
        ("hnswlib alone, same graph", f"{bare['bytes'] / 1e6:.0f} MB", ""),
        ("ratio", f"{memory['bytes'] / bare['bytes']:.2f}", "< 1.4"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="beside the peers; --peers --help tells more")
    parser.add_argument("--count", type=int, default=100_000, help="records (default 100,000)")
    parser.add_argument("--install", action="store_true", help="also install the core into an empty folder")
    options = parser.parse_args()
    table = rows(options.count, install=options.install)
    print(f"{options.count:,} records, 384 dimensions, {os.cpu_count()} processors, Python {sys.version.split()[0]}\n")
    width = max(len(name) for name, _, _ in table)
    value_width = max(len(value) for _, value, _ in table)
    for name, value, target in table:
        print(f"{name:<{width}}  {value:<{value_width}}  {target}".rstrip())


if __name__ == "__main__":
    compileall.compile_dir(ROOT / "vecdb", quiet=2)  # as the installation of a package does
    if "--peers" in sys.argv[1:]:
        from tests.benchmarks.compare.__main__ import main as compare

        compare([argument for argument in sys.argv[1:] if argument != "--peers"])
    else:
        main()
