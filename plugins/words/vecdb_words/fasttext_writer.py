"""Writing a fastText model (.bin, version 12) that the official program reads."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from pathlib import Path
from typing import BinaryIO

from vecdb import DiskFullError, InvalidInputError
from vecdb_words.config import FastTextTraining
from vecdb_words.corpus import Corpus
from vecdb_words.fasttext_binary import ARGUMENTS, DICTIONARY, ENTRY, MAGIC_AND_VERSION, SHAPE, VERSION
from vecdb_words.files import FASTTEXT_MAGIC
from vecdb_words.vectors import FloatArray

_NEGATIVE_SAMPLING = 2
_SKIPGRAM = 2
_UPDATE_RATE = 100  # the official default; it plays no part once training is over
_NOT_PRUNED = -1
_NOT_QUANTISED = struct.pack("<?", False)


def write_fasttext(
    path: Path, corpus: Corpus, inputs: FloatArray, outputs: FloatArray, options: FastTextTraining
) -> None:
    """Write a model, replacing the file at `path` in one step: a reader sees the old one or the whole new one.

    Raises:
        DiskFullError: there is no room for it.
        InvalidInputError: the folder does not exist or may not be written to.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write(file, corpus, inputs, outputs, options)
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


def _write(
    file: BinaryIO, corpus: Corpus, inputs: FloatArray, outputs: FloatArray, options: FastTextTraining
) -> None:
    words = len(corpus.words)
    file.write(MAGIC_AND_VERSION.pack(FASTTEXT_MAGIC, VERSION))
    file.write(
        ARGUMENTS.pack(
            inputs.shape[1],
            options.window,
            options.epochs,
            options.min_count,
            options.negatives,
            1,
            _NEGATIVE_SAMPLING,
            _SKIPGRAM,
            len(inputs) - words,
            options.min_n if options.max_n else 0,
            options.max_n,
            _UPDATE_RATE,
            options.sample,
        )
    )
    file.write(DICTIONARY.pack(words, words, 0, corpus.total, _NOT_PRUNED))
    for word, count in zip(corpus.words, corpus.counts.tolist(), strict=True):
        file.write(word.encode("utf-8", "replace") + b"\0" + ENTRY.pack(count, 0))
    for matrix in (inputs, outputs):
        file.write(_NOT_QUANTISED + SHAPE.pack(*matrix.shape))
        file.write(matrix.astype("<f4", copy=False).tobytes())


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
