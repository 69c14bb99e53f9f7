"""Files that cannot serve: the promised error, which names the file and ends with what to do."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

from tests.plugins.tables.tables import WORDS, described, embed, matrix, npy, safetensors_bytes, words
from vecdb import EmbedderUnavailableError

TABLE = matrix()
WHOLE = safetensors_bytes({"t": described(TABLE)}, TABLE.tobytes())


def refused(path, message, **options):
    with pytest.raises(EmbedderUnavailableError, match=message) as caught:
        embed("1", model=path, **options)
    assert str(path) in str(caught.value) or str(options.get("vocabulary")) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"cat 0.1 0.2\n", r"is not a table in a format that is known; give a \.safetensors"),
        (WHOLE[:-1], "cut off: the tensor 't' ends at byte"),
        (WHOLE[:30], "cut off within its header"),
        (safetensors_bytes(b"{not json"), "the header is damaged"),
        (safetensors_bytes(b'{"a":' * 100_000), "the header is damaged"),
        (safetensors_bytes({"t": described(TABLE, data_offsets=[0, 10**15])}), "cut off"),
        (safetensors_bytes({"t": described(TABLE, data_offsets=[-4, 108])}, TABLE.tobytes()), "wrongly"),
        (safetensors_bytes({"t": described(TABLE, data_offsets=[8, 4])}, TABLE.tobytes()), "wrongly"),
        (safetensors_bytes({"t": described(TABLE, data_offsets="ab")}, TABLE.tobytes()), "wrongly"),
        (safetensors_bytes({"t": described(TABLE, shape=[7.0, 4])}, TABLE.tobytes()), "wrongly"),
        (safetensors_bytes({"t": described(TABLE, shape=[2**40, 2**40])}, TABLE.tobytes()), "needs .*, but has 112"),
        (safetensors_bytes({"t": 5}), "wrongly"),
        (safetensors_bytes({}), "holds no 2-d tensor.*this one holds nothing"),
        (safetensors_bytes({"t": described(TABLE, shape=[28])}, TABLE.tobytes()), "28 F32, not a table"),
        (safetensors_bytes({"t": described(TABLE, shape=[7, 2, 2])}, TABLE.tobytes()), "7 x 2 x 2 F32, not a table"),
        (safetensors_bytes({"t": described(TABLE, shape=[0, 4], data_offsets=[0, 0])}), "0 x 4 F32, not a table"),
        (safetensors_bytes({"t": described(TABLE, "I32")}, TABLE.tobytes()), "of type I32; save the table as float32"),
        (b"PK\x03\x04" + b"x" * 50, "damaged or cut off"),
    ],
    ids=range(19),
)
def test_files_that_are_no_table(tmp_path, content, message):
    (tmp_path / "table").write_bytes(content)
    refused(tmp_path / "table", message)


def test_a_missing_file_a_folder_and_a_file_that_may_not_be_read(tmp_path):
    refused(tmp_path / "nothing.npy", "there is no such file; put it there")
    refused(tmp_path, "is a folder; give the file in it")
    path = npy(tmp_path)
    path.chmod(0)
    if not os.access(path, os.R_OK):
        refused(path, "may not be read")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[{}]], object), "a pickle, which is never opened"),
        (np.zeros(5), "is 5 float64, not a table"),
        (np.zeros((2, 2, 2)), "2 x 2 x 2 float64"),
        (np.zeros((2, 2), int), "of type int64"),
        (np.array(["a b"]), "not a table"),
    ],
)
@pytest.mark.parametrize("archive", [False, True])
def test_arrays_that_are_no_table(tmp_path, array, message, archive):
    path = tmp_path / "table"
    with path.open("wb") as file:
        if archive:
            np.savez(file, it=array)
        else:
            np.save(file, array, allow_pickle=True)
    refused(path, message)


def test_numpy_files_that_are_cut_off(tmp_path):
    path = npy(tmp_path)
    data = path.read_bytes()
    for length, message in ((len(data) - 1, "is cut off"), (40, "damaged header"), (7, "damaged header")):
        path.write_bytes(data[:length])
        refused(path, message)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is a pipe or a device; give a file")
    refused(npy(tmp_path), "is a pipe or a device; give a file", vocabulary=tmp_path / "pipe")
    refused(npy(tmp_path), "is a pipe or a device; give a file", vocabulary="/dev/zero")


def test_an_archive_that_grows_out_of_proportion_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("t.npy", "w") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (300 << 10, 256)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(300):
            file.write(bytes(1 << 20))
    refused(path, r"the array 't' would grow from \d+ to \d+ bytes; .* with numpy.savez")


def test_a_header_that_is_no_literal_and_a_name_that_is_no_text(tmp_path):
    path = npy(tmp_path)
    data = path.read_bytes()
    for damaged in (data.replace(b"}", b"("), data.replace(b"{", b")"), data.replace(b",", b"\n ")):
        path.write_bytes(damaged)
        refused(path, "the array has a damaged header")
    archive = tmp_path / "table.npz"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("\u00e9.npy", data)
    archive.write_bytes(archive.read_bytes().replace("\u00e9".encode(), b"\xff\xff"))
    refused(archive, "is damaged or cut off")


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "table.npz"
    np.savez_compressed(path, it=np.random.default_rng(0).standard_normal((300, 40)))
    data = bytearray(path.read_bytes())
    data[2000:2050] = bytes(50)
    path.write_bytes(data)
    refused(path, "the array 'it' (is damaged|cannot be read)")
    path.write_bytes(data[:3000])
    refused(path, "damaged or cut off")


def test_an_archive_of_something_else(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(tmp_path / "a.zip", r"an archive of readme\.txt; give a \.safetensors")


def test_several_tables_are_listed_with_their_shapes(tmp_path):
    path = tmp_path / "tables.npz"
    np.savez(path, left=matrix(), right=matrix(9), count=np.arange(3))
    message = r"holds 2 tables; name one with the option tensor: left \(7 x 4 float32\), right \(9 x 4 float32\)$"
    refused(path, message)
    refused(path, "holds no tensor 'up'; name one .* left", tensor="up")
    refused(path, "the tensor 'count' is 3 int64, not a table", tensor="count")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_embeddings": 8}, "num_embeddings=8 was asked for, but the table has 7; correct the option"),
        ({"embedding_dim": 5}, "embedding_dim=5 was asked for, but the table has 4"),
        ({"padding_idx": 7}, "padding_idx=7 is not a row of a table of 7"),
        ({"padding_idx": -8}, "padding_idx=-8"),
    ],
)
def test_a_table_that_is_not_what_was_declared(tmp_path, options, message):
    refused(npy(tmp_path), message, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v", "\n".join(WORDS[:-1]), "holds 6 tokens, but the table has 7 rows; give the vocabulary that belongs"),
        ("v", "\n".join([*WORDS, "plane"]), "holds 8 tokens"),
        ("v", json.dumps(WORDS[:-1]), "holds 6 tokens"),
        ("v", "\n".join([*WORDS[:-1], "cat"]), "the token 'cat' is line 3 and 7"),
        ("v", '{"cat": 1, "cat": 2}', "holds the token 'cat' twice"),
        ("v", '{"cat": 7}', "the token 'cat' has id 7, but the table has 7 rows"),
        ("v", '{"cat": -1}', "has id -1"),
        ("v", '{"cat": true}', "has no id but bool"),
        ("v", '{"model": {"vocab": {}}}', r"of a tokenizer\.json that is the part model\.vocab"),
        ("v", '["cat", 5]', "entry 1 is 5, not a token"),
        ("v.json", '["cat", ', "is not JSON"),
        ("v", "\n".join(f"{word} 12" for word in WORDS), "every line has white space in it, as '<pad> 12'"),
        ("v", " \n", "the vocabulary is empty"),
        ("v", b"caf\xe9", r"is not UTF-8 \(byte 3\)"),
    ],
)
def test_vocabularies_that_cannot_be(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(npy(tmp_path), message, vocabulary=path)


def test_an_unknown_row_that_is_not_there_and_a_missing_vocabulary(tmp_path):
    refused(npy(tmp_path), r"holds no token '\[UNK\]'", vocabulary=words(tmp_path), unknown="[UNK]")
    refused(npy(tmp_path), "there is no such file", vocabulary=tmp_path / "none.txt")
