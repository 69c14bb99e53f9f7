"""What the kernel knows of a process and its children (Linux): CPU seconds, resident memory and its peak."""

from __future__ import annotations

import os
import time
from pathlib import Path

PROCESSES = Path("/proc")
_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def children() -> list[int]:
    """Process ids of all descendants of this process."""
    parents: dict[int, list[int]] = {}
    for entry in PROCESSES.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _stat(process: int) -> list[str]:
    """The fields of `stat` from the state on: the name before them may hold spaces. Empty when it has ended."""
    try:
        return (PROCESSES / str(process) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


class Meter:
    """CPU seconds of this process and of its children, which are looked up once: that takes a while."""

    def __init__(self) -> None:
        self._children = children()

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        ticks = 0
        for child in self._children:
            fields = _stat(child)
            ticks += sum(int(ticks) for ticks in fields[11:13])
        return time.process_time() + ticks / _TICK


def resident() -> int:
    """Bytes of memory of this process and its children."""
    total = 0
    for process in ("self", *map(str, children())):
        try:
            total += int((PROCESSES / process / "statm").read_text("ascii").split()[1]) * _PAGE
        except OSError:
            continue  # it has ended
    return total


def forget_peak() -> None:
    """Start counting the peak anew."""
    (PROCESSES / "self" / "clear_refs").write_text("5", "ascii")


def peak() -> int:
    """The most memory that was resident since `forget_peak`, that of the children in full."""
    total = 0
    for process in ("self", *map(str, children())):
        try:
            lines = (PROCESSES / process / "status").read_text("ascii", "replace").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return total


def disk(folder: Path) -> int:
    """Bytes of the blocks that files in `folder` occupy."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
