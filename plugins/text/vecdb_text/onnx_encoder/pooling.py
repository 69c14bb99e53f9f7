"""From one vector a token to one vector a text, as sentence-transformers does (Reimers and Gurevych 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def pool(tokens: Floats, mask: NDArray[np.integer], modes: Sequence[str]) -> Floats:
    """Pool token vectors; several modes are put one behind the other.

    Args:
        tokens: (texts, tokens, dimension).
        mask: (texts, tokens), 1 for a token and 0 for padding, which stands on the right.
        modes: some of `POOLINGS`.

    Returns:
        (texts, len(modes) * dimension).
    """
    present = mask.astype(np.float32)
    found = [_POOLINGS[mode](tokens, present) for mode in modes]
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def _first(tokens: Floats, present: Floats) -> Floats:  # noqa: ARG001
    return tokens[:, 0]


def _last(tokens: Floats, present: Floats) -> Floats:
    last: Floats = tokens[np.arange(len(tokens)), present.sum(axis=1).astype(np.int64) - 1]
    return last


def _largest(tokens: Floats, present: Floats) -> Floats:
    found: Floats = np.where(present[:, :, None] > 0, tokens, -np.inf).max(axis=1).astype(np.float32)
    return found


def _sum(tokens: Floats, weights: Floats) -> Floats:
    found: Floats = np.matmul(weights[:, None, :], tokens)[:, 0]
    return found


def _mean(tokens: Floats, present: Floats) -> Floats:
    found: Floats = _sum(tokens, present) / present.sum(axis=1, keepdims=True)
    return found


def _mean_by_root(tokens: Floats, present: Floats) -> Floats:
    return np.asarray(_sum(tokens, present) / np.sqrt(present.sum(axis=1, keepdims=True)), np.float32)


def _weighted_mean(tokens: Floats, present: Floats) -> Floats:
    """Later tokens weigh more: they have seen more of the text in a model that reads left to right."""
    return _mean(tokens, present * np.arange(1, present.shape[1] + 1, dtype=np.float32))


_POOLINGS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
