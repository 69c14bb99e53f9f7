"""The config of a plugin that imports its library too early (`plistlib` stands for a heavy one)."""

import plistlib  # noqa: F401
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HeavyConfig:
    seed: int = 1
    table: Path | None = None
