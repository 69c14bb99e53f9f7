"""From frames to one vector: statistics over time.

A pooling is a list of blocks, each one kind of statistic. A block is scaled to unit length and then by
the square root of its weight, so that the cosine of two vectors is the weighted mean of the cosines of
their blocks, and no statistic drowns another by its unit. Which blocks and weights: measured, see
plugins/audio/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecdb_audio.features import Floats, deltas

_WEIGHTS: dict[str, dict[str, float]] = {
    "combined": {"percentiles": 4.0, "modulation": 4.0, "segments": 1.0, "slopes": 8.0},
    "segments": {"segments": 1.0, "slopes": 8.0},
    "percentiles": {"percentiles": 1.0, "delta": 1.0},
    "mean_std": {"mean": 1.0, "std": 1.0},
    "mean_std_delta": {"mean": 1.0, "std": 1.0, "delta": 1.0},
}
_PERCENTILES = (5, 25, 50, 75, 95)
_MODULATION_HZ = (0.25, 0.5, 1, 2, 4, 8, 16, 25)  # octaves; over 25 Hz is over what a 64 ms window can follow
_SLOPE_BANDS = 10
_SILENCE = 15.0  # dB; what lies before the first and after the last frame that near the loudest is no part of a word
_LEAST = 1.0  # of a block's length; what is shorter is rounding or a steady tone, and must not be blown up


@dataclass(frozen=True)
class Pooling:
    """Turns frames of one sound into one vector.

    The statistics, over all frames: mean; std (standard deviation); delta (standard deviation of the
    slopes over nine frames, Furui 1986); percentiles (5, 25, 50, 75 and 95).

    modulation: how strongly each column goes up and down at 0.25 to 25 times a second, in octaves, as
    logarithms (mel-cepstrum modulation spectrum, Tyagi et al. 2003; in octaves and for the texture of
    sounds, McDermott and Simoncelli 2011).

    segments: between the first and the last loud frame (endpoints, Rabiner and Sambur 1975), the mean of
    each of `segments` overlapping stretches, less the mean of all (cepstral mean subtraction, Atal 1974).

    slopes: between the same ends, how steeply the mel bands rise and fall in time and in frequency, four
    directions apart, in cells of `segments` stretches of time and ten of frequency (histograms of
    oriented gradients, Dalal and Triggs 2005; on spectrograms, Muroi et al. 2009). Summed in cells, a
    formant may lie a little higher or a sound come a little later: other voices say the same word so.

    Attributes:
        name: "combined", "segments", "percentiles", "mean_std" or "mean_std_delta".
        columns: numbers in a frame.
        segments: stretches of time.
        frame_rate: frames per second.
        cepstral: frames are cepstral coefficients, with the loudness in column 0; otherwise mel bands.
            Absolute loudness says nothing of the sound, only its changes do: mean and segments leave it
            out, percentiles take the cepstral one relative to its mean.
    """

    name: str
    columns: int
    segments: int
    frame_rate: float
    cepstral: bool

    @property
    def dimension(self) -> int:
        """Length of the vector."""
        shape = self.columns - self.cepstral
        sizes = {
            "mean": shape,
            "std": self.columns,
            "delta": self.columns,
            "percentiles": len(_PERCENTILES) * self.columns,
            "modulation": (len(_MODULATION_HZ) - 1) * self.columns,
            "segments": self.segments * shape,
            "slopes": 4 * self.segments * _SLOPE_BANDS,
        }
        return sum(sizes[block] for block in _WEIGHTS[self.name])

    def __call__(self, frames: Floats, bands: Floats) -> Floats:
        """The vector of one sound.

        Args:
            frames: what is pooled, shape (n, columns), n >= 1.
            bands: its mel bands in dB, shape (n, n_mels); the same as `frames` where those are pooled.

        Returns:
            float32 of shape (dimension,).
        """
        statistics: dict[str, Callable[[], Floats]] = {
            "mean": lambda: self._shape(frames).mean(axis=0, dtype=np.float64),
            "std": lambda: frames.std(axis=0, dtype=np.float64),
            "delta": lambda: deltas(frames).std(axis=0, dtype=np.float64),
            "percentiles": lambda: self._percentiles(frames),
            "modulation": lambda: _modulation(frames, self.frame_rate),
            "segments": lambda: self._segments(frames[_sounding(bands)]),
            "slopes": lambda: _slopes(bands[_sounding(bands)], self.segments),
        }
        blocks = [
            math.sqrt(weight) * _to_unit_length(statistics[block]()) for block, weight in _WEIGHTS[self.name].items()
        ]
        return np.concatenate(blocks).astype(np.float32)

    def _shape(self, frames: Floats) -> Floats:
        return frames[:, 1:] if self.cepstral else frames - frames.mean(axis=1, keepdims=True)

    def _percentiles(self, frames: Floats) -> Floats:
        found = np.percentile(frames, _PERCENTILES, axis=0)
        if self.cepstral:
            found[:, 0] -= frames[:, 0].mean(dtype=np.float64)
        return np.asarray(found).ravel()

    def _segments(self, frames: Floats) -> Floats:
        found = stretches(self._shape(frames), self.segments)
        return np.asarray(found - found.mean(axis=0), np.float32).ravel()


def stretches(rows: Floats, count: int) -> Floats:
    """Means over `count` overlapping stretches of the rows: (n, columns) to (count, columns).

    A stretch is a triangle that ends in the middles of its neighbours; it is wider where there are fewer
    rows than stretches.
    """
    place = (np.arange(len(rows)) + 0.5) * (count / len(rows))
    distance = np.abs(place - (np.arange(count)[:, None] + 0.5))
    weights = np.maximum(1 - distance / max(1.0, count / len(rows)), 0.0)
    found: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32) @ rows
    return found


def _sounding(bands: Floats) -> slice:
    """From the first to the last frame that is loud."""
    loudness = bands.max(axis=1)
    loud = np.flatnonzero(loudness >= loudness.max() - _SILENCE)
    return slice(int(loud[0]), int(loud[-1]) + 1)


def _modulation(frames: Floats, frame_rate: float) -> Floats:
    length = max(len(frames), math.ceil(frame_rate / (_MODULATION_HZ[0] / 2)))  # two bins in the lowest octave
    power = np.abs(np.fft.rfft(frames - frames.mean(axis=0), n=length, axis=0)) ** 2 / len(frames)
    octave = np.digitize(np.fft.rfftfreq(length, 1 / frame_rate), _MODULATION_HZ)
    inside = octave == np.arange(1, len(_MODULATION_HZ))[:, None]
    amplitude = np.sqrt(inside.astype(np.float64) @ power / np.maximum(inside.sum(axis=1, keepdims=True), 1))
    level = np.log(amplitude + 0.5)  # half a decibel is as good as none
    return np.asarray(level - level.mean(), np.float32).ravel()


def _slopes(bands: Floats, segments: int) -> Floats:
    """Shape (4 * segments * _SLOPE_BANDS,); in dB per tenth of the duration, and in dB per band."""
    around = np.pad(bands, 1, mode="edge")
    in_time = (around[2:, 1:-1] - around[:-2, 1:-1]) / 2 * (len(bands) / 10)
    in_frequency = (around[1:-1, 2:] - around[1:-1, :-2]) / 2
    cells = [
        stretches(stretches(np.maximum(slope, 0), segments).T, _SLOPE_BANDS)
        for slope in (in_time, -in_time, in_frequency, -in_frequency)
    ]
    return np.sqrt(np.stack(cells)).ravel()


def _to_unit_length(block: Floats) -> Floats:
    return block / max(float(np.linalg.norm(block)), _LEAST)
