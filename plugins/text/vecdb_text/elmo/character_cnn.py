"""Words to vectors by their characters: convolutions, highway layers, a projection (Kim et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecdb_text.elmo.arithmetic import Arithmetic
from vecdb_text.elmo.files import ModelOptions
from vecdb_text.elmo.hdf5_weights import WeightsFile
from vecdb_text.elmo.tokens import Word, character_ids

_CHARACTERS = 261
_WORDS_AT_ONCE = 128  # 50 MB at the size of the original model
_REMEMBERED_WORDS = 20_000  # 40 MB at that size


class CharacterCnn:
    """Vectors of words without context; those of the last words are remembered."""

    def __init__(self, options: ModelOptions, weights: WeightsFile, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self._max_characters = options.max_characters
        self._widths = [width for width, _ in options.filters]
        self._tanh = options.activation == "tanh"
        array, take = arithmetic.array, weights.take
        dim, total = options.character_dim, sum(number for _, number in options.filters)
        self._characters = array(take("char_embed", _CHARACTERS, dim))
        self._filters = [
            (
                array(take(f"CNN/W_cnn_{i}", 1, width, dim, number).reshape(width * dim, number)),
                array(take(f"CNN/b_cnn_{i}", number)),
            )
            for i, (width, number) in enumerate(options.filters)
        ]
        self._highways = [
            tuple(
                array(take(f"CNN_high_{i}/{name}", *shape))
                for name, shape in (
                    ("W_transform", (total, total)),
                    ("b_transform", (total,)),
                    ("W_carry", (total, total)),
                    ("b_carry", (total,)),
                )
            )
            for i in range(options.highways)
        ]
        self._projection = (
            array(take("CNN_proj/W_proj", total, options.dim)),
            array(take("CNN_proj/b_proj", options.dim)),
        )
        self._rows: dict[Word, int] = {}
        self._vectors = arithmetic.empty(_REMEMBERED_WORDS, options.dim)

    def vectors(self, batch: Sequence[Word]) -> Any:
        """The vectors of words, shape (len(batch), dim). Each distinct word is computed once."""
        new = [word for word in dict.fromkeys(batch) if word not in self._rows]
        if len(self._rows) + len(new) > len(self._vectors):
            self._rows = {}
            new = list(dict.fromkeys(batch))
            if len(new) > len(self._vectors):
                self._vectors = self._arithmetic.empty(len(new), self._vectors.shape[1])
        new.sort(key=_length)  # short words with short ones: there is less padding to look at
        for start in range(0, len(new), _WORDS_AT_ONCE):
            part = new[start : start + _WORDS_AT_ONCE]
            first = len(self._rows)
            self._vectors[first : first + len(part)] = self._compute(part)
            self._rows.update(zip(part, range(first, first + len(part)), strict=True))
        return self._vectors[self._arithmetic.array(np.array([self._rows[word] for word in batch]))]

    def _compute(self, batch: Sequence[Word]) -> Any:
        functions = self._arithmetic.functions
        hidden = functions.concatenate(self._convolved(self._trimmed(batch)), 1)
        for transform, transform_bias, carry, carry_bias in self._highways:
            gate = functions.tanh((hidden @ carry + carry_bias) * 0.5) * 0.5 + 0.5
            hidden = gate * _relu(hidden @ transform + transform_bias) + (1 - gate) * hidden
        return hidden @ self._projection[0] + self._projection[1]

    def _trimmed(self, batch: Sequence[Word]) -> NDArray[np.int64]:
        """Character ids without the padding that all windows beyond would see alike."""
        ids = character_ids(batch, self._max_characters)
        return ids[:, : max(map(_length, batch)) + 2 + max(self._widths)]

    def _convolved(self, ids: NDArray[np.int64]) -> list[Any]:
        """For each filter its largest answer anywhere in the word."""
        found = []
        for width, (kernel, bias) in zip(self._widths, self._filters, strict=True):
            windows = self._arithmetic.array(np.ascontiguousarray(sliding_window_view(ids, width, axis=1)))
            words, places = windows.shape[:2]
            answers = self._characters[windows].reshape(words * places, -1) @ kernel
            largest = self._arithmetic.functions.amax(answers.reshape(words, places, -1), 1) + bias
            found.append(self._arithmetic.functions.tanh(largest) if self._tanh else _relu(largest))
        return found


def _length(word: Word) -> int:
    return 1 if isinstance(word, int) else len(word.encode("utf-8", "ignore"))


def _relu(x: Any) -> Any:
    return x * (x > 0)


