"""Safetensors, mapped into memory: a length, a header in JSON, the numbers.

Read here and not by the library of that name, whose numpy side knows no bfloat16 and copies a tensor
instead of mapping it. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecdb_tables.table import Entry, Table, unusable

_MAX_HEADER = 100_000_000  # as in the library
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_FETCH = "fetch it again"


def read_safetensors(path: Path) -> Mapping[str, Entry]:
    """What a safetensors file holds.

    Raises:
        EmbedderUnavailableError: the header is cut off or is not what the format says, or places a
            tensor where the file has no such bytes.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MAX_HEADER, size - 8):
            raise unusable(path, "is cut off within its header, or is no safetensors file", _FETCH)
        text = file.read(length)
    try:
        header = json.loads(text)
        described = {name: value for name, value in header.items() if name != "__metadata__"}
    except (ValueError, AttributeError, RecursionError) as error:
        raise unusable(path, f"the header is damaged ({error})", _FETCH) from error
    return {name: _entry(path, name, value, 8 + length, size) for name, value in described.items()}


def _entry(path: Path, name: str, described: Any, start: int, size: int) -> Entry:
    try:
        dtype, (begin, end), shape = described["dtype"], described["data_offsets"], tuple(described["shape"])
        whole = all(type(number) is int and number >= 0 for number in (begin, end, *shape)) and isinstance(dtype, str)
    except (KeyError, TypeError, ValueError) as error:
        raise unusable(path, f"the header describes the tensor {name!r} wrongly ({error!r})", _FETCH) from error
    if not whole or begin > end:
        raise unusable(path, f"the header describes the tensor {name!r} wrongly", _FETCH)
    if start + end > size:
        raise unusable(
            path, f"is cut off: the tensor {name!r} ends at byte {start + end}, the file has {size} bytes", _FETCH
        )
    numpy_type = _FLOATS.get(dtype)
    if numpy_type is None or len(shape) != 2:
        return Entry(shape, dtype, None)
    expected = math.prod(shape) * np.dtype(numpy_type).itemsize
    if end - begin != expected:
        raise unusable(
            path, f"the tensor {name!r} of shape {shape} needs {expected} bytes, but has {end - begin}", _FETCH
        )
    return Entry(shape, dtype, functools.partial(_map, path, numpy_type, start + begin, shape))


def _map(path: Path, numpy_type: str, offset: int, shape: tuple[int, int]) -> Table:
    return Table(np.asarray(np.memmap(path, numpy_type, "r", offset, shape)))
