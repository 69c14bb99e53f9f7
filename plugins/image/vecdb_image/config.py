"""The options."""

from __future__ import annotations

from dataclasses import dataclass

from vecdb import option


@dataclass(frozen=True)
class CnnConfig:
    """Where the model is."""

    model: str = option(affects="location", help="an ONNX file, or the name of a torchvision model")
