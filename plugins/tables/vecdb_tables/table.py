"""A table of vectors, what a file offers of them, and the error for a file that cannot serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecdb import EmbedderUnavailableError

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of numbers, in memory or mapped from a file.

    Attributes:
        matrix: (num_embeddings, embedding_dim) of any float type; or uint16, the bits of bfloat16,
            which numpy does not know.
    """

    matrix: NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, int]:
        """(num_embeddings, embedding_dim)."""
        rows, length = self.matrix.shape
        return rows, length

    def rows(self, ids: IdArray) -> FloatArray:
        """The rows of these ids as float32, shape (len(ids), embedding_dim); a copy."""
        found = self.matrix[ids]  # not `take`, which would copy a mapped table first
        if found.dtype.type is np.uint16:  # a bfloat16 is the upper half of a float32
            return np.asarray((found.astype(np.uint32) << 16).view(np.float32))
        with np.errstate(over="ignore"):  # a float64 that is too large becomes infinite, and is found then
            return found.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor in a file, not read yet.

    Attributes:
        shape: as the file says.
        dtype: as the file calls it.
        open: the table, for a 2-d tensor of floats; None where the type is another one.
    """

    shape: tuple[int, ...]
    dtype: str
    open: Callable[[], Table] | None

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape)) or 'one number'} {self.dtype}"


def unusable(path: Path, problem: str, advice: str) -> EmbedderUnavailableError:
    """The error for a file that cannot serve as a table or vocabulary."""
    return EmbedderUnavailableError(f"{path}: {problem}; {advice}", missing=[str(path)])
