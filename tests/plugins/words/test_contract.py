"""The conformance kit over the three embedders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.plugins.words.corpora import TOPICS, topic_texts, train
from tests.plugins.words.models import binary_bytes, text_bytes
from vecdb.testing import EmbedderContract
from vecdb_words import vecdb_register_embedders

INFOS = {info.name: info for info in vecdb_register_embedders()}
NEAR = ("anchor vessel", "anchor sailor", "butter oven")
GOOD = ["the captain of the vessel", "butter and flour", "harbour", "recipe: oven, spoon!", "sailor's Anchor " * 300]


def vectors() -> tuple[list[str], np.ndarray]:
    """Words of two topics, each near its topic's direction."""
    random = np.random.default_rng(0)
    words = ["the", "of", *TOPICS["sea"], *TOPICS["kitchen"]]
    matrix = random.standard_normal((len(words), 12)).astype(np.float32) * 0.3
    matrix[2:8, 0] += 1
    matrix[8:, 1] += 1
    return words, matrix


class TestWord2Vec(EmbedderContract):
    info = INFOS["word2vec"]
    good = GOOD
    bad = ("qqq www", "?!")
    vector_change = {"pooling": "mean"}
    near = NEAR

    def set_up(self, folder: Path) -> None:
        (folder / "vectors.bin").write_bytes(binary_bytes(*vectors()))
        self.config = {"model": folder / "vectors.bin"}


class TestGlove(EmbedderContract):
    info = INFOS["glove"]
    good = GOOD
    bad = ("qqq www", "?!")
    vector_change = {"remove_components": 1}
    near = NEAR

    def set_up(self, folder: Path) -> None:
        (folder / "glove.txt").write_bytes(text_bytes(*vectors(), header=False))
        self.config = {"model": folder / "glove.txt"}


class TestFastText(EmbedderContract):
    info = INFOS["fasttext"]
    good = [*GOOD, "a misspelt harbuor"]
    bad = ("?!",)
    vector_change = {"sif_a": 1e-2}
    near = NEAR

    def set_up(self, folder: Path) -> None:
        train(folder / "model.bin", topic_texts(), dimension=16, buckets=500)
        self.config = {"model": folder / "model.bin"}
