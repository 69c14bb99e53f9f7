"""Words and their vectors in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WordVectors:
    """The content of a file of word vectors.

    Attributes:
        index: row of each word; of a word that stands twice, the first.
        matrix: the vectors, shape (words, dimension), float32, in the order of the file.
    """

    index: Mapping[str, int]
    matrix: FloatArray


class GrowingMatrix:
    """Rows of float32 whose number is not known before the last is read.

    Memory follows what was really added, so that a header that promises too much allocates nothing.
    """

    def __init__(self, dimension: int) -> None:
        self._rows: NDArray[Any] = np.empty((0, dimension), np.float32)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def extend(self, rows: FloatArray) -> None:
        """Append rows, shape (n, dimension)."""
        needed = self._used + len(rows)
        if needed > len(self._rows):
            # refcheck is off because the array never leaves this object before `finish`
            self._rows.resize((max(needed, len(self._rows) * 5 // 4), self._rows.shape[1]), refcheck=False)
        self._rows[self._used : needed] = rows
        self._used = needed

    def finish(self) -> FloatArray:
        """All rows. The object is not used afterwards."""
        self._rows.resize((self._used, self._rows.shape[1]), refcheck=False)
        return self._rows
