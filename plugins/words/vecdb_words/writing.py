"""Writing a model: files of word vectors, and a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vecdb import DiskFullError, InvalidInputError
from vecdb_words.vectors import FloatArray

_TEXT_SUFFIXES = (".txt", ".vec")


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` in one step: a reader sees the old one or the whole new one.

    Raises:
        DiskFullError: there is no room for it.
        InvalidInputError: the folder does not exist or may not be written to.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(f"{path}: the disk is full; make room and train again") from error
        raise InvalidInputError(f"{path}: the model cannot be written ({error}); choose another place") from error


def write_word2vec(path: Path, words: Sequence[str], matrix: FloatArray) -> None:
    """Write word2vec's format: text if the name ends in `.txt` or `.vec`, otherwise binary; packed if in `.gz`.

    Raises: as `replaced_file`.
    """
    with replaced_file(path) as file, _packed(file, path) as stream:
        stream.write(f"{matrix.shape[0]} {matrix.shape[1]}\n".encode())
        if _unpacked_suffix(path) in _TEXT_SUFFIXES:
            _write_lines(stream, words, matrix)
            return
        for word, row in zip(words, matrix.astype("<f4", copy=False), strict=True):
            stream.write(word.encode("utf-8", "replace") + b" " + row.tobytes() + b"\n")


def write_glove(path: Path, words: Sequence[str], matrix: FloatArray) -> None:
    """Write GloVe's format: lines of text without a header; packed if the name ends in `.gz`.

    Raises: as `replaced_file`.
    """
    with replaced_file(path) as file, _packed(file, path) as stream:
        _write_lines(stream, words, matrix)


def _write_lines(stream: BinaryIO, words: Sequence[str], matrix: FloatArray) -> None:
    for word, row in zip(words, matrix, strict=True):
        stream.write(" ".join([word, *map(str, row)]).encode("utf-8", "replace") + b"\n")


@contextlib.contextmanager
def _packed(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix.lower() != ".gz":
        yield file
        return
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:  # no name and time: the same model, the same file
        yield packed  # type: ignore[misc]


def _unpacked_suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; Windows cannot open a folder and needs no such call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
