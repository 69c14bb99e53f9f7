"""Opening a file of word vectors: decompression, signatures, and errors that name the file."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vecdb import EmbedderUnavailableError

FASTTEXT_MAGIC = struct.pack("<i", 793712314)

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
# gzip, and what zipfile raises for names, sizes and packed bytes that are none
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, UnicodeDecodeError, struct.error)
_TEXT_MEMBERS = (".txt", ".vec")
_COMPRESSION_LIMIT = 1100  # deflate cannot shrink data by more than about 1032
_REFUSED = {
    b"\x93NUMPY": "a numpy array without words; write it as lines 'word v1 v2 ...'",
    b"\x89HDF": "an HDF5 file; write its vectors as lines 'word v1 v2 ...'",
}

CONVERT = (
    "convert it where it was made, with gensim: "
    "KeyedVectors.load('FILE').save_word2vec_format('vectors.bin', binary=True), for a model Word2Vec.load('FILE').wv"
)


def unusable(path: Path, problem: str, advice: str) -> EmbedderUnavailableError:
    """The error for a file that cannot serve as a model."""
    return EmbedderUnavailableError(f"{path}: {problem}; {advice}", missing=[str(path)])


def signature(path: Path, length: int = 8) -> bytes:
    """The first bytes of a file. Raises `EmbedderUnavailableError` if it cannot be read."""
    with errors_named(path), path.open("rb") as file:
        return file.read(length)


def is_fasttext(path: Path) -> bool:
    """Whether the file begins as a fastText model of version 11 or 12 does."""
    return signature(path, 4) == FASTTEXT_MAGIC


@contextlib.contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn the errors of reading and decompressing into `EmbedderUnavailableError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise unusable(path, "there is no such file", "put it there or give another path as model") from error
    except IsADirectoryError as error:
        raise unusable(path, "is a folder", "give the file of word vectors in it") from error
    except PermissionError as error:
        raise unusable(path, "may not be read", "change its permissions") from error
    except _DAMAGED as error:
        raise unusable(path, f"the compressed file is damaged or cut off ({error})", "fetch it again") from error
    except NotImplementedError as error:  # of a newer version of the format, or spread over several disks
        advice = "unpack it and give the text file"
        raise unusable(path, f"the archive cannot be read here ({error})", advice) from error
    except OSError as error:
        raise unusable(path, f"cannot be read ({error})", "check the disk and the path") from error


@contextlib.contextmanager
def open_vectors(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The uncompressed bytes of a model and an upper bound of their number.

    Plain files, gzip, and zip with a single `.txt` or `.vec` member, told by content.

    Raises:
        EmbedderUnavailableError: the file is missing, damaged, or of a kind that is never read
            (a pickle may run any code).
    """
    start = signature(path)
    with errors_named(path), contextlib.ExitStack() as stack:
        size = path.stat().st_size
        stream: BinaryIO
        if start.startswith(_GZIP):
            stream = stack.enter_context(gzip.open(path, "rb"))  # type: ignore[assignment]
            size *= _COMPRESSION_LIMIT
        elif start.startswith(_ZIP):
            archive = stack.enter_context(zipfile.ZipFile(path))
            member = _only_text_member(path, archive)
            stream = stack.enter_context(archive.open(member))  # type: ignore[assignment]
            size = member.file_size
        else:
            stream = stack.enter_context(path.open("rb"))
        buffered = io.BufferedReader(stream, 1 << 20)  # type: ignore[type-var]
        _refuse_foreign(path, buffered.peek(8)[:8])
        yield buffered, size


def _only_text_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [item for item in archive.infolist() if not item.filename.endswith("/")]
    if any(item.filename.endswith(".pkl") for item in members):
        raise unusable(path, "is a pickled (torch) archive, which is never opened", CONVERT)
    texts = [item for item in members if item.filename.lower().endswith(_TEXT_MEMBERS)]
    if len(texts) != 1:
        names = ", ".join(item.filename for item in (texts or members)[:8]) or "nothing"
        raise unusable(path, f"the archive holds {names}", "unpack it and give one text file of word vectors")
    if texts[0].flag_bits & 1:
        raise unusable(path, "the archive is encrypted", "unpack it and give the text file")
    if texts[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unusable(path, "the archive is packed in a rare way", "unpack it and give the text file")
    return texts[0]


def _refuse_foreign(path: Path, start: bytes) -> None:
    if not start:
        raise unusable(path, "the file is empty", "fetch it again")
    if start[:1] == b"\x80" and start[1:2] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        raise unusable(path, "is a pickle, packed or of an old kind, which is never opened", CONVERT)
    if start.startswith(FASTTEXT_MAGIC):
        raise unusable(path, "is a fastText model", "use the embedder 'fasttext' (unpacked, if it is compressed)")
    for magic, what in _REFUSED.items():
        if start.startswith(magic):
            raise unusable(path, "is " + what.partition(";")[0], what.partition("; ")[2])
