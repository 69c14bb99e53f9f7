"""`onnx`: its vectors, beside the same arithmetic in numpy, and what its files and options decide."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugins.text import onnx_models as models
from vecdb import InvalidInputError

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

THE, DOG, CLS, SEP, UNKNOWN = (models.VOCABULARY[word] for word in ("the", "dog", "[CLS]", "[SEP]", "[UNK]"))
THE_DOG = [CLS, THE, DOG, SEP]


def vector(folder, text="the dog", role="document", **options):
    with models.host("onnx", folder, **options) as host:
        return host.embed([text, "a small cat runs in the garden"], role).check()[0]


@pytest.mark.parametrize("integers", ["INT64", "INT32"])
@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings"])
def test_the_mean_of_the_token_vectors(tmp_path, output, integers):
    folder = models.onnx_folder(tmp_path / "m", output=output, integers=integers)
    np.testing.assert_allclose(vector(folder), models.token_vectors(THE_DOG).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True}, lambda t: t[0]),
        ({"pooling_mode_max_tokens": True}, lambda t: t.max(axis=0)),
        ({"pooling_mode": "lasttoken"}, lambda t: t[-1]),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, lambda t: t.sum(axis=0) / 2),
        ({"pooling_mode_weightedmean_tokens": True}, lambda t: np.array([1, 2, 3, 4]) @ t / 10),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            lambda t: np.concatenate([t[0], t.mean(axis=0)]),
        ),
    ],
)
def test_poolings_beside_a_longer_text(tmp_path, config, expected):
    folder = models.onnx_folder(tmp_path / "m", pooling=config)
    np.testing.assert_allclose(vector(folder), expected(models.token_vectors(THE_DOG)), atol=1e-6)


def test_poolings_are_those_of_the_library():
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers").sentence_transformer.modules
    from vecdb_text.onnx_encoder.config import POOLINGS
    from vecdb_text.onnx_encoder.pooling import pool

    random = np.random.default_rng(0)
    tokens = random.standard_normal((3, 5, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    features = {"token_embeddings": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}
    for mode in POOLINGS:
        theirs = library.Pooling(4, mode)(dict(features))["sentence_embedding"].numpy()
        np.testing.assert_allclose(pool(tokens, mask, [mode]), theirs, atol=1e-6, err_msg=mode)


def test_a_graph_that_pools_for_itself(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", output="sentence_embedding", pooling={"pooling_mode_cls_token": True})
    with models.host("onnx", folder) as host:
        found = host.embed(["the dog"]).check()[0]
    np.testing.assert_allclose(found, models.token_vectors(THE_DOG).mean(axis=0), atol=1e-6)


def test_normalised_as_modules_say_or_as_asked(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", normalise=True)
    assert np.linalg.norm(vector(folder)) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(vector(folder, normalise=False)) != pytest.approx(1, abs=1e-3)


def test_first_numbers_only(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    whole = vector(folder)[:3]
    np.testing.assert_allclose(vector(folder, dimension=3), whole / np.linalg.norm(whole), atol=1e-6)


def test_options_go_before_files(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    np.testing.assert_allclose(vector(folder, pooling="cls"), models.token_vectors(THE_DOG)[0], atol=1e-6)


def test_prompts_of_roles(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    models.write_json(
        folder / "config_sentence_transformers.json", {"prompts": {"query": "query : ", "passage": ""}}
    )
    query = [CLS, models.VOCABULARY["query"], models.VOCABULARY[":"], THE, DOG, SEP]
    np.testing.assert_allclose(vector(folder, role="query"), models.token_vectors(query).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(vector(folder), models.token_vectors(THE_DOG).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(
        vector(folder, role="query", query_prompt=""), models.token_vectors(THE_DOG).mean(axis=0), atol=1e-6
    )


def test_a_long_text_is_marked_and_its_beginning_embedded(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", max_length=5)
    with models.host("onnx", folder) as host:
        found = host.embed(["the dog runs in the red house", "the dog runs"])
    assert found.truncated == (0,)
    np.testing.assert_allclose(found.vectors[0], found.vectors[1], atol=1e-6)


def test_all_parts_of_a_long_text(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", max_length=5)
    with models.host("onnx", folder, on_truncate="mean", pooling="mean") as host:
        mean, *parts = host.embed(["the dog runs in the red house", "the dog runs", "in the", "red house"]).check()
    # The first part has 5 tokens with its special ones, the others 4 each.
    np.testing.assert_allclose(mean, (5 * parts[0] + 4 * parts[1] + 4 * parts[2]) / 13, atol=1e-6)


def test_lengths_come_from_the_model_files(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", max_length=5)
    (folder / "sentence_bert_config.json").unlink()
    models.write_json(folder / "tokenizer_config.json", {"model_max_length": 6})
    models.write_json(folder / "config.json", {"max_position_embeddings": 100})
    text = "one two three four five six"
    six = [CLS, *(models.VOCABULARY[word] for word in text.split()[:4]), SEP]
    np.testing.assert_allclose(vector(folder, text), models.token_vectors(six).mean(axis=0), atol=1e-6)
    seven = [CLS, *(models.VOCABULARY[word] for word in text.split()[:5]), SEP]
    np.testing.assert_allclose(
        vector(folder, text, max_length=7), models.token_vectors(seven).mean(axis=0), atol=1e-6
    )


def test_one_of_several_graphs(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    other = models.onnx_folder(tmp_path / "other", output="sentence_embedding")
    (other / "model.onnx").rename(folder / "pooled.onnx")
    assert models.embedder("onnx", folder).weights()[0].name == "model.onnx"
    assert models.embedder("onnx", folder, file="pooled.onnx").weights()[0].name == "pooled.onnx"
    assert models.embedder("onnx", folder / "pooled.onnx").weights()[0].name == "pooled.onnx"


def test_a_graph_in_a_folder_of_its_own(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    expected = models.token_vectors(THE_DOG).mean(axis=0)
    np.testing.assert_allclose(vector(folder), expected, atol=1e-6)
    np.testing.assert_allclose(vector(folder / "onnx" / "model.onnx"), expected, atol=1e-6)


def test_weights_beside_the_graph_are_fingerprinted(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", external="its weights.bin")
    np.testing.assert_allclose(vector(folder), models.token_vectors(THE_DOG).mean(axis=0), atol=1e-6)
    data = folder / "its weights.bin"
    assert data in models.embedder("onnx", folder).weights()
    before = models.host("onnx", folder).fingerprint()
    data.write_bytes(bytes(4) + data.read_bytes()[4:])
    assert models.host("onnx", folder).fingerprint() != before


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "1_Pooling/config.json", "sentence_bert_config.json", "modules.json"]
)
def test_settings_are_fingerprinted(tmp_path, name):
    folder = models.onnx_folder(tmp_path / "m")
    before = models.host("onnx", folder).fingerprint()
    (folder / name).write_text((folder / name).read_text() + " ")
    assert models.host("onnx", folder).fingerprint() != before


def test_lower_case_where_the_model_asks_for_it(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"normalizer":{"type":"Lowercase"}', '"normalizer":null'))
    path.write_text(path.read_text().replace('"normalizer": {\n    "type": "Lowercase"\n  }', '"normalizer": null'))
    unknown = models.token_vectors([CLS, UNKNOWN, UNKNOWN, SEP]).mean(axis=0)
    np.testing.assert_allclose(vector(folder, "THE DOG"), unknown, atol=1e-6)
    models.write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": True})
    np.testing.assert_allclose(vector(folder, "THE DOG"), models.token_vectors(THE_DOG).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"dimension": 0}, {"max_length": 1}, {"device": "tpu"}, {"threads": -1}, {"file": "../x"}, {"pooling": "median"}],
)
def test_options_out_of_range(options):
    with pytest.raises(InvalidInputError):
        models.INFOS["onnx"].configure({"model": "m", **options})
