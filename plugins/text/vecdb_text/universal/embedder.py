"""`use`: the Universal Sentence Encoder (Cer et al. 2018, arXiv:1803.11175)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vecdb import Embedder
from vecdb_text.universal.config import UniversalConfig
from vecdb_text.universal.files import find_model
from vecdb_text.universal.lite import LiteEncoder
from vecdb_text.universal.network import FloatArray
from vecdb_text.universal.onnx_graph import OnnxEncoder
from vecdb_text.universal.tensors import shard_paths


class UniversalEmbedder(Embedder):
    """Sentences to vectors of length 1: USE-lite in numpy, or any USE in ONNX."""

    config: UniversalConfig

    def __init__(self, config: UniversalConfig) -> None:
        super().__init__(config)
        self._encoder: LiteEncoder | OnnxEncoder | None = None

    def weights(self) -> Sequence[Path]:
        """The file that `model` means, and what belongs to it: shards and vocabulary."""
        files = find_model(self.config.model)
        shards = shard_paths(files.main) if files.kind == "tfjs" else []
        return [files.main, *shards, *([] if files.vocabulary is None else [files.vocabulary])]

    def load(self) -> None:
        """Read the model.

        Raises:
            EmbedderUnavailableError: a file is missing, damaged or of another kind, a library is
                not installed, or the device is not there.
        """
        if self._encoder is None:
            config = self.config
            files = find_model(config.model)
            if files.kind == "onnx":
                self._encoder = OnnxEncoder(files.main, config.device, config.threads)
            else:
                self._encoder = LiteEncoder(files, config.device)

    def close(self) -> None:
        """Let go of the model."""
        self._encoder = None

    @property
    def dimension(self) -> int:
        """Length of the vectors: 512 for every published model."""
        return self._opened().dimension

    def prepare(self, item: str) -> Any:
        """The ids of a text, or for ONNX the text itself; `Windows` of them where it is too long.

        Raises:
            ItemError: there is nothing in the text that the model knows.
        """
        return self._opened().prepare(item)

    def encode(self, batch: Sequence[Any], role: str) -> FloatArray:  # noqa: ARG002  (queries are sentences too)
        """One vector of length 1 for each text, shape (len(batch), dimension)."""
        return self._opened().encode(batch)

    def cost(self, prepared: Any) -> int:
        """Number of tokens; of characters for ONNX."""
        return self._opened().cost(prepared)

    def _opened(self) -> LiteEncoder | OnnxEncoder:
        if self._encoder is None:
            raise RuntimeError("load() comes first")
        return self._encoder
