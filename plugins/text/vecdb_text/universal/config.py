"""The options of `use`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option, truncation_option

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


@dataclass(frozen=True)
class UniversalConfig:
    """Where the model is, and where it runs."""

    model: Path = option(
        affects="location",
        help="a folder, or the file in it: model.json (TF.js) or a .safetensors with vocab.json, or a .onnx",
    )
    on_truncate: str = truncation_option()
    device: str = option(
        "auto", affects="runtime", help="auto, cpu, or for an ONNX model cuda or cuda:N; the others run on the CPU"
    )
    threads: int = option(0, affects="runtime", help="threads of an ONNX model; 0: as many as onnxruntime likes")

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise InvalidInputError(f"option device={self.device!r} must be auto, cpu, cuda or cuda:N")
        if self.threads < 0:
            raise InvalidInputError(f"option threads={self.threads!r} must be 0 (the library's choice) or more")
