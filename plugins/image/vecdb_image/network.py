"""What the embedder asks of a network, whichever library runs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vecdb_image.preprocessing import Floats, Preprocessing


class Network(Protocol):
    """A loaded network, cut at the layer whose values are the features.

    Attributes:
        dimension: length of a feature vector.
        preprocessing: what the model says of itself, or the habit where it says nothing.
    """

    dimension: int
    preprocessing: Preprocessing

    def features(self, pixels: Floats) -> Floats:
        """Normalised pixels of shape (n, 3, height, width) to features of shape (n, dimension)."""
        ...


def pooled(values: Floats) -> Floats:
    """Values of a layer, shape (n, …), as one vector a picture, shape (n, dimension).

    Args:
        values: (n, d): as they are. (n, channels, height, width), or with the channels last where that
            is what the shape says: the mean over space. (n, tokens, d) of a transformer: the class
            token where there is one (the number of the others is a square), else the mean over tokens.

    Raises:
        ValueError: another number of axes.
    """
    if values.ndim == 2:
        return values
    if values.ndim == 4:
        _, second, third, fourth = values.shape
        channels_last = second == third != fourth
        return np.asarray(values.mean(axis=(1, 2) if channels_last else (2, 3)))
    if values.ndim == 3:
        tokens = values.shape[1]
        return values.mean(axis=1) if round(tokens**0.5) ** 2 == tokens else values[:, 0]
    raise ValueError(f"a layer of shape {values.shape} is not one vector, map or row of tokens a picture")
