"""What comes out: the rows, pooled as torch does, from every format and number type."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from tests.plugins.tables.tables import (
    INFO,
    WORDS,
    described,
    embed,
    loaded,
    matrix,
    npy,
    safetensors_bytes,
    words,
)
from vecdb import InvalidInputError, ItemError
from vecdb.embedding import EmbedderHost
from vecdb_tables.pooling import pooled
from vecdb_tables.table import Table

BITS = (np.arange(12, dtype=np.uint16) * 517 + 0x3F80).reshape(4, 3)  # of bfloat16 numbers from 1 up


def test_an_id_is_its_row(tmp_path):
    for text in ("4", " 4 ", "[4]", "(4)"):
        assert (embed(text, model=npy(tmp_path)) == matrix()[4]).all()


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
def test_several_ids_are_pooled(tmp_path, pooling):
    found = embed("[5, 2, 2]", model=npy(tmp_path), pooling=pooling)
    assert np.allclose(found, getattr(matrix()[[5, 2, 2]], pooling)(axis=0), atol=1e-6)


@pytest.mark.parametrize(("padding", "row"), [(0, 0), (-1, 6)])
def test_padding_is_left_out_of_the_mean(tmp_path, padding, row):
    embedder = loaded(model=npy(tmp_path), padding_idx=padding)
    assert embedder.prepare(f"2 {row} 3 {row}").tolist() == [2, 3]
    with pytest.raises(ItemError, match="nothing but padding"):
        embedder.prepare(f"{row} {row}")


def test_tokens_are_looked_up_and_unknown_ones_skipped(tmp_path):
    files = {"model": npy(tmp_path), "vocabulary": words(tmp_path)}
    assert (embed("the cat", **files) == matrix()[2]).all()
    assert (embed("The CAT", **files, lowercase=True) == matrix()[2]).all()
    assert np.allclose(embed("the cat", **files, unknown="<unk>"), matrix()[[1, 2]].mean(axis=0))
    with pytest.raises(ItemError, match="'the' is not in the vocabulary"):
        embed("the cat", **files, unknown="error")
    with pytest.raises(ItemError, match=r"none of the tokens of 'a horse'.*lowercase"):
        embed("a horse", **files)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(WORDS),
        json.dumps({word: row for row, word in enumerate(WORDS)}),
        json.dumps({"cat": 2, "chat": 2}),
        "\ufeff" + "\r\n".join(WORDS),
        "[PAD]\n\ncat\nkitten\na\u2028b\nc\nd",
    ],
    ids=["list", "object", "object of some rows", "windows lines", "first token in brackets"],
)
def test_vocabularies(tmp_path, content):
    (tmp_path / "vocab").write_text(content, "utf-8", newline="")
    assert (embed("cat", model=npy(tmp_path), vocabulary=tmp_path / "vocab") == matrix()[2]).all()


def test_a_fortran_table_in_another_byte_order_and_type(tmp_path):
    path = npy(tmp_path, np.asfortranarray(matrix().astype(">f8")))
    assert (embed("5", model=path) == matrix()[5]).all()


def test_npz_names_its_arrays(tmp_path):
    path = tmp_path / "tables.npz"
    np.savez_compressed(path, ids=np.arange(3), first=matrix(), second=matrix() * 2)
    assert (embed("5", model=path, tensor="second") == matrix()[5] * 2).all()


def test_half_precision(tmp_path):
    half = matrix().astype(np.float16)
    (tmp_path / "half").write_bytes(safetensors_bytes({"emb.weight": described(half, "F16")}, half.tobytes()))
    assert (embed("5", model=tmp_path / "half") == half[5].astype(np.float32)).all()


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path):
    (tmp_path / "b").write_bytes(safetensors_bytes({"t": described(BITS, "BF16")}, BITS.tobytes()))
    expected = np.frombuffer((BITS.astype("<u4") << 16).tobytes(), "<f4").reshape(4, 3)
    assert (embed("3", model=tmp_path / "b") == expected[3]).all()
    assert expected[0, 0] == 1.0


@pytest.mark.skipif(sys.platform == "win32", reason="its files take room on the disk, zeros or not")
def test_a_table_is_mapped_not_read(tmp_path):
    """40 GB of zeros in a file that takes no room on the disk; only the last row holds something."""
    header = {"big.weight": {"dtype": "F32", "shape": [10**8, 100], "data_offsets": [0, 4 * 10**10]}}
    with (tmp_path / "big").open("wb") as file:
        start = file.write(safetensors_bytes(header))
        file.seek(start + 4 * (10**10 - 100))
        file.write(np.arange(100, dtype="<f4").tobytes())
    assert (embed(str(10**8 - 1), model=tmp_path / "big") == np.arange(100)).all()


def test_the_table_of_tokens_is_found_among_others(tmp_path):
    table = matrix()
    one = {"dtype": "F32", "shape": [7, 4], "data_offsets": [0, table.nbytes]}
    header = {
        "__metadata__": {"format": "pt"},
        "embeddings.position_embeddings.weight": one,
        "embeddings.word_embeddings.weight": one,
        "layer.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    }
    (tmp_path / "bert").write_bytes(safetensors_bytes(header, table.tobytes()))
    assert (embed("5", model=tmp_path / "bert") == table[5]).all()


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
@pytest.mark.parametrize("block", [1, 300, 20_000])
def test_many_ids_are_gathered_in_blocks(monkeypatch, pooling, block):
    random = np.random.default_rng(0)
    items = [random.integers(0, 7, length) for length in (10_000, 1, 299, 300, 301, 5, 7, 2)]
    expected = [getattr(matrix()[ids].astype(float), pooling)(axis=0) for ids in items]
    monkeypatch.setattr("vecdb_tables.pooling._BLOCK", 4 * block)
    assert np.allclose(pooled(Table(matrix()), items, pooling), expected, rtol=1e-4, atol=1e-3)


def test_a_random_table_is_the_same_everywhere():
    """Golden numbers: they may never change, or databases would hold vectors of two tables."""
    found = embed("2", num_embeddings=1000, embedding_dim=3, seed=7)
    assert found.tolist() == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [0.0444669239, -0.0926343501, -1.7498716116]


def test_a_random_table_is_normal_and_grows_at_its_end():
    small, large = (loaded(num_embeddings=rows, embedding_dim=50)._table.matrix for rows in (999, 30_000))
    assert (large[:999] == small).all()
    assert abs(large.mean()) < 0.003
    assert abs(large.std() - 1) < 0.003
    assert abs((large**4).mean() - 3) < 0.03  # the kurtosis of the normal distribution
    assert np.abs(np.corrcoef(large[:1000])[np.triu_indices(1000, 1)]).mean() < 0.13


def test_other_seeds_other_rows():
    options = {"num_embeddings": 10, "embedding_dim": 300}
    one, two = embed("3", **options), embed("3", **options, seed=1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.2


def test_a_row_that_is_not_finite_costs_its_items_only(tmp_path):
    table = matrix()
    table[4, 1], table[5, 0], table[6] = np.nan, np.inf, 0
    with EmbedderHost(INFO, INFO.configure({"model": npy(tmp_path, table)})) as host:
        result = host.embed(["2", "1 4", "5", "3", "6"])
    assert [(error.index, str(error)[:30]) for error in result.errors] == [
        (1, "row 4 of the table holds NaN o"),
        (2, "row 5 of the table holds NaN o"),
        (4, "nothing in this item is known "),
    ]
    assert (result.vectors[3] == matrix()[3]).all()


def test_a_float64_that_is_no_float32_is_an_error_of_the_item(tmp_path):
    with pytest.raises(ItemError, match="row 0 of the table"):
        embed("0", model=npy(tmp_path, np.full((2, 2), 1e300)))
    with pytest.raises(ItemError, match="add up to more"):
        embed("0 1", model=npy(tmp_path, np.full((2, 2), 3e38)), pooling="sum")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give its file as model, or num_embeddings and embedding_dim"),
        ({"num_embeddings": 5}, "give its file as model"),
        ({"num_embeddings": 0, "embedding_dim": 2}, "num_embeddings=0"),
        ({"num_embeddings": 2**20, "embedding_dim": 2**20}, "would not fit into memory"),
        ({"num_embeddings": 5, "embedding_dim": 2, "seed": -1}, "seed=-1"),
        ({"num_embeddings": 5, "embedding_dim": 2, "tensor": "x"}, "names a table in a file"),
        ({"model": "a.npy", "seed": 3}, "leave out one of the two"),
        ({"model": "a.npy", "lowercase": True}, "give a vocabulary too"),
        ({"model": "a.npy", "vocabulary": "v", "unknown": "a b"}, "one token of the vocabulary"),
        ({"model": "a.npy", "pooling": "min"}, "'mean', 'sum', 'max'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(InvalidInputError, match=message):
        INFO.configure(options)
