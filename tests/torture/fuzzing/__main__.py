"""The child in which one target runs: first what once broke something, then the seeds, then what is made of them.

Where atheris is installed, branches that were never taken guide it; elsewhere inputs are changed by chance. What is
found goes into `report.jsonl` in the folder; `current` has the input that is being read, should it end the process.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import faulthandler
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from tests.torture.fuzzing import REGRESSIONS, TARGETS
from tests.torture.fuzzing.mutation import mutated, shrunk
from tests.torture.fuzzing.target import MEMORY, Fault, Guard, NotHere, Target, judge

_LONGEST_INPUT_SECONDS = 60


class _Reading:
    """Reads inputs of one target, and writes down what they broke, each kind once."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self._folder = folder
        self._own = folder / "own"
        self._own.mkdir(exist_ok=True)
        self._guard = Guard(self._own)
        self._kinds: set[str] = set()
        self._report = (folder / "report.jsonl").open("a")
        self._current = os.open(folder / "current", os.O_RDWR | os.O_CREAT)
        self._counter = os.open(folder / "count", os.O_RDWR | os.O_CREAT)
        known = folder / "known"
        self._deadly = set(known.read_text().split()) if known.exists() else set()
        self.count = int(os.pread(self._counter, 20, 0) or 0)

    def say(self, **what) -> None:
        self._report.write(json.dumps(what) + "\n")
        self._report.flush()

    def read(self, data: bytes) -> None:
        if self._deadly and hashlib.sha1(data).hexdigest() in self._deadly:
            return
        os.ftruncate(self._current, 0)
        os.pwrite(self._current, data, 0)
        fault = self._judge(data)
        self.count += 1
        os.pwrite(self._counter, b"%-20d" % self.count, 0)
        if fault is not None and fault.kind not in self._kinds:
            self._kinds.add(fault.kind)
            as_it_is = fault.kind.startswith(("slow", "RecursionError"))  # less of it may do the same here alone
            least = data if as_it_is else shrunk(data, lambda less: self._breaks(less, fault.kind))
            self.say(kind=fault.kind, text=fault.text, input=base64.b64encode(least).decode())

    def _judge(self, data: bytes) -> Fault | None:
        return judge(self.target, data, self._own, self._guard)

    def _breaks(self, data: bytes, kind: str) -> bool:
        fault = self._judge(data)
        return fault is not None and fault.kind == kind


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=Path, help="read this input and nothing else")
    parser.add_argument("--unguided", action="store_true")
    asked = parser.parse_args()
    deadline = time.monotonic() + asked.seconds
    faulthandler.enable()
    target, atheris = _load(asked.target, guided=not (asked.unguided or asked.only))
    reading = _Reading(target, asked.folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            seeds = _seeds(target, asked.folder)
    except NotHere as error:
        reading.say(absent=str(error))
        return
    _read_quietly(target, seeds[0], asked.folder)  # what is imported on first use takes memory and time
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    if asked.only:
        signal.alarm(_LONGEST_INPUT_SECONDS)
        reading.read(asked.only.read_bytes())
        return
    before = regressions(asked.target)
    reading.say(guided=atheris is not None, seeds=len(seeds), regressions=len(before))
    for data in (*before, *seeds):
        signal.alarm(_LONGEST_INPUT_SECONDS)
        reading.read(data)
    signal.alarm(0)
    left = deadline - time.monotonic()
    if atheris is not None and left >= 1:
        _guided(atheris, reading, (*before, *seeds), asked.folder, int(left), asked.seed)
    elif atheris is None:
        _by_chance(reading, (*before, *seeds), deadline, asked.seed)


def _load(name: str, *, guided: bool):
    """The target, instrumented where that can be, and atheris, or None."""
    module, packages = TARGETS[name]
    atheris = None
    if guided:
        with contextlib.suppress(ImportError):
            atheris = importlib.import_module("atheris")
    place = f"tests.torture.fuzzing.{module}"
    if atheris is None:
        found = importlib.import_module(place)
    else:
        with atheris.instrument_imports(include=list(packages), enable_loader_override=False):
            found = importlib.import_module(place)
            for package in packages:  # what targets import late
                importlib.import_module(package)
    return next(target for target in found.TARGETS if target.name == name), atheris


def _seeds(target: Target, folder: Path) -> list[bytes]:
    made = folder / "seeds"
    made.mkdir(exist_ok=True)
    return list(dict.fromkeys(target.seeds(made)))


def regressions(name: str) -> list[bytes]:
    """Inputs that once broke something."""
    kept = REGRESSIONS / name.replace(" ", "_")
    return [path.read_bytes() for path in sorted(kept.iterdir())] if kept.is_dir() else []


def _read_quietly(target: Target, data: bytes, folder: Path) -> None:
    warm = folder / "own"
    with contextlib.suppress(Exception):
        target.run(data, warm)


def _guided(atheris, reading: _Reading, seeds, folder: Path, seconds: int, seed: int) -> None:
    corpus, found = folder / "corpus", folder / "grown"
    for place in (corpus, found):
        place.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"{number:04d}").write_bytes(data)
    words = folder / "words"
    listed = ["".join(f"\\x{byte:02x}" for byte in word) for word in reading.target.words]
    words.write_text("".join(f'"{word}"\n' for word in listed))
    longest = max(reading.target.longest, 64)
    options = [
        f"-max_total_time={seconds}", f"-seed={seed % (2**31) or 1}", f"-max_len={longest}",
        *([f"-dict={words}"] if listed else []),
        f"-timeout={_LONGEST_INPUT_SECONDS}", "-rss_limit_mb=0", "-malloc_limit_mb=0", "-print_final_stats=0",
        "-len_control=50", "-verbosity=0", f"-artifact_prefix={folder}/",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(found), str(corpus)], reading.read)
    atheris.Fuzz()


def _by_chance(reading: _Reading, seeds, deadline: float, seed: int) -> None:
    chance = random.Random(seed)
    pool = list(seeds)
    while time.monotonic() < deadline:
        data = mutated(chance.choice(pool), chance, pool, reading.target.words, reading.target.longest)
        signal.alarm(_LONGEST_INPUT_SECONDS)
        reading.read(data)
    signal.alarm(0)


if __name__ == "__main__":
    main()
