"""Files that nobody wrote by mistake: each is refused with its name and what to do, as every damaged file is."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.plugins.words.models import VECTORS, WORDS, embedder, fasttext_bytes, text_bytes
from vecdb import EmbedderUnavailableError
from vecdb_words.fasttext_binary import read_fasttext
from vecdb_words.reading import read_word_vectors

ASSETS = Path(__file__).parents[2] / "assets" / "gensim"


def refused(path: Path, message: str) -> None:
    with pytest.raises(EmbedderUnavailableError, match=message) as caught:
        read_word_vectors(path)
    assert str(path) in str(caught.value)


def archive(path: Path, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as made:
        made.writestr("glove.txt", text_bytes(header=False))
    return path


def test_an_archive_that_is_packed_in_a_rare_way(tmp_path: Path) -> None:
    refused(archive(tmp_path / "glove.zip", zipfile.ZIP_BZIP2), "packed in a rare way; unpack it")
    path = archive(tmp_path / "unknown.zip")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x08\x00", b"\x63\x00"))  # a method that no program knows
    refused(path, "packed in a rare way; unpack it")


def test_an_archive_of_a_format_that_is_newer_than_python(tmp_path: Path) -> None:
    path = archive(tmp_path / "glove.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 99  # the version that is needed to unpack it
    path.write_bytes(data)
    refused(path, "cannot be read here .*; unpack it")


def test_an_archive_with_a_member_without_a_name(tmp_path: Path) -> None:
    path = archive(tmp_path / "glove.zip")
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 28 : central + 30] = b"\0\0"
    data[central + 32 : central + 34] = struct.pack("<H", len("glove.txt"))  # the name is a comment now
    path.write_bytes(data)
    refused(path, "the archive holds")


def test_a_fasttext_file_without_a_byte_and_one_whose_matrix_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"")
    with pytest.raises(EmbedderUnavailableError, match="the file is empty"):
        read_fasttext(path)
    data = fasttext_bytes(WORDS, VECTORS, buckets=0, max_n=0)
    shape = struct.pack("<2q", *VECTORS.shape)
    path.write_bytes(data.replace(shape, struct.pack("<2q", 2**62, 0), 1))
    with pytest.raises(EmbedderUnavailableError, match="its matrix has the shape"):
        read_fasttext(path)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_fasttext_model_with_numbers_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    rows = VECTORS.copy()
    rows[2, 3] = bad
    path = tmp_path / "model.bin"
    path.write_bytes(fasttext_bytes(WORDS, rows, buckets=0, max_n=0))
    with pytest.raises(EmbedderUnavailableError, match=r"model\.bin: its vectors hold numbers that are not finite"):
        embedder("fasttext", model=path, remove_components=1)


@pytest.mark.parametrize(
    "array",
    [
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{'",  # a header of 4 GiB
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 200) + b"(" * 200,
        b"\x93NUMPY\x01\x00" + b"\x3d\0{'descr': '<f4', 'fortran_order': False, 'shape': (7.5, 2), }\n\n",
        b"\x93NUMPY\x63\x00" + bytes(80),
        b"PK\x03\x04" + bytes(80),
    ],
    ids=["a long header", "brackets", "half a row", "an unknown version", "an archive"],
)  # fmt: skip
def test_an_array_beside_a_gensim_file_that_is_none(tmp_path: Path, array: bytes) -> None:
    path = tmp_path / "separate.kv"
    path.write_bytes((ASSETS / "separate.kv").read_bytes())
    beside = tmp_path / "separate.kv.vectors.npy"
    beside.write_bytes(array)
    with pytest.raises(EmbedderUnavailableError, match=r"separate\.kv\.vectors\.npy: is no array of numbers"):
        read_word_vectors(path)
