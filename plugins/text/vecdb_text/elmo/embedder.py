"""`elmo`: contextual word vectors of the original release, pooled (Peters et al. 2018, arXiv:1802.05365)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb import Embedder, InvalidInputError, ItemError, Windows
from vecdb_text.elmo import tokens
from vecdb_text.elmo.arithmetic import Arithmetic, arithmetic
from vecdb_text.elmo.bilm import BiLM
from vecdb_text.elmo.config import ElmoConfig
from vecdb_text.elmo.files import ModelOptions, find_model, read_options
from vecdb_text.elmo.hdf5_weights import FloatArray, WeightsFile

Words: TypeAlias = tuple[str, ...]

_TOKENS_AT_ONCE = 8192  # what bounds memory: 100 MB for the layers of the original model


class ElmoEmbedder(Embedder):
    """Texts by the mean (or maximum) of their words' contextual vectors."""

    config: ElmoConfig

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__(config)
        self._options: ModelOptions | None = None
        self._model: BiLM | None = None
        self._arithmetic = Arithmetic()
        self._layer_weights: NDArray[np.float32] = np.empty(0, np.float32)

    def weights(self) -> Sequence[Path]:
        """The options file and the weights file."""
        return find_model(self.config.model, self.config.weights)

    def load(self) -> None:
        """Read the model.

        Raises:
            EmbedderUnavailableError: a file is missing, damaged, or does not fit the other; h5py is
                not installed; the device is not there.
            InvalidInputError: the options ask for layers that the model has not.
        """
        if self._model is not None:
            return
        options_file, weights_file = self.weights()
        options = read_options(options_file)
        self._layer_weights = _layer_weights(self.config, options.layers + 1)
        self._arithmetic = arithmetic(self.config.device)
        with WeightsFile(weights_file) as opened:
            self._model = BiLM(options, opened, self._arithmetic)
        self._options = options

    def close(self) -> None:
        """Let go of the model."""
        self._model = None
        self._options = None

    @property
    def dimension(self) -> int:
        """Both directions; for layers="concat" of all layers."""
        options, _ = self._opened()
        return 2 * options.dim * (options.layers + 1 if self.config.layers == "concat" else 1)

    def prepare(self, item: str) -> Words | Windows:
        """The words of a text; more than `max_tokens` of them in windows.

        Raises:
            ItemError: there is no word in it.
        """
        options, _ = self._opened()
        split = item.split() if self.config.tokenizer == "whitespace" else tokens.words(item)
        longest = options.max_characters - 2
        words = tuple(part for word in split for part in tokens.of_length(word, longest))
        if not words:
            raise ItemError("there is no word in the text; give one with words in it")
        size = self.config.max_tokens
        windows = [words[start : start + size] for start in range(0, len(words), size)]
        return windows[0] if len(windows) == 1 else Windows(windows)

    def encode(self, batch: Sequence[Words], role: str) -> FloatArray:  # noqa: ARG002  (queries are texts as well)
        """One vector a text, shape (len(batch), dimension)."""
        order = sorted(range(len(batch)), key=lambda i: -len(batch[i]))
        vectors = np.empty((len(batch), self.dimension), np.float32)
        for rows in _in_parts(order, [len(words) for words in batch]):
            vectors[rows] = self._encode([batch[row] for row in rows])
        return vectors

    def cost(self, prepared: Words) -> int:
        """Number of words."""
        return len(prepared)

    def _encode(self, sentences: Sequence[Words]) -> FloatArray:
        """The same for texts in order of length, the longest first."""
        _, model = self._opened()
        functions = self._arithmetic.functions
        depth = int(np.flatnonzero(self._layer_weights)[-1])
        layers = model.layers(sentences, depth)
        if self.config.layers == "concat":
            words = functions.concatenate(layers, 1)
        else:
            words = sum(
                layer * float(weight) for layer, weight in zip(layers, self._layer_weights, strict=False) if weight
            )
        start, rows = 0, []
        for sentence in sentences:
            part = words[start : start + len(sentence)]
            rows.append(part.mean(0)[None] if self.config.pooling == "mean" else functions.amax(part, 0)[None])
            start += len(sentence)
        return self._arithmetic.numpy(functions.concatenate(rows, 0))

    def _opened(self) -> tuple[ModelOptions, BiLM]:
        if self._options is None or self._model is None:
            raise RuntimeError("load() comes first")
        return self._options, self._model


def _in_parts(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """The rows in parts of not too many words."""
    part: list[int] = []
    size = 0
    for row in order:
        if part and size + lengths[row] > _TOKENS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(row)
        size += lengths[row]
    yield part


def _layer_weights(config: ElmoConfig, layers: int) -> NDArray[np.float32]:
    """What each layer counts; in the paper's words gamma * softmax(weights)."""
    if config.layers in ("average", "concat"):
        return np.full(layers, 1 / layers, np.float32)
    if config.layers == "mix":
        if len(config.layer_weights) != layers:
            raise InvalidInputError(
                f"layer_weights has {len(config.layer_weights)} numbers, the model {layers} layers; give one a layer"
            )
        exponentials = np.exp(np.array(config.layer_weights) - max(config.layer_weights))
        return np.asarray(config.gamma * exponentials / exponentials.sum(), np.float32)
    if int(config.layers) >= layers:
        raise InvalidInputError(f"the model has no layer {config.layers}; its layers are 0 to {layers - 1}")
    weights = np.zeros(layers, np.float32)
    weights[int(config.layers)] = 1
    return weights


