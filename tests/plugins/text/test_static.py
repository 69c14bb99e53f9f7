"""`static`: its vectors, beside the same arithmetic in numpy, for each of its formats."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugins.text import onnx_models as models
from vecdb import InvalidInputError

pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")

TABLE = models.weights()[0]
FORMATS = ("model2vec", "StaticEmbedding", "WordLlama")


def rows(text):
    return TABLE[[models.VOCABULARY.get(word, models.VOCABULARY["[UNK]"]) for word in text.split()]]


def vectors(folder, texts, **options):
    with models.host("static", folder, **options) as host:
        return host.embed(texts).check()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("F32", 1e-6), ("F16", 1e-3), ("BF16", 1e-2), ("F64", 1e-6)])
def test_the_mean_of_the_rows(tmp_path, kind, dtype, tolerance):
    folder = models.static_folder(tmp_path / "m", kind=kind, dtype=dtype)
    expected = np.stack([rows(text).mean(axis=0) for text in models.TEXTS])
    np.testing.assert_allclose(vectors(folder, models.TEXTS), expected, atol=tolerance)


def test_unknown_words_are_left_out_by_model2vec_and_have_a_row_in_the_others(tmp_path):
    text = "the zebra dog"
    for kind in FORMATS:
        found = vectors(models.static_folder(tmp_path / kind, kind=kind), [text])[0]
        expected = rows("the dog") if kind == "model2vec" else rows(text)
        np.testing.assert_allclose(found, expected.mean(axis=0), atol=1e-6, err_msg=kind)


@pytest.mark.parametrize("kind", ["model2vec", "StaticEmbedding"])
def test_normalised_as_the_files_say_or_as_asked(tmp_path, kind):
    folder = models.static_folder(tmp_path / "m", kind=kind, normalize=True)
    assert np.linalg.norm(vectors(folder, ["the dog"])[0]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
        vectors(folder, ["the dog"], normalise=False)[0], rows("the dog").mean(axis=0), atol=1e-6
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_first_numbers_only(tmp_path, kind):
    folder = models.static_folder(tmp_path / "m", kind=kind)
    found = vectors(folder, ["the dog"], dimension=3)
    np.testing.assert_allclose(found[0], rows("the dog").mean(axis=0)[:3], atol=1e-6)


def test_a_vocabulary_that_was_quantised(tmp_path):
    folder = models.static_folder(tmp_path / "m")
    random = np.random.default_rng(1)
    mapping = random.integers(0, 4, len(TABLE))
    weights = random.random(len(TABLE)).astype(np.float32)
    models.write_safetensors(
        folder / "model.safetensors",
        {"embeddings": ("F16", TABLE[:4]), "mapping": ("I32", mapping), "weights": ("F32", weights)},
    )
    numbers = [models.VOCABULARY["the"], models.VOCABULARY["dog"]]
    expected = (TABLE[mapping[numbers]] * weights[numbers, None]).mean(axis=0)
    np.testing.assert_allclose(vectors(folder, ["the dog"])[0], expected, atol=1e-3)


def test_model2vec_reads_as_many_tokens_as_its_config_says(tmp_path):
    folder = models.static_folder(tmp_path / "m", max_length=3)
    text = "the dog runs in the red house"
    with models.host("static", folder) as host:
        found = host.embed([text, "the dog runs"])
    assert found.truncated == (0,)
    np.testing.assert_allclose(found.vectors[0], rows("the dog runs").mean(axis=0), atol=1e-6)
    whole = rows(text).mean(axis=0)
    np.testing.assert_allclose(vectors(folder, [text], on_truncate="mean")[0], whole, atol=1e-6)
    np.testing.assert_allclose(vectors(folder, [text], max_length=0)[0], whole, atol=1e-6)


def test_model2vec_cuts_long_words_before_it_counts_tokens(tmp_path):
    # It reads max_length tokens of the median length of a token: here 2 * 4 characters.
    folder = models.static_folder(tmp_path / "m", max_length=2)
    with models.host("static", folder) as host:
        found = host.embed(["sleeps garden"])
    assert found.truncated == (0,)
    np.testing.assert_allclose(found.vectors[0], rows("sleeps").mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["StaticEmbedding", "WordLlama"])
def test_the_others_read_all_of_a_text(tmp_path, kind):
    text = "the dog runs " * 5000
    found = vectors(models.static_folder(tmp_path / "m", kind=kind), [text])[0]
    np.testing.assert_allclose(found, rows("the dog runs").mean(axis=0), atol=1e-4)


def test_wordllama_gives_tokens_beyond_its_table_the_last_row(tmp_path):
    folder = models.static_folder(tmp_path / "m", kind="WordLlama")
    models.write_safetensors(folder / "model.safetensors", {"embedding.weight": ("F16", TABLE[:10])})
    np.testing.assert_allclose(vectors(folder, ["six"])[0], TABLE[9], atol=1e-2)


def test_the_package_of_wordllama_as_it_is(tmp_path):
    made = models.static_folder(tmp_path / "made", kind="WordLlama")
    for name, place in (
        ("model.safetensors", "weights/l2_supercat_8.safetensors"),
        ("tokenizer.json", "tokenizers/l2_supercat_tokenizer_config.json"),
    ):
        (tmp_path / "wordllama" / place).parent.mkdir(parents=True)
        (made / name).rename(tmp_path / "wordllama" / place)
    expected = rows("the dog").mean(axis=0)
    for model in (tmp_path / "wordllama", tmp_path / "wordllama" / "weights" / "l2_supercat_8.safetensors"):
        np.testing.assert_allclose(vectors(model, ["the dog"])[0], expected, atol=1e-6)


def test_a_tokenizer_elsewhere(tmp_path):
    folder = models.static_folder(tmp_path / "m", kind="WordLlama")
    (folder / "tokenizer.json").rename(tmp_path / "words.json")
    found = vectors(folder / "model.safetensors", ["the dog"], tokenizer=tmp_path / "words.json")[0]
    np.testing.assert_allclose(found, rows("the dog").mean(axis=0), atol=1e-6)


def test_the_librarys_own_folder_and_vectors(tmp_path):
    from tests.plugins.text import transformer_models

    folder = transformer_models.static_folder(tmp_path / "m")
    texts = [*transformer_models.TEXTS, transformer_models.LONG, "zebra ?"]
    theirs = transformer_models.reference(folder).encode(texts)
    np.testing.assert_allclose(vectors(folder, texts), theirs, atol=1e-6)


def test_a_text_of_unknown_words_alone(tmp_path):
    with models.host("static", models.static_folder(tmp_path / "m")) as host:
        errors = host.embed(["the dog", "zebra xylophone"]).errors
    assert [error.index for error in errors] == [1]
    assert "nothing in this item is known" in str(errors[0])


@pytest.mark.parametrize("options", [{"dimension": 0}, {"max_length": -1}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidInputError):
        models.INFOS["static"].configure({"model": "m", **options})
