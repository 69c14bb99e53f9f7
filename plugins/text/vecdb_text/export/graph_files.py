"""Saving ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_LARGEST_MESSAGE = 2**31 - 2**20  # a protocol buffer holds less than 2 GiB


def save_graph(model: Any, path: Path) -> None:
    """Save an `onnx.ModelProto`; one that is too large for a file keeps its weights in `PATH.onnx_data` beside it."""
    import onnx

    if model.ByteSize() < _LARGEST_MESSAGE:
        onnx.save(model, path)
        return
    onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}_data")
