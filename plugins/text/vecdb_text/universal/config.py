"""The options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecdb import option


@dataclass(frozen=True)
class UniversalConfig:
    """Where the model is."""

    model: Path = option(affects="location", help="a folder")
