"""`static` holds to the contract for plugins, in each of its formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.text import onnx_models as models
from vecdb.testing import EmbedderContract

pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")

NEAR = ("the dog sleeps in the house", "the dog sleeps in a house", "one two three four")


class TestModel2Vec(EmbedderContract):
    info = models.INFOS["static"]
    good = [*models.TEXTS, "the red tree " * 300]
    bad = ("zebra xylophone",)
    vector_change = {"dimension": 4}
    near = NEAR

    def set_up(self, folder: Path) -> None:
        self.config = {"model": models.static_folder(folder / "model")}


class TestWordLlama(EmbedderContract):
    info = models.INFOS["static"]
    good = models.TEXTS
    vector_change = {"normalise": True}
    near = NEAR

    def set_up(self, folder: Path) -> None:
        made = models.static_folder(folder / "model", kind="WordLlama", dtype="F16")
        (made / "tokenizer.json").rename(folder / "words.json")
        self.config = {"model": made / "model.safetensors", "tokenizer": folder / "words.json"}
