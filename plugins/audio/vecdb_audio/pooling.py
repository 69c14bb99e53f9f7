"""From frames to one vector: statistics over time.

A pooling is a list of blocks, each a statistic of all columns. A block is scaled to unit length and
then by the square root of its weight, so that the cosine of two vectors is the weighted mean of the
cosines of their blocks, and no statistic drowns another by its unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecdb_audio.features import Floats, deltas

_PERCENTILES = (10, 50, 90)
_LEAST = 1.0  # dB; a shorter block is rounding or a steady tone, and must not be blown up to unit length

_WEIGHTS: dict[str, dict[str, float]] = {
    "combined": {"segments": 1.0, "std": 2.0, "delta": 2.0},
    "mean_std": {"mean": 1.0, "std": 1.0},
    "mean_std_delta": {"mean": 1.0, "std": 1.0, "delta": 1.0},
    "percentiles": {"percentiles": 1.0, "delta": 1.0},
    "segments": {"segments": 1.0},
}


@dataclass(frozen=True)
class Pooling:
    """Turns frames of one sound into one vector.

    Attributes:
        name: "combined" (segments, std and delta, weighted 1 : 2 : 2), "mean_std", "mean_std_delta",
            "percentiles" (percentiles and delta) or "segments". mean: over all frames; std: standard
            deviation; delta: standard deviation of the slopes over nine frames; segments: the mean of
            each of `segments` equal stretches of time; percentiles: the 10th, 50th and 90th.
        columns: numbers in a frame.
        segments: stretches of time.
        loudness_first: column 0 is the loudness (cepstral coefficient 0). Its absolute value says
            nothing of the sound, only its changes do: mean and segments leave it out, percentiles
            take it relative to its mean.
    """

    name: str
    columns: int
    segments: int
    loudness_first: bool

    @property
    def dimension(self) -> int:
        """Length of the vector."""
        shape = self.columns - self.loudness_first
        sizes = {
            "mean": shape,
            "std": self.columns,
            "delta": self.columns,
            "segments": self.segments * shape,
            "percentiles": len(_PERCENTILES) * self.columns,
        }
        return sum(sizes[block] for block in _WEIGHTS[self.name])

    def __call__(self, frames: Floats) -> Floats:
        """The vector of frames of shape (n, columns), n >= 1: float32 of shape (dimension,)."""
        statistics: dict[str, Callable[[Floats], Floats]] = {
            "mean": lambda found: self._shape(found).mean(axis=0, dtype=np.float64),
            "std": lambda found: found.std(axis=0, dtype=np.float64),
            "delta": lambda found: deltas(found).std(axis=0, dtype=np.float64),
            "segments": self._segments,
            "percentiles": self._percentiles,
        }
        blocks = [
            np.sqrt(weight) * _to_unit_length(statistics[block](frames))
            for block, weight in _WEIGHTS[self.name].items()
        ]
        return np.concatenate(blocks).astype(np.float32)

    def _shape(self, frames: Floats) -> Floats:
        return frames[:, 1:] if self.loudness_first else frames

    def _segments(self, frames: Floats) -> Floats:
        shape = self._shape(frames)
        bounds = np.linspace(0, len(shape), self.segments + 1)
        starts = np.minimum(np.floor(bounds[:-1]).astype(int), len(shape) - 1)
        ends = np.maximum(np.ceil(bounds[1:]).astype(int), starts + 1)  # fewer frames than segments: they overlap
        means = [shape[start:end].mean(axis=0, dtype=np.float64) for start, end in zip(starts, ends, strict=True)]
        return np.concatenate(means)

    def _percentiles(self, frames: Floats) -> Floats:
        found = np.percentile(frames, _PERCENTILES, axis=0)
        if self.loudness_first:
            found[:, 0] -= frames[:, 0].mean(dtype=np.float64)
        return np.asarray(found).ravel()


def _to_unit_length(block: Floats) -> Floats:
    return block / max(float(np.linalg.norm(block)), _LEAST)
