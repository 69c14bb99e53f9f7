"""From samples to frames: log-mel spectrogram and mel-frequency cepstral coefficients.

The arithmetic is that of Slaney's Auditory Toolbox (1998), the default of librosa: Hann windows,
centred and zero-padded; power; triangular filters of equal area on a mel scale that is linear under
1 kHz; decibels; orthonormal DCT-II. MFCC after Davis and Mermelstein (1980), "Comparison of
parametric representations for monosyllabic word recognition in continuously spoken sentences".
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27

_FRAMES_AT_ONCE = 64  # windows of 1024 samples fill 256 KB: they stay in the cache, which makes it 2.5 times as fast


def hz_to_mel(hz: ArrayLike) -> NDArray[np.float64]:
    """Slaney's mel scale: linear to 1000 Hz (15 mel), then 27 steps for each factor of 6.4."""
    frequency = np.asarray(hz, dtype=np.float64)
    above = _BREAK_MEL + np.log(np.maximum(frequency, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(frequency >= _BREAK_HZ, above, frequency / _HZ_PER_MEL)


def mel_to_hz(mel: ArrayLike) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    pitch = np.asarray(mel, dtype=np.float64)
    above = _BREAK_HZ * np.exp(_LOG_STEP * np.maximum(pitch - _BREAK_MEL, 0.0))
    return np.where(pitch >= _BREAK_MEL, above, pitch * _HZ_PER_MEL)


@lru_cache(maxsize=16)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> Floats:
    """Triangular filters, shape (n_mels, n_fft // 2 + 1), each with area 1 over frequency in Hz.

    The array is shared between callers and cannot be written to.
    """
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    edges = mel_to_hz(np.linspace(float(hz_to_mel(fmin)), float(hz_to_mel(fmax)), n_mels + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    filters: Floats = (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)
    filters.setflags(write=False)
    return filters


@lru_cache(maxsize=16)
def dct_matrix(n_coefficients: int, n_bands: int) -> Floats:
    """The orthonormal DCT-II, shape (n_coefficients, n_bands). Shared; cannot be written to."""
    order = np.arange(n_coefficients)[:, None]
    position = np.arange(n_bands)
    matrix = np.cos(np.pi * order * (2 * position + 1) / (2 * n_bands)) * np.sqrt(2 / n_bands)
    matrix[0] /= np.sqrt(2)
    found: Floats = matrix.astype(np.float32)
    found.setflags(write=False)
    return found


def lifter_weights(kind: str, n_coefficients: int) -> Floats:
    """Weights of the coefficients, shape (n_coefficients,): the higher ones vary less and say as much.

    Args:
        kind: "root": sqrt(n), 1 for n = 0, the square root of the index weighting of Paliwal (1982),
            "On the performance of the quefrency-weighted cepstral coefficients in vowel recognition";
            "sine": 1 + L/2 sin(pi n / L) with L = 22, the lifter of Juang, Rabiner and Wilpon (1987),
            "On the use of bandpass liftering in speech recognition"; "none": 1.
        n_coefficients: how many.
    """
    order = np.arange(n_coefficients, dtype=np.float64)
    if kind == "root":
        weights = np.sqrt(np.maximum(order, 1.0))
    elif kind == "sine":
        weights = 1.0 + 11.0 * np.sin(np.pi * order / 22.0)
    else:
        weights = np.ones_like(order)
    return weights.astype(np.float32)


def mel_power(samples: Floats, filters: Floats, *, n_fft: int, hop: int) -> Floats:
    """Power in each mel band, shape (1 + len(samples) // hop, n_mels).

    Args:
        samples: float32, shape (n,).
        filters: of `mel_filterbank`.
        n_fft: window length in samples.
        hop: samples from the centre of a window to the next.
    """
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
    power = np.empty((1 + len(samples) // hop, len(filters)), dtype=np.float32)
    for start in range(0, len(power), _FRAMES_AT_ONCE):
        stop = min(start + _FRAMES_AT_ONCE, len(power))
        first = start * hop - n_fft // 2
        last = (stop - 1) * hop - n_fft // 2 + n_fft
        piece = np.pad(samples[max(first, 0) : last], (max(-first, 0), max(last - len(samples), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(piece, n_fft)[::hop]
        spectrum = np.fft.rfft(frames * window, axis=1)
        squared = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        power[start:stop] = squared @ filters.T
    return power


def decibels(power: Floats, top_db: float) -> Floats:
    """Power in dB over the floor, which lies `top_db` under the greatest value: from 0 to `top_db`.

    Relative to the sound's own maximum, so that a louder copy gives the same.
    """
    greatest = float(power.max(initial=0.0))
    if greatest <= 0.0:
        return np.zeros_like(power)
    relative = np.maximum(power / np.float32(greatest), np.float32(10 ** (-top_db / 10)))
    found: Floats = 10.0 * np.log10(relative) + np.float32(top_db)
    return found


def mfcc(bands: Floats, n_coefficients: int, lifter: str = "none") -> Floats:
    """Cepstral coefficients of mel bands in dB: shape (frames, n_mels) to (frames, n_coefficients)."""
    return (bands @ dct_matrix(n_coefficients, bands.shape[1]).T) * lifter_weights(lifter, n_coefficients)


def deltas(frames: Floats, reach: int = 4) -> Floats:
    """Slope over time of each column: the regression line over 2 * reach + 1 frames (Furui 1986).

    The first and last frame are repeated beyond the ends.
    """
    padded = np.pad(frames, ((reach, reach), (0, 0)), mode="edge")
    length = len(frames)
    slope = np.zeros(frames.shape, dtype=np.float32)
    for step in range(1, reach + 1):
        after = padded[reach + step : reach + step + length]
        before = padded[reach - step : reach - step + length]
        slope += np.float32(step) * (after - before)
    slope /= 2 * sum(step * step for step in range(1, reach + 1))
    return slope
