"""Which other files an ONNX graph keeps its weights in, found without the `onnx` package.

A graph is a message in the format of protocol buffers: fields, each with a number and a length. Only
the way to `ModelProto.graph.initializer.external_data` (onnx.proto) is followed; all else is skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vecdb import EmbedderUnavailableError

_GRAPH, _INITIALIZER, _EXTERNAL_DATA = 7, 5, 13
_KEY, _VALUE = 1, 2
_LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}


def external_files(graph: Path) -> list[Path]:
    """The files beside `graph` that hold weights of it, sorted; none if it cannot be read as a graph.

    Raises:
        EmbedderUnavailableError: one of them would lie outside the folder of the graph.
    """
    if not graph.is_file() or not graph.stat().st_size:
        return []
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            names = sorted(set(_locations(data)))
        except (IndexError, ValueError):  # not a graph; loading it says so
            return []
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise EmbedderUnavailableError(
                f"the file {graph} keeps weights outside its folder, in {name!r}; take a model from a source you trust",
                missing=[name],
            )
    return [graph.parent / name for name in names]


def _locations(data: mmap.mmap) -> Iterator[str]:
    for start, end in _fields(data, 0, len(data), _GRAPH):
        for tensor in _fields(data, start, end, _INITIALIZER):
            for entry in _fields(data, *tensor, _EXTERNAL_DATA):
                if _text(data, *entry, _KEY) == "location":
                    yield _text(data, *entry, _VALUE)


def _text(data: mmap.mmap, start: int, end: int, wanted: int) -> str:
    return b"".join(data[first:last] for first, last in _fields(data, start, end, wanted)).decode("utf-8")


def _fields(data: mmap.mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the content of each field of this number begins and ends."""
    while start < end:
        tag, start = _varint(data, start)
        kind = tag & 7
        if kind == 0:
            _, start = _varint(data, start)
            continue
        if kind == _LENGTH_DELIMITED:
            size, start = _varint(data, start)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError("not a protocol buffer")
        if start + size > end:
            raise ValueError("cut short")
        if tag >> 3 == wanted and kind == _LENGTH_DELIMITED:
            yield start, start + size
        start += size


def _varint(data: mmap.mmap, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
        if shift > 63:
            raise ValueError("not a protocol buffer")
