"""Fuzz: each reader of what comes from outside gets inputs that nobody would write, for some seconds each.

Only documented errors may come out; an input may take 512 MiB and a second at most, may not end the interpreter, and
opens, writes and starts nothing but what is its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.campaign import Campaign, Outcome, Run
from tests.torture.fuzzing import TARGETS

_AT_ONCE = 2
_MOST_RESTARTS = 50
_LONGEST_TEXT = 6000  # characters of an input in a failure


@dataclass(slots=True)
class _Found:
    """What the children of one target said. By kind: `faults`, text and input; `unconfirmed`, the text."""

    absent: str = ""
    guided: bool = False
    inputs: int = 0
    seeds: int = 0
    regressions: int = 0
    unconfirmed: dict[str, str] = field(default_factory=dict)
    faults: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def run(run: Run) -> Outcome:
    """All targets, two at a time, `run.count` seconds each."""
    if sys.platform != "linux":
        return Outcome(skipped="fuzzing needs Linux, where the memory of a process can be limited and read")
    return fuzz(run, list(TARGETS))


def fuzz(run: Run, names: list[str], *, unguided: bool = False) -> Outcome:
    """These targets."""
    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        found = dict(zip(names, pool.map(lambda name: _fuzz_one(run, name, unguided=unguided), names), strict=True))
    counts: Counter[str] = Counter(targets=len(names), inputs=0)
    failures = []
    for name, one in found.items():
        if one.absent:
            counts[f"targets not here: {name} ({one.absent})"] += 1
            continue
        counts["inputs"] += one.inputs
        counts[f"inputs of {name}"] = one.inputs
        counts["seeds"] += one.seeds
        counts["regressions"] += one.regressions
        counts["guided by branches" if one.guided else "not guided (atheris is not installed)"] += 1
        counts["faults"] += len(one.faults)
        counts["seen once and not again"] += len(one.unconfirmed)
        for kind, text in one.unconfirmed.items():
            run.say(f"{name}: seen once and not again: {kind}: {text}")
        for kind, (text, data) in one.faults.items():
            path = _keep(run.scratch, name, data)
            failures.append(f"{name}: {kind}: {text}; seed {run.seed}, input {path}, {_printable(data)}")
    return Outcome(dict(counts), tuple(failures))


def _fuzz_one(run: Run, name: str, *, unguided: bool) -> _Found:
    found = _Found()
    folder = run.scratch / name.replace(" ", "_")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    deadline = time.monotonic() + run.count
    candidates: dict[str, tuple[str, bytes]] = {}
    for restart in range(_MOST_RESTARTS):
        left = deadline - time.monotonic()
        if left < 1 and restart:
            break
        options = ["--seconds", f"{max(left, 0):.0f}", "--seed", str(run.seed * 1000 + restart)]
        status, said = _child(name, folder, options + (["--unguided"] if unguided else []), max(left, 0) + 300)
        _take_reports(folder, found, candidates)
        if status == 0 or found.absent:
            break
        if status == 1:
            found.faults["the target itself is broken"] = (said, b"")
            break
        data = (folder / "current").read_bytes() if (folder / "current").exists() else b""
        candidates.setdefault(f"ends the interpreter ({_ending(status)})", (said, data))
        with (folder / "known").open("a") as known:
            known.write(hashlib.sha1(data).hexdigest() + "\n")
    count = folder / "count"
    found.inputs = int(count.read_text() or 0) if count.exists() else 0
    for kind, (text, data) in candidates.items():
        _confirm(name, folder, kind, text, data, found)
    run.say(f"{name}: {found.absent or f'{found.inputs} inputs, {len(found.faults)} faults'}")
    return found


def _child(name: str, folder: Path, options: list[str], seconds: float) -> tuple[int, str]:
    """The exit status of a child, and the end of what it said."""
    command = [sys.executable, "-m", "tests.torture.fuzzing", name, "--folder", str(folder), *options]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    said = folder / "said"
    with said.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder)
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            status = -signal.SIGALRM
    return status, said.read_bytes()[-1500:].decode(errors="replace")


def _take_reports(folder: Path, found: _Found, candidates: dict[str, tuple[str, bytes]]) -> None:
    path = folder / "report.jsonl"
    for line in path.read_text().splitlines() if path.exists() else []:
        said = json.loads(line)
        if "kind" in said:
            candidates.setdefault(said["kind"], (said["text"], base64.b64decode(said["input"])))
        found.absent = said.get("absent", found.absent)
        found.guided = said.get("guided", found.guided)
        found.seeds = said.get("seeds", found.seeds)
        found.regressions = said.get("regressions", found.regressions)


def _confirm(name: str, folder: Path, kind: str, text: str, data: bytes, found: _Found) -> None:
    """Read the input alone, in a fresh process that is not slowed by anything; only what breaks there is a fault."""
    again = folder / "again"
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    (again / "input").write_bytes(data)
    status, said = _child(name, again, ["--only", str(again / "input")], 300)
    seen: dict[str, tuple[str, bytes]] = {}
    _take_reports(again, _Found(), seen)
    if status:
        found.faults[f"ends the interpreter ({_ending(status)})"] = (said, data)
    elif seen:
        [(kind, (text, data))] = seen.items()
        found.faults[kind] = (text, data)
    else:
        found.unconfirmed[kind] = text


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _keep(scratch: Path, name: str, data: bytes) -> Path:
    path = scratch / "faults" / name.replace(" ", "_") / hashlib.sha1(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _printable(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    packed = base64.b64encode(zlib.compress(data, 9)).decode()
    if len(packed) < len(text):
        return f"zlib in base64: {packed[:_LONGEST_TEXT]}"
    return f"base64: {text[:_LONGEST_TEXT]}"


CAMPAIGN = Campaign(
    name="fuzz",
    summary="Filters, importers, pictures, sounds, model files, index files and stored values: documented errors only.",
    unit="seconds for each target",
    short=10,
    long=1800,
    run=run,
)
