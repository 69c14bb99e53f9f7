"""Comparing vectors, and how close the same ones must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.embedder import Embedder
from vecdb.testing.case import ContractError
from vecdb.types import Role

SAME = 1e-3
"""Largest relative distance of two runs of one computation (threads add in another order)."""
SAME_IN_BATCH = 0.03
"""The same where padding and other kernels may differ: a cosine of 0.9995."""
SAME_AT_RUNTIME = 0.045
"""The same on another device or in another precision: a cosine of 0.999."""

Rows = NDArray[np.float64]


def rows(embedder: Embedder, prepared: Sequence[Any], role: Role = "document") -> Rows:
    """What the bare embedder makes of prepared items."""
    return np.asarray(embedder.encode(prepared, role)).astype(np.float64)


def relative_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Euclidean distance in units of the longer vector; infinite where there is NaN."""
    scale = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    distance = float(np.linalg.norm(a - b)) / scale if scale else 0.0
    return np.inf if np.isnan(distance) else distance


def all_close(expected: NDArray[Any], got: NDArray[Any], limit: float) -> bool:
    """Whether each row is within the limit of its counterpart."""
    return all(relative_distance(a, b) <= limit for a, b in zip(expected, got, strict=True))


def require_close(expected: NDArray[Any], got: NDArray[Any], limit: float, *, fault: str, advice: str) -> None:
    """Raise `ContractError` for the first row that is not."""
    if expected.shape != got.shape:
        raise ContractError(f"{fault}: shape {got.shape} instead of {expected.shape}; {advice}")
    for index, (a, b) in enumerate(zip(expected, got, strict=True)):
        distance = relative_distance(a, b)
        if distance > limit:
            raise ContractError(
                f"{fault}: item {index} has another vector (relative distance {distance:.2g}); {advice}"
            )
