"""Files of word vectors: every format is read to the same vectors, and nothing broken gets through."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.plugins.words.models import DIMENSION, VECTORS, WORDS, binary_bytes, embedder, fasttext_bytes, text_bytes
from vecdb import EmbedderUnavailableError
from vecdb_words.reading import read_word_vectors


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_in_all_its_forms(tmp_path: Path, header: bool, end: str, packed: bool) -> None:
    path = tmp_path / "any.name"
    content = text_bytes(header=header, end=end)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_word_vectors(path)
    assert list(found.index) == WORDS  # "new york" with its space as well
    np.testing.assert_array_equal(found.matrix, VECTORS)
    path.write_bytes(content.rstrip())
    np.testing.assert_array_equal(read_word_vectors(path).matrix, VECTORS)


@pytest.mark.parametrize("newline", [True, False])
@pytest.mark.parametrize("packed", [False, True])
def test_binary_with_and_without_newlines(tmp_path: Path, newline: bool, packed: bool) -> None:
    path = tmp_path / "vectors"
    content = binary_bytes(newline=newline)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_word_vectors(path)
    assert list(found.index) == [word.replace(" ", "_") for word in WORDS]
    np.testing.assert_array_equal(found.matrix, VECTORS)


def test_blocks_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that ends anywhere within a line or a record changes nothing."""
    path = tmp_path / "vectors"
    for size in range(1, 200, 7):
        monkeypatch.setattr("vecdb_words.word2vec_binary._BLOCK", size)
        path.write_bytes(binary_bytes(newline=True))
        np.testing.assert_array_equal(read_word_vectors(path).matrix, VECTORS)
    for size in range(200, 1000, 37):
        monkeypatch.setattr("vecdb_words.text_format._BLOCK", size)
        for header in (True, False):
            path.write_bytes(text_bytes(header=header))
            np.testing.assert_array_equal(read_word_vectors(path).matrix, VECTORS)


def test_zip_with_one_text(tmp_path: Path) -> None:
    path = tmp_path / "glove.zip"
    zipped(path, {"glove.txt": text_bytes(header=False), "LICENSE": b"free"})
    np.testing.assert_array_equal(read_word_vectors(path).matrix, VECTORS)
    zipped(path, {"a.50d.txt": b"", "a.100d.txt": b""})
    with pytest.raises(EmbedderUnavailableError, match=r"a\.50d\.txt, a\.100d\.txt; unpack it and give one"):
        read_word_vectors(path)


def test_odd_words(tmp_path: Path) -> None:
    """Words that are numbers, stand twice, are no UTF-8, hold line ends of Unicode, or are the header's twin."""
    path = tmp_path / "odd.txt"
    lines = [b"7 1 2 3", b"twice 4 5 6", b"twice 0 0 1", b"\xff\xfe 7 8 9", b"a\xc2\x85b 1 1 1", b"x\xc2\xa0y . 2 2 2"]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n\n\n")
    found = read_word_vectors(path)
    assert found.matrix.shape == (6, 3)
    assert found.index == {"7": 0, "twice": 1, "\ufffd\ufffd": 3, "a\x85b": 4, "x\xa0y .": 5}


def test_only_the_first_words(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    for content in (text_bytes(header=True), text_bytes(header=False), binary_bytes()):
        path.write_bytes(content)
        np.testing.assert_array_equal(read_word_vectors(path, 4).matrix, VECTORS[:4])
        np.testing.assert_array_equal(read_word_vectors(path, 400).matrix, VECTORS)


LINES = text_bytes(header=False).split(b"\n")
BROKEN = {
    "empty": (b"", "the file is empty"),
    "prose": (b"This is not a file of vectors.\nReally.\n", "line 1 is not a word followed by numbers"),
    "short line": (b"\n".join([*LINES[:3], b"word 1 2 3"]), "line 4 has 3 numbers where 7 belong"),
    "long line": (b"\n".join([*LINES[:2], LINES[2] + b" x", *LINES[3:]]), "line 3 does not hold 7 numbers"),
    "text among numbers": (b"\n".join([*LINES[:2], b"w 1 2 3 x 5 6 7"]), "line 3 does not hold 7 numbers"),
    "nan": (b"\n".join([*LINES[:2], b"w 1 2 3 nan 5 6 7"]), "line 3 holds a number that is not finite"),
    "too large": (b"\n".join([*LINES[:2], b"w 1 2 3 1e39 5 6 7"]), "line 3 holds a number that is not finite"),
    "cut off": (b"\n".join([b"12 7", *LINES]), "line 1 promises 12 words but there are 10; it is cut off"),
    "too many": (b"\n".join([b"9 7", *LINES]), "line 1 promises 9 words but there are 10; write '10 7' on line 1"),
    "header lies": (b"\n".join([b"2000000000 300", LINES[0]]), "line 1 promises 2000000000 words of 300 numbers"),
    "no dimension": (b"10 0\nword\n", "line 1 promises 10 words of 0 numbers"),
    "huge dimension": (b"10 2000000000\nword 1 2\n", "line 1 promises 10 words of 2000000000 numbers"),
    "binary header lies": (b"2000000000 300\nthe " + b"\x01" * 5000, "its header promises 2000000000 words"),
    "binary nan": (binary_bytes(vectors=np.where(VECTORS[2] == VECTORS, np.nan, VECTORS)), "the vector of 'queen'"),
    "pickle": (pickle.dumps({"vectors": [1.0]}), "is a pickle, but not one of .*; .*save_word2vec_format"),
    "numpy": (b"\x93NUMPY\x01\x00v\x00", "is a numpy array without words"),
    "fasttext": (fasttext_bytes(["a"], np.ones((1, 3)), buckets=0), "use the embedder 'fasttext'"),
    "damaged gzip": (gzip.compress(text_bytes(header=False))[:-30], "damaged or cut off .*fetch it again"),
    "packed pickle": (gzip.compress(pickle.dumps([1])), "is a pickle"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path, case: str) -> None:
    path = tmp_path / "model"
    content, message = BROKEN[case]
    path.write_bytes(content)
    with pytest.raises(EmbedderUnavailableError, match=message) as caught:
        read_word_vectors(path)
    assert str(path) in str(caught.value)
    assert caught.value.missing == (str(path),)


def test_torch_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    zipped(path, {"archive/data.pkl": b"\x80\x02.", "archive/words.txt": text_bytes(header=False)})
    with pytest.raises(EmbedderUnavailableError, match=r"pickled \(torch\) archive"):
        read_word_vectors(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailableError, match="there is no such file"):
        read_word_vectors(tmp_path / "absent.txt")
    with pytest.raises(EmbedderUnavailableError, match="is a folder"):
        read_word_vectors(tmp_path)


@pytest.mark.parametrize("name", ["word2vec", "glove", "fasttext"])
@pytest.mark.parametrize("kind", ["text", "binary", "gzip"])
def test_no_cut_crashes(tmp_path: Path, name: str, kind: str) -> None:
    """Cut at any byte a file is refused, but for the last number of a text, which is a number when cut as well."""
    whole = {"text": text_bytes(header=True), "binary": binary_bytes(), "gzip": gzip.compress(text_bytes(header=True))}
    path = tmp_path / "model"
    last_line = whole["text"].rfind(b" ") if kind == "text" else len(whole[kind])
    for length in range(0, last_line, 11):
        path.write_bytes(whole[kind][:length])
        with pytest.raises(EmbedderUnavailableError):
            embedder(name, model=path)


def test_noise_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "noise"
    for _ in range(200):
        path.write_bytes(random.integers(0, 256, random.integers(1, 300), dtype=np.uint8).tobytes())
        with pytest.raises(EmbedderUnavailableError):
            read_word_vectors(path)


def test_text_is_read_by_fasttext_too(tmp_path: Path) -> None:
    path = tmp_path / "model.vec"
    path.write_bytes(text_bytes(header=True))
    made = embedder("fasttext", model=path, pooling="mean")
    assert made.dimension == DIMENSION
    np.testing.assert_allclose(made.encode([made.prepare("king queen")], "query")[0], VECTORS[1:3].mean(0), rtol=1e-6)
