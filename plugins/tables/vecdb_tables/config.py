"""The options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecdb import option


@dataclass(frozen=True)
class EmbeddingTableConfig:
    """Where the table is."""

    model: Path = option(affects="location", help="the table: .safetensors, .npy, or a torch state dict (.pt, .pth)")
