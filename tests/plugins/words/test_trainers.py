"""Training word2vec, GloVe and both algorithms of fastText: what they learn, and the files they write."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.words.corpora import TOPICS, topic_texts, train
from tests.plugins.words.models import cosines, embed, embedder
from vecdb import InvalidInputError
from vecdb_words.fasttext_binary import read_fasttext
from vecdb_words.reading import read_word_vectors
from vecdb_words.training import GloveTrainer, Word2VecTrainer
from vecdb_words.training_config import GloveTraining, Word2VecTraining

WORD2VEC = [
    {
        "algorithm": algorithm,
        "loss": loss,
        "initialisation": initialisation,
        "sample": 1.0,
        "epochs": 20 if initialisation == "random" else 3,
    }
    for algorithm in ("skipgram", "cbow")
    for loss in ("negative_sampling", "hierarchical_softmax")
    for initialisation in ("cooccurrence", "random")
]
KINDS: list[tuple[str, Mapping[str, Any]]] = [
    *(("word2vec", options) for options in WORD2VEC),
    ("fasttext", {"algorithm": "cbow", "initialisation": "random", "buckets": 500, "epochs": 40}),
    ("fasttext", {"algorithm": "cbow", "buckets": 500}),
    ("glove", {"epochs": 40}),
]


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_words_of_one_topic_come_together(tmp_path: Path, name: str, options: Mapping[str, Any]) -> None:
    """Any two words of one topic are nearer than any two of different topics."""
    path = tmp_path / ("m.txt" if name == "glove" else "m.bin")
    report = train(path, topic_texts(), name, dimension=20, **options)
    assert (report["texts"], report["words"], report["vocabulary"], report["dimension"]) == (300, 3600, 14, 20)
    made = embedder(name, model=path, pooling="mean", remove_components=0)
    sea, kitchen = (embed(made, TOPICS[topic]) for topic in ("sea", "kitchen"))
    within = [cosines(group[[i]], group[[j]])[0] for group in (sea, kitchen) for i in range(6) for j in range(i)]
    across = [cosines(one[None], other[None])[0] for one in sea for other in kitchen]
    assert min(within) > max(across) + 0.1


@pytest.mark.parametrize("name", ["m.bin", "m.txt", "m.vec", "m.bin.gz", "m.txt.gz", "m"])
def test_word2vec_files(tmp_path: Path, name: str) -> None:
    """Text or binary by the name, with a header, most frequent words first; the same numbers in each."""
    train(tmp_path / name, topic_texts(), "word2vec", dimension=8, epochs=1)
    train(tmp_path / "other.bin", topic_texts(), "word2vec", dimension=8, epochs=1)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x1f\x8b") == name.endswith(".gz")
    content = gzip.decompress(content) if name.endswith(".gz") else content
    header, _, rest = content.partition(b"\n")
    assert header == b"14 8"
    found, expected = read_word_vectors(tmp_path / name), read_word_vectors(tmp_path / "other.bin")
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    assert list(found.index) == list(expected.index)
    if ".bin" in name:
        word, _, numbers = rest.partition(b" ")
        np.testing.assert_array_equal(struct.unpack_from("<8f", numbers), found.matrix[found.index[word.decode()]])
        assert numbers[32:33] == b"\n"
    elif name != "m":
        assert len(rest.decode().splitlines()) == 14
        assert all(len(line.split()) == 9 for line in rest.decode().splitlines())


@pytest.mark.parametrize("name", ["m.txt", "m.txt.gz"])
def test_glove_files(tmp_path: Path, name: str) -> None:
    """Lines of text without a header, read back by `glove`."""
    report = train(tmp_path / name, topic_texts(), "glove", dimension=8, epochs=2)
    content = (tmp_path / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    assert len(text.splitlines()) == 14
    assert all(len(line.split()) == 9 for line in text.splitlines())
    assert report["cost"] > 0
    assert embedder("glove", model=tmp_path / name).dimension == 8


def test_the_cost_of_glove_falls(tmp_path: Path) -> None:
    costs = [train(tmp_path / "m.txt", topic_texts(), "glove", dimension=8, epochs=n)["cost"] for n in (1, 5, 25)]
    assert all(after < before for before, after in pairwise(costs))


@pytest.mark.parametrize("algorithm", ["skipgram", "cbow"])
def test_fasttext_files_say_which_algorithm(tmp_path: Path, algorithm: str) -> None:
    """The number of the model in the official format: 1 is CBOW, 2 skip-gram."""
    train(tmp_path / "m.bin", topic_texts(), "fasttext", dimension=8, buckets=100, algorithm=algorithm)
    assert struct.unpack_from("<12i", (tmp_path / "m.bin").read_bytes(), 8)[7] == {"cbow": 1, "skipgram": 2}[algorithm]
    assert read_fasttext(tmp_path / "m.bin").rows("sailorr")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("word2vec", {}),
        ("word2vec", {"algorithm": "cbow", "loss": "hierarchical_softmax", "initialisation": "random"}),
        ("fasttext", {"algorithm": "cbow", "buckets": 100}),
        ("glove", {}),
    ],
)
def test_the_same_seed_gives_the_same_file(tmp_path: Path, name: str, options: Mapping[str, Any]) -> None:
    digests = []
    for number, seed in enumerate((7, 7, 8)):
        path = tmp_path / f"{number}.txt.gz"
        train(path, topic_texts(), name, dimension=8, epochs=2, seed=seed, **options)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("trainer", "options"), [(Word2VecTrainer, Word2VecTraining(epochs=3)), (GloveTrainer, GloveTraining(epochs=3))]
)
def test_progress_runs_to_its_end(tmp_path: Path, trainer: Any, options: Any) -> None:
    seen: list[tuple[int, int | None]] = []
    trainer(options).train(topic_texts(), tmp_path / "m.txt", lambda done, total: seen.append((done, total)))
    done = [count for count, _ in seen]
    assert done == sorted(done)
    assert {total for _, total in seen} == {4 * 3600}
    assert done[-1] == 4 * 3600


@pytest.mark.parametrize("name", ["word2vec", "glove"])
def test_an_interrupted_training_leaves_the_old_model(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(b"the old model")

    def interrupt(done: int, total: int | None) -> None:
        if done > 5000:
            raise KeyboardInterrupt

    trainer = {"word2vec": Word2VecTrainer, "glove": GloveTrainer}[name]
    with pytest.raises(KeyboardInterrupt):
        trainer(trainer.config()).train(topic_texts(), path, interrupt)
    assert path.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["word2vec", "glove"])
def test_texts_of_a_single_word_each(tmp_path: Path, name: str) -> None:
    """Nothing stands beside anything: the words stay without meaning, and training does not fail."""
    texts = [word for word in TOPICS["sea"] + TOPICS["kitchen"] for _ in range(5)]
    assert train(tmp_path / "m.txt", texts, name)["vocabulary"] == 12
    assert np.isfinite(read_word_vectors(tmp_path / "m.txt").matrix).all()


@pytest.mark.parametrize("name", ["word2vec", "glove", "fasttext"])
def test_too_little_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"too few to learn from .*; give more texts or lower min_count"):
        train(tmp_path / "m.txt", ["one two three"] * 9, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("word2vec", {"window": 0}, "window=0 must be 1 or more"),
        ("word2vec", {"negative": 0}, "negative=0 must be 1 or more"),
        ("word2vec", {"algorithm": "skip-gram"}, "algorithm='skip-gram' must be one of 'skipgram', 'cbow'"),
        ("word2vec", {"loss": "softmax"}, "must be one of 'negative_sampling', 'hierarchical_softmax'"),
        ("glove", {"epochs": 0}, "epochs=0 must be 1 or more"),
        ("glove", {"x_max": 0.0}, "x_max=0.0 must be above 0"),
        ("glove", {"alpha": -1.0}, "alpha=-1.0 must be above 0"),
        ("glove", {"sample": 0.1}, "sample"),
    ],
)
def test_options_out_of_range(tmp_path: Path, name: str, options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        train(tmp_path / "m.txt", topic_texts(), name, **options)
