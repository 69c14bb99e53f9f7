"""`sentence-transformers` and `bert` hold to the contract for plugins."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import vecdb
from tests.plugins.text import transformer_models as models
from vecdb.testing import EmbedderContract

pytest.importorskip("sentence_transformers")


class TestSentenceTransformers(EmbedderContract):
    """With images: a model that takes them."""

    info = models.INFOS["sentence-transformers"]
    runtime_change = MappingProxyType({"device": "cpu"})
    vector_change = MappingProxyType({"query_prompt": "find: "})

    def set_up(self, folder: Path) -> None:
        self.config = {"model": models.clip_folder(folder / "model")}
        pictures = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3), np.uint8)
        self.good = ["a dog", "the cat", "blue river", "42", *map(vecdb.Image, pictures)]


class TestBert(EmbedderContract):
    info = models.INFOS["bert"]
    good = models.TEXTS
    runtime_change = MappingProxyType({"device": "cpu"})
    vector_change = MappingProxyType({"pooling": "max"})
    near = ("the dog sleeps", "the dog sleeps .", "one two three four")

    def set_up(self, folder: Path) -> None:
        self.config = {"model": models.bert_folder(folder / "model")}
