"""`elmo`: words, layers and pooling, against plain arithmetic and the vectors of the original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.text import elmo_models
from tests.shared import needs_shared, shared
from vecdb import Embedder, InvalidInputError, ItemError, Windows
from vecdb.testing import EmbedderContract
from vecdb_text import vecdb_register_embedders
from vecdb_text.elmo import tokens
from vecdb_text.elmo.arithmetic import Arithmetic, TorchArithmetic
from vecdb_text.elmo.bilm import BiLM
from vecdb_text.elmo.files import find_model, read_options
from vecdb_text.elmo.hdf5_weights import WeightsFile

pytest.importorskip("h5py")

INFO = next(info for info in vecdb_register_embedders() if info.name == "elmo")
GOOD = ["the cat sat on the mat .", "dogs", "a much longer sentence about nothing in particular , really", "naïve 🙂"]


def embedder(model: Path, **options: Any) -> Embedder:
    made = INFO.create(INFO.configure({"model": model, **options}))
    made.load()
    return made


def embed(made: Embedder, *texts: str) -> np.ndarray:
    return np.asarray(made.encode([made.prepare(text) for text in texts], "document"))


def bilm(folder: Path, arithmetic: Arithmetic | None = None) -> BiLM:
    options, weights = find_model(folder, None)
    with WeightsFile(weights) as opened:
        return BiLM(read_options(options), opened, arithmetic or Arithmetic())


class TestElmo(EmbedderContract):
    info = INFO
    good = [*GOOD, "window " * 700]
    bad = (" \t\n",)
    runtime_change = {"device": "auto"}
    vector_change = {"layers": "1"}
    near = ("the cat sat", "the cat sat .", "dogs bark loudly")

    def set_up(self, folder: Path) -> None:
        self.config = {"model": elmo_models.write_model(folder)}


# --- words ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, (it) sat.", "The cat , ( it ) sat ."),
        ("It wasn't Murray's.", "It wasn 't Murray 's ."),
        ("Ms. Winfrey of the U.S. left", "Ms. Winfrey of the U.S. left"),
        ("bio-identical 1,000.5% \"so-called\"...", 'bio-identical 1,000.5 % " so-called " ...'),
        ("'quoted' words--here", "' quoted ' words -- here"),
        ("प्रेम안녕 a_b", "प्रेम안녕 a_b"),
    ],
)
def test_words_are_split_as_in_the_training_text(text: str, expected: str) -> None:
    assert list(tokens.words(text)) == expected.split()


@needs_shared("elmo")
def test_text_that_is_split_already_stays_so() -> None:
    sentences = [text for part in json.loads(shared("elmo", "sentences.json").read_text()) for text in part]
    assert len(sentences) == 30
    for text in sentences:
        assert list(tokens.words(text)) == text.split()


def test_words_are_parts_of_what_the_model_reads(tmp_path: Path) -> None:
    made = embedder(elmo_models.write_model(tmp_path))  # 20 characters, 18 without the frame
    assert made.prepare("a" * 40 + " b") == ("a" * 18, "a" * 18, "aaaa", "b")
    assert made.prepare("가" * 7) == ("가" * 6, "가")
    assert made.prepare("x,y") == ("x,y",)
    assert made.prepare("x ,y") == ("x", ",", "y")
    whitespace = embedder(tmp_path, tokenizer="whitespace")
    assert whitespace.prepare("x ,y. ") == ("x", ",y.")
    with pytest.raises(ItemError, match="there is no word in the text; give one"):
        made.prepare(" \n")


def test_long_texts_are_windows(tmp_path: Path) -> None:
    made = embedder(elmo_models.write_model(tmp_path), max_tokens=3)
    assert made.prepare("a b c") == ("a", "b", "c")
    parts = made.prepare("a b c d e f g")
    assert isinstance(parts, Windows)
    assert parts.parts == [("a", "b", "c"), ("d", "e", "f"), ("g",)]


# --- layers ---


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_layers": 3},
        {"n_layers": 1, "n_highway": 0},
        {"activation": "tanh", "use_skip_connections": False, "cell_clip": 0, "proj_clip": None},
        {"cell_clip": 0.2, "proj_clip": 0.1, "n_characters": 261},
    ],
)
def test_layers_are_those_of_plain_arithmetic(tmp_path: Path, changes: dict[str, Any]) -> None:
    of = elmo_models.options(**changes)
    weights = elmo_models.tensors(of)
    model = bilm(elmo_models.write_model(tmp_path, of, weights))
    sentences = sorted((text.split() for text in GOOD), key=len, reverse=True)
    layers = np.stack(model.layers(sentences, of["lstm"]["n_layers"]))
    start = 0
    for words in sentences:
        expected = elmo_models.plain_layers(of, weights, words)
        np.testing.assert_allclose(layers[:, start : start + len(words)], expected, atol=3e-6)
        start += len(words)
    assert layers.shape[1] == start


def test_layers_and_pooling(tmp_path: Path) -> None:
    weights = elmo_models.tensors()
    folder = elmo_models.write_model(tmp_path, weights=weights)
    plain = elmo_models.plain_layers(elmo_models.OPTIONS, weights, ["the", "cat", "sat"])
    softmax = np.exp([1.0, 0.0, -1.0]) / np.exp([1.0, 0.0, -1.0]).sum()
    mix = 2 * np.einsum("l,lwd->wd", softmax, plain)
    for options, expected in (
        ({}, plain.mean(axis=0).mean(axis=0)),
        ({"layers": "0"}, plain[0].mean(axis=0)),
        ({"layers": "1"}, plain[1].mean(axis=0)),
        ({"layers": "2", "pooling": "max"}, plain[2].max(axis=0)),
        ({"layers": "concat"}, np.concatenate(list(plain.mean(axis=1)))),
        ({"layers": "mix", "layer_weights": (1.0, 0.0, -1.0), "gamma": 2.0}, mix.mean(axis=0)),
        ({"layers": "mix", "layer_weights": (1000.0, 0.0, 0.0)}, plain[0].mean(axis=0)),
    ):
        made = embedder(folder, **options)
        assert made.dimension == len(expected)
        np.testing.assert_allclose(embed(made, "the cat sat", *GOOD)[0], expected, atol=3e-6)


def test_many_long_texts_are_computed_in_parts(tmp_path: Path) -> None:
    made = embedder(elmo_models.write_model(tmp_path), max_tokens=5000)
    texts = [f"word{i} " * 3000 for i in range(5)]
    together = embed(made, *texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(embed(made, text)[0], vector, atol=1e-5)


def test_the_memory_of_words_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecdb_text.elmo.character_cnn._REMEMBERED_WORDS", 8)
    folder = elmo_models.write_model(tmp_path)
    made = embedder(folder)
    expected = {text: embed(made, text)[0] for text in GOOD}
    for text in GOOD * 3:
        np.testing.assert_allclose(embed(made, text)[0], expected[text], atol=1e-6)
    np.testing.assert_allclose(embed(made, *GOOD), list(expected.values()), atol=1e-6)  # more words than it holds


def test_torch_gives_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = elmo_models.write_model(tmp_path)
    sentences = sorted((text.split() for text in GOOD), key=len, reverse=True)
    on_torch = TorchArithmetic(torch, "cpu")
    for ours, theirs in zip(
        bilm(folder).layers(sentences, 2), bilm(folder, on_torch).layers(sentences, 2), strict=True
    ):
        np.testing.assert_allclose(on_torch.numpy(theirs), ours, atol=3e-6)


# --- the original ---


@needs_shared("elmo")
def test_vectors_of_the_original() -> None:
    model = bilm(shared("elmo"))
    sentences = json.loads(shared("elmo", "sentences.json").read_text())
    golden = np.load(shared("elmo", "golden_stateless.npz"))
    worst = 0.0
    for name in golden:
        part, number = map(int, name.split("_"))
        layers = np.stack(model.layers([sentences[part][number].split()], 2))
        worst = max(worst, float(np.abs(layers - golden[name]).max()))
    assert worst < 1e-5


@needs_shared("elmo")
def test_the_vectors_of_a_whole_batch_are_those_of_the_original() -> None:
    made = embedder(shared("elmo"), tokenizer="whitespace", layers="concat")
    sentences = json.loads(shared("elmo", "sentences.json").read_text())
    golden = np.load(shared("elmo", "golden_stateless.npz"))
    names = sorted(golden)
    texts = [sentences[int(name[0])][int(name[2:])] for name in names]
    expected = np.stack([golden[name].mean(axis=1).ravel() for name in names])
    np.testing.assert_allclose(embed(made, *texts), expected, atol=1e-5)


@needs_shared("elmo")
def test_with_state_carried_on_the_published_vectors_come_out() -> None:
    import h5py

    model = bilm(shared("elmo"))
    sentences = json.loads(shared("elmo", "sentences.json").read_text())
    for part, texts in enumerate(sentences):
        states = (model.nothing(1), model.nothing(1))
        with h5py.File(shared("elmo", f"lm_embeddings_{part}.hdf5")) as golden:
            for number, text in enumerate(texts):
                top = model.layers([text.split()], 2, states)[2]
                np.testing.assert_allclose(top, np.concatenate(list(golden[str(number)]), axis=1), atol=1e-5)


# --- options ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "top"}, "layers='top' must be average, concat, mix"),
        ({"layers": "mix"}, "go together; give both or neither"),
        ({"layer_weights": (1.0, 2.0)}, "go together; give both or neither"),
        ({"layers": "mix", "layer_weights": (1.0, float("nan"))}, "'layer_weights' must be a finite number"),
        ({"gamma": 0.0}, "gamma not 0"),
        ({"max_tokens": 0}, "max_tokens=0 must be from 1"),
        ({"pooling": "sum"}, "pooling='sum' must be one of"),
        ({"device": "gpu"}, "device='gpu' must be auto"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        INFO.configure({"model": "x", **options})


def test_options_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    folder = elmo_models.write_model(tmp_path)
    with pytest.raises(InvalidInputError, match="the model has no layer 3; its layers are 0 to 2"):
        embedder(folder, layers="3")
    with pytest.raises(InvalidInputError, match="layer_weights has 2 numbers, the model 3 layers; give one a layer"):
        embedder(folder, layers="mix", layer_weights=(1.0, 2.0))
