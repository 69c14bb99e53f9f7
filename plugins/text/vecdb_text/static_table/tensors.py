"""Arrays in a .safetensors file, left on disk until their rows are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb import EmbedderUnavailableError

_HEADER_LENGTH = 8
# bfloat16 is the upper half of a float32, which numpy does not know: see `as_floats`.
_TYPES: dict[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I8": "i1",
    "U8": "u1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
}


class Tensors:
    """The arrays of one file.

    Raises:
        EmbedderUnavailableError: the file is missing, or is not what it claims to be.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._path = path
        try:
            with safe_open(str(path), framework="numpy"):  # checks the header: lengths, overlaps, gaps
                pass
            with path.open("rb") as file:
                length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
                header = json.loads(file.read(length))
        except Exception as error:  # the library has one error of its own, and others of the system
            raise self._broken(f"{type(error).__name__}: {error}") from error
        self._start = _HEADER_LENGTH + length
        self._entries: dict[str, dict[str, Any]] = {
            name: entry for name, entry in header.items() if name != "__metadata__"
        }
        self.names = frozenset(self._entries)

    def array(self, name: str, axes: int) -> tuple[NDArray[Any], str]:
        """An array of so many axes, mapped from the file, and what the format calls its type."""
        entry = self._entries[name]
        kind, shape = entry["dtype"], tuple(entry["shape"])
        if kind not in _TYPES or len(shape) != axes or 0 in shape:
            raise self._broken(f"{name} is {kind} of shape {shape}, not {axes} axes of numbers")
        begin = self._start + entry["data_offsets"][0]
        return np.asarray(np.memmap(self._path, _TYPES[kind], "r", offset=begin, shape=shape)), kind

    def _broken(self, problem: str) -> EmbedderUnavailableError:
        return EmbedderUnavailableError(
            f"the file {self._path} cannot be used as safetensors: {problem}; fetch it again",
            missing=[str(self._path)],
        )


def as_floats(rows: NDArray[Any], kind: str) -> NDArray[np.float32]:
    """Rows of an array as float32, whatever the file stores."""
    if kind == "BF16":
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32, copy=False)
