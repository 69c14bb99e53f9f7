"""The machine in words: what a reader needs to place the numbers, and nothing that names it."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from pathlib import Path


def words() -> str:
    """Processor, cores, memory, system and Python."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {gigabytes:.0f} GiB of memory, {platform.system()} on "
        f"{platform.machine()}, Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if flag in _flags()]
            return f"{name} ({', '.join(flags)})" if flags else name
    return platform.processor() or "a processor that tells no name"


def _flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def busy() -> float:
    """Processes that wanted to run in the last five minutes, on average."""
    return os.getloadavg()[1]
