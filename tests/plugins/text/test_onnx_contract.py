"""`onnx` holds to the contract for plugins, with a graph that gives tokens and with one that pools."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.text import onnx_models as models
from vecdb.testing import EmbedderContract

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

NEAR = ("the dog sleeps in the house", "the dog sleeps in a house", "one two three four")


class TestOnnx(EmbedderContract):
    info = models.INFOS["onnx"]
    good = models.TEXTS
    runtime_change = {"threads": 2}
    vector_change = {"pooling": "cls"}
    near = NEAR

    def set_up(self, folder: Path) -> None:
        self.config = {"model": models.onnx_folder(folder / "model", external="model.onnx_data"), "threads": 1}


class TestPooledOnnx(EmbedderContract):
    info = models.INFOS["onnx"]
    good = ["the dog sleeps", "a small cat", "red house garden", "one two three"]  # its mean knows no padding
    vector_change = {"dimension": 4}

    def set_up(self, folder: Path) -> None:
        self.config = {"model": models.onnx_folder(folder / "model", output="sentence_embedding"), "threads": 1}
