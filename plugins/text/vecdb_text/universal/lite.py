"""USE-lite: its tokeniser and its network, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecdb import EmbedderUnavailableError, ItemError, Windows
from vecdb_text.universal.files import ModelFiles, unusable
from vecdb_text.universal.network import MAX_TOKENS, FloatArray, LiteNetwork
from vecdb_text.universal.tensors import read_safetensors, read_tfjs
from vecdb_text.universal.unigram import Ids, UnigramTokenizer, read_vocabulary


class LiteEncoder:
    """Texts to vectors by USE-lite.

    Raises:
        EmbedderUnavailableError: the files are missing or damaged, or `device` is not the CPU.
    """

    def __init__(self, files: ModelFiles, device: str) -> None:
        if device not in ("auto", "cpu"):
            raise EmbedderUnavailableError(
                f"USE-lite runs on the CPU, not on device={device!r}; leave the option device out"
            )
        if files.vocabulary is None:
            raise unusable(files.main, "has no vocabulary", "put vocab.json beside it")
        pieces = read_vocabulary(files.vocabulary)
        read = read_tfjs if files.kind == "tfjs" else read_safetensors
        self._network = LiteNetwork(read(files.main))
        self._tokenizer = UnigramTokenizer(pieces)
        if len(pieces) > self._network.vocabulary:
            raise unusable(
                files.vocabulary,
                f"has {len(pieces)} pieces, but the model knows {self._network.vocabulary}",
                "give the vocabulary that was published with the model",
            )

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self._network.dimension)

    def prepare(self, text: str) -> Ids | Windows:
        """The ids of a text; more than 128 of them in windows.

        Raises:
            ItemError: no piece of the vocabulary is in the text.
        """
        ids = self._tokenizer.encode(text)
        if self._tokenizer.is_empty(ids):
            raise ItemError(
                f"no word of {text[:60]!r} is in the vocabulary of the model; use a model of this language"
            )
        windows = [np.array(ids[start : start + MAX_TOKENS], np.int32) for start in range(0, len(ids), MAX_TOKENS)]
        return windows[0] if len(windows) == 1 else Windows(windows)

    def encode(self, batch: Sequence[Ids]) -> FloatArray:
        """One vector a text."""
        return self._network.encode(batch)

    def cost(self, prepared: Ids) -> int:
        """Number of ids."""
        return len(prepared)
