"""Small disks that get full, and limits of the operating system."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def disk_lives(chance: random.Random) -> Iterator[tuple[str, Callable[[Path], dict[str, Any]]]]:
    """Lives on full disks and under limits, each with its name."""
    yield from ()
