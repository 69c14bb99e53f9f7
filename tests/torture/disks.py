"""Small disks that get full, and limits of the operating system, as faults that end when room is made."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture.faults_life import OPERATIONS, Life, watched
from tests.torture.power_upgrade import start_upgrade

_KIB, _MIB = 1 << 10, 1 << 20
_NEW_MOUNTS, _REMOUNT, _PRIVATE, _ALL = 0x20000, 0x20, 0x40000, 0x4000  # of sched.h and sys/mount.h
_LIMITS = {
    resource.RLIMIT_FSIZE: ("files of {} KiB", (8, 600), _KIB),
    resource.RLIMIT_NOFILE: ("{} more open files", (0, 12), 1),
    resource.RLIMIT_AS: ("{} more MiB of memory", (0, 48), _MIB),
}


def disk_lives(chance: random.Random, count: int) -> Iterator[tuple[str, Callable[[Path], dict[str, Any]]]]:
    """`count` lives on full disks and under limits, half of them on disks, each with its name."""
    for number in range(count):
        if number % 2 == 0:
            size = chance.randint(150, 1_800)
            yield f"a disk of {size} KiB", partial(live_on_a_disk, size * _KIB)
        else:
            kind = list(_LIMITS)[number // 2 % len(_LIMITS)]
            words, between, _ = _LIMITS[kind]
            most = chance.randint(*between)
            yield f"a limit: {words.format(most)}", partial(live_under_a_limit, kind, most)


def can_mount() -> bool:
    """Whether this process may mount; asked in a child, because it changes the process."""
    return not ctypes.CDLL(None).unshare(_NEW_MOUNTS)


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [os.fsencode(word) for word in (source, target, kind)]
    if library.mount(*words, ctypes.c_ulong(flags), options.encode()):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(target))


def live_on_a_disk(size: int, place: Path) -> dict[str, Any]:
    """On a disk of so many bytes, which grows when it was full for some operations."""
    place.mkdir()
    disk = place.with_name(f"{place.name}-disk")
    disk.mkdir()
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS):  # what is mounted from here on, ends with this process
        raise PermissionError("cannot make mounts of its own")
    _mount("none", Path("/"), "none", _PRIVATE | _ALL, "")
    _mount("tmpfs", disk, "tmpfs", 0, f"size={size}")
    try:
        return _live(disk, lambda: _mount("tmpfs", disk, "tmpfs", _REMOUNT, f"size={64 * _MIB}"))
    finally:
        shutil.copytree(disk, place, dirs_exist_ok=True)


def live_under_a_limit(kind: int, most: int, place: Path) -> dict[str, Any]:
    """With a limit of the operating system, which is lifted when it was met in some operations."""
    place.mkdir()
    _, hard = resource.getrlimit(kind)
    now = {
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        resource.RLIMIT_AS: int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize(),
    }[kind]
    limit = now + most * _LIMITS[kind][2]
    return _live(
        place,
        lambda: resource.setrlimit(kind, (hard, hard)),
        begin=lambda: resource.setrlimit(kind, (limit, hard)),
        may_run_out=kind == resource.RLIMIT_AS,
    )


def _live(
    folder: Path, grow: Callable[[], object], *, begin: Callable[[], object] = lambda: None, may_run_out: bool = False
) -> dict[str, Any]:
    ended = []

    def end() -> None:
        grow()
        ended.append(True)

    life = Life(folder / "faults.vecdb", over=lambda: bool(ended), end=end, may_run_out=may_run_out)
    try:
        start_upgrade(folder / "old.vecdb", 0)
    except OSError:  # not even room for this: that is no matter of vecdb
        end()
        shutil.rmtree(folder / "old.vecdb")
        start_upgrade(folder / "old.vecdb", 0)
    else:
        begin()
    found = watched(life, lambda: life.go(OPERATIONS))
    found["counts"]["points reached"] = int(life.counts["raised"] > 0)
    return found
