"""numpy's own files. Arrays of objects are pickles and are never read."""

from __future__ import annotations

import functools
import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from vecdb_tables.table import Entry, Table, unusable

_FETCH = "fetch it again, or write it again with numpy.save"
_MOST_GROWTH = 100  # of floats that mean something; zeros grow a thousandfold
_MOST_HEADER = 1 << 16  # bytes; numpy refuses headers of more than 10,000
# what zipfile raises for a member that is damaged, encrypted, or of a newer kind than it knows
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, UnicodeDecodeError),
)
_SMALL = 1 << 28  # bytes, which may come from anywhere


def read_npy(path: Path) -> Mapping[str, Entry]:
    """The one array of a `.npy` file, under the name "". It is mapped into memory.

    Raises:
        EmbedderUnavailableError: the file is damaged or cut off.
    """
    with path.open("rb") as file:
        shape, dtype = _header(path, file, "the array")
    return {"": _entry(shape, dtype, functools.partial(_map, path))}


def read_npz(path: Path) -> Mapping[str, Entry]:
    """The arrays of a `.npz` archive by name. The one that is used is read into memory.

    Raises:
        EmbedderUnavailableError: the archive is damaged.
    """
    entries: dict[str, Entry] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if member.file_size > max(_SMALL, _MOST_GROWTH * member.compress_size):
                raise unusable(
                    path,
                    f"the array {name!r} would grow from {member.compress_size} to {member.file_size} bytes",
                    "if you trust it, write it without compression, with numpy.savez",
                )
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise unusable(path, f"the array {name!r} is packed in a rare way", _FETCH)
            try:
                with archive.open(member) as file:
                    shape, dtype = _header(path, file, f"the array {name!r}")  # type: ignore[arg-type]
            except _DAMAGED as error:
                raise unusable(path, f"the array {name!r} is damaged ({error})", _FETCH) from error
            entries[name] = _entry(shape, dtype, functools.partial(_read_member, path, name))
    return entries


def _entry(shape: tuple[int, ...], dtype: np.dtype[np.generic], read: Callable[[], Table]) -> Entry:
    called = "object (a pickle, which is never opened)" if dtype.hasobject else str(dtype)
    return Entry(shape, called, read if len(shape) == 2 and dtype.kind == "f" else None)


def _header(path: Path, file: BinaryIO, what: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    start = io.BytesIO(file.read(_MOST_HEADER))  # or numpy would make room for as many bytes as the header claims
    try:
        version = npy.read_magic(start)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(start)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:  # of numpy's parser of Python literals
        raise unusable(path, f"{what} has a damaged header ({error})", _FETCH) from error
    return shape, dtype


def _map(path: Path) -> Table:
    try:
        return Table(np.asarray(npy.open_memmap(path, "r")))
    except (ValueError, OverflowError) as error:  # the map would be longer than the file
        raise unusable(path, f"is cut off ({error})", _FETCH) from error


def _read_member(path: Path, name: str) -> Table:
    try:
        with np.load(path) as archive:
            return Table(archive[name])
    except (*_DAMAGED, ValueError, MemoryError) as error:
        raise unusable(path, f"the array {name!r} cannot be read ({error})", _FETCH) from error
