"""`static`: files that are missing, damaged, hostile or of another format."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from tests.plugins.text import onnx_models as models
from vecdb import EmbedderUnavailableError

pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")

TABLE = models.weights()[0]


@pytest.fixture
def folder(tmp_path):
    return models.static_folder(tmp_path / "m")


def refusal(folder, **options):
    """What loading says."""
    embedder = models.embedder("static", folder, **options)
    with pytest.raises(EmbedderUnavailableError) as raised:
        embedder.load()
    return str(raised.value)


def test_no_folder(tmp_path):
    assert "there is no" in refusal(tmp_path / "nothing")


def test_no_table(folder):
    (folder / "model.safetensors").unlink()
    assert "has no model.safetensors; there is no .safetensors file" in refusal(folder)


def test_several_tables(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    for name in ("a_64.safetensors", "b_64.safetensors"):
        (folder / name).write_bytes(data)
    assert "there is a_64.safetensors, b_64.safetensors: give the file itself" in refusal(folder)


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json, which does not exist" in refusal(folder)
    assert "no.json, which does not exist" in refusal(folder, tokenizer=folder / "no.json")


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_a_table_cut_short(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be used as safetensors" in refusal(folder)


@pytest.mark.parametrize("content", [pickle.dumps({"embeddings": TABLE}), b"PK\x03\x04" * 20, b"\xff" * 100])
def test_something_else_called_safetensors(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert "cannot be used as safetensors" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [10**9, 10**9]},
        {"shape": [10, 8]},
        {"shape": [-1, 8]},
        {"shape": "all"},
        {"data_offsets": [0, 10**12]},
        {"data_offsets": [64, 0]},
        {"dtype": "OBJECT"},
        {"dtype": "BOOL", "shape": [TABLE.size * 4]},
    ],
)
def test_a_header_that_claims_what_is_not_there(folder, changes):
    models.write_safetensors(folder / "model.safetensors", {"embeddings": ("F32", TABLE)}, **changes)
    assert "cannot be used as safetensors" in refusal(folder)


def test_arrays_that_overlap(folder):
    path = folder / "model.safetensors"
    models.write_safetensors(
        path,
        {"embeddings": ("F32", TABLE), "weights": ("F32", np.ones(len(TABLE)))},
        data_offsets=[len(TABLE) * 4, TABLE.nbytes + len(TABLE) * 4],
    )
    assert "cannot be used as safetensors" in refusal(folder)


def test_a_header_of_another_length(folder):
    path = folder / "model.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    assert "cannot be used as safetensors" in refusal(folder)


def test_arrays_of_another_model(folder):
    models.write_safetensors(folder / "model.safetensors", {"encoder.layer.0.weight": ("F32", TABLE)})
    assert "holds encoder.layer.0.weight, not the array `embeddings`" in refusal(folder)
    models.write_safetensors(folder / "model.safetensors", {"embeddings": ("F32", TABLE[0])})
    assert "not 2 axes" in refusal(folder)


def test_a_table_and_a_tokenizer_of_different_models(folder):
    models.write_safetensors(folder / "model.safetensors", {"embeddings": ("F32", TABLE[:-1])})
    assert "do not belong together" in refusal(folder)


def test_a_mapping_to_rows_that_do_not_exist(folder):
    mapping = np.zeros(len(TABLE))
    mapping[3] = len(TABLE)
    models.write_safetensors(
        folder / "model.safetensors", {"embeddings": ("F32", TABLE), "mapping": ("I64", mapping)}
    )
    assert "do not belong together" in refusal(folder)


def test_a_model_with_more_steps_than_a_table(tmp_path):
    folder = models.static_folder(tmp_path / "m", kind="StaticEmbedding")
    models.write_json(folder / "modules.json", [{"type": "a.StaticEmbedding"}, {"type": "a.Dense"}])
    assert "has the step Dense" in refusal(folder)


@pytest.mark.parametrize("config", [{"max_length": "long"}, {"max_length": 0}, {"normalize": "yes"}])
def test_settings_of_the_wrong_kind(folder, config):
    models.write_json(folder / "config.json", config)
    assert "config.json" in refusal(folder)


def test_a_larger_dimension_than_the_table_has(folder):
    assert "has 8 columns, not dimension=9" in refusal(folder, dimension=9)


def test_a_tokenizer_that_is_none(folder):
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel"}}))
    assert "does not hold a tokenizer" in refusal(folder)
