"""The words for shim.c: tracing file operations, making them fail, ending the process at one.

A campaign that needs it is run by `apart`, in a process that has the library preloaded. There, a
forked child says what it wants done to it: each child for itself, and nothing until then.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.torture.campaign import Outcome, Run

_SOURCE = Path(__file__).with_suffix(".c")
_ROOT = Path(__file__).resolve().parents[2]
_RECORD = struct.Struct("@IIQII")


class Kind(enum.IntEnum):
    """Of operations; "create" is an open that makes a file, "map" is mmap, "allocate" is malloc and its like."""

    OPEN = 0
    CREATE = 1
    READ = 2
    WRITE = 3
    TRUNCATE = 4
    SYNC = 5
    RENAME = 6
    LINK = 7
    UNLINK = 8
    MKDIR = 9
    RMDIR = 10
    LOCK = 11
    MAP = 12
    STAT = 13
    ALLOCATE = 14


class Action(enum.IntEnum):
    """What happens to the operation. SHORT: half is written; where it goes on, what follows fails."""

    FAIL = 1
    SHORT = 2
    KILL_BEFORE = 3
    KILL_HALFWAY = 4
    KILL_AFTER = 5


# What changes what is on the disk.
_CHANGING = "CREATE WRITE TRUNCATE SYNC RENAME LINK UNLINK MKDIR RMDIR"
CHANGING = frozenset(Kind[name] for name in _CHANGING.split())


@functools.cache
def _library() -> ctypes.CDLL:
    found = ctypes.CDLL(None)
    found.shim_watch.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    found.shim_arm.argtypes = [ctypes.c_uint, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    found.shim_arm.restype = None
    for counter in (found.shim_disarm, found.shim_seen, found.shim_hits):
        counter.restype = ctypes.c_long
    return found


def watch(folder: Path, trace: Path | None = None) -> None:
    """From now on this folder counts (files that are open already do not), and goes into the trace.

    Args:
        folder: without symbolic links in its path.
        trace: a file outside of it; None: nothing is written down.
    """
    error = _library().shim_watch(os.fsencode(folder), os.fsencode(trace) if trace else None)
    if error:
        raise OSError(error, os.strerror(error), str(trace))


def arm(kinds: set[Kind] | frozenset[Kind], at: int, action: Action, error: int = 0, *, for_ever: bool = False) -> None:
    """Have the `at`-th operation (from 1) of these kinds fail with `error`, or end the process.

    Args:
        kinds: the operations that count, all in one row.
        at: 0: none; only count.
        action: what happens to it.
        error: an errno.
        for_ever: and to all later ones.
    """
    _library().shim_arm(sum(1 << kind for kind in kinds), at or -1, action, error, for_ever)


def disarm() -> int:
    """Let everything through again; how many operations were hit."""
    return int(_library().shim_disarm())


def hits() -> int:
    """How many operations were hit since `arm`."""
    return int(_library().shim_hits())


def seen(kind: Kind) -> int:
    """How many operations of this kind there were since `arm`; of ALLOCATE, if it was among its kinds."""
    return int(_library().shim_seen(kind))


@dataclass(frozen=True, slots=True)
class Step:
    """A file operation in a trace.

    Attributes:
        kind: what was done.
        file: a number for each opening; what is done to an open file or folder has it.
        offset: where a WRITE begins, or the size after a TRUNCATE.
        path: of what was opened or named.
        data: what was written, or the new path of RENAME and LINK.
    """

    kind: Kind
    file: int
    offset: int
    path: str
    data: bytes


def steps(trace: Path) -> Iterator[Step]:
    """What a trace says, in order."""
    data, place = trace.read_bytes(), 0
    while place < len(data):
        kind, file, offset, path, size = _RECORD.unpack_from(data, place)
        place += _RECORD.size
        name, place = data[place : place + path], place + path
        yield Step(Kind(kind), file, offset, os.fsdecode(name), data[place : place + size])
        place += size


# --- a process that has it ----------------------------------------------------------------------


def apart(module: str, run: Run) -> Outcome:
    """Run `attack(run)` of a module in a process of its own, with the shim."""
    if not sys.platform.startswith("linux"):
        return Outcome(skipped="the shim preloads a library before the C library, as Linux does it")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return Outcome(skipped="the shim is a C library, and there is no compiler: install gcc")
    library = run.scratch / "shim.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        return Outcome(skipped=f"the shim does not compile with this C library: {built.stderr[-500:]}")
    scratch = run.scratch / "apart"
    scratch.mkdir()
    arguments = json.dumps([module, run.count, run.seed, str(scratch.resolve()), run.most_failures])
    answer = run.scratch / "outcome.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.shim", arguments, str(answer)],
        cwd=_ROOT,
        env={**os.environ, "LD_PRELOAD": str(library)},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        return Outcome(failures=(f"the campaign itself ended with status {done.returncode}",))
    found = json.loads(answer.read_text("utf-8"))
    return Outcome(found["counts"], tuple(found["failures"]), found["skipped"])


def _main() -> None:
    module, count, seed, scratch, most_failures = json.loads(sys.argv[1])
    importlib.import_module("tests.torture.mutants").apply_from_environment()
    run = Run(
        count, seed, Path(scratch), lambda line: print(f"{module}: {line}", file=sys.stderr, flush=True), most_failures
    )
    outcome = importlib.import_module(f"tests.torture.{module}").attack(run)
    Path(sys.argv[2]).write_text(json.dumps(asdict(outcome)), "utf-8")


if __name__ == "__main__":
    _main()
