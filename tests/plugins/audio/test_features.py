"""The arithmetic, against a textbook written out anew and slowly, and against facts that a person can check."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vecdb_audio.features import (
    dct_matrix,
    decibels,
    deltas,
    hz_to_mel,
    lifter_weights,
    mel_filterbank,
    mel_power,
    mel_to_hz,
    mfcc,
)


def test_the_mel_scale_is_slaneys():
    assert hz_to_mel([0, 200, 1000, 6400]) == pytest.approx([0, 3, 15, 42])  # 27 steps from 1000 to 6400 Hz
    frequencies = np.linspace(0, 20_000, 301)
    assert mel_to_hz(hz_to_mel(frequencies)) == pytest.approx(frequencies, abs=1e-8)
    assert (np.diff(hz_to_mel(frequencies)) > 0).all()


def test_each_mel_filter_is_a_triangle_of_area_one():
    filters = mel_filterbank(16_000, 4096, 40, 0.0, 8000.0)
    assert filters.shape == (40, 2049)
    assert filters.dtype == np.float32
    width = 16_000 / 4096
    assert filters.sum(axis=1) * width == pytest.approx(np.ones(40), rel=0.02)
    edges = mel_to_hz(np.linspace(0, hz_to_mel(8000), 42))
    assert filters.argmax(axis=1) * width == pytest.approx(edges[1:-1], abs=width)
    assert filters.max(axis=1) == pytest.approx(2 / (edges[2:] - edges[:-2]), rel=0.06)
    assert (filters >= 0).all()
    with pytest.raises(ValueError):
        filters[0, 0] = 1.0


def test_the_cosine_transform_keeps_lengths_and_angles():
    matrix = dct_matrix(40, 40).astype(np.float64)
    assert np.abs(matrix @ matrix.T - np.eye(40)).max() < 1e-6
    assert dct_matrix(5, 8)[0] == pytest.approx(np.full(8, math.sqrt(1 / 8)))


def test_lifters():
    assert lifter_weights("none", 4).tolist() == [1, 1, 1, 1]
    assert lifter_weights("root", 5) == pytest.approx([1, 1, math.sqrt(2), math.sqrt(3), 2])
    sine = lifter_weights("sine", 22)
    assert sine[0] == 1
    assert sine[11] == pytest.approx(12)
    assert sine[1] == pytest.approx(1 + 11 * math.sin(math.pi / 22))


def test_the_slope_of_a_straight_line_is_its_slope():
    line = (3 + 0.5 * np.arange(30))[:, None].astype(np.float32)
    found = deltas(line, reach=4)
    assert found[4:-4] == pytest.approx(np.full((22, 1), 0.5))
    assert (deltas(np.full((9, 2), 7.0, np.float32)) == 0).all()
    assert deltas(line[:1]).shape == (1, 1)


def test_a_tone_lights_up_the_band_it_lies_in():
    edges = mel_to_hz(np.linspace(float(hz_to_mel(20)), float(hz_to_mel(8000)), 42))
    filters = mel_filterbank(16_000, 1024, 40, 20.0, 8000.0)
    for band in (5, 20, 35):
        tone = np.sin(2 * np.pi * edges[band + 1] * np.arange(16_000) / 16_000).astype(np.float32)
        power = mel_power(tone, filters, n_fft=1024, hop=320)
        assert power.shape == (51, 40)
        assert power[25].argmax() == band


def test_decibels_are_counted_from_a_floor_under_the_loudest():
    found = decibels(np.array([[1.0, 0.1], [1e-3, 1e-9]], np.float32), 50.0)
    assert found == pytest.approx(np.array([[50.0, 40.0], [20.0, 0.0]]), abs=1e-4)
    assert (decibels(np.zeros((3, 2), np.float32), 50.0) == 0).all()


def test_long_sounds_are_analysed_in_pieces_without_a_seam():
    samples = np.random.default_rng(0).standard_normal(2048 * 64 + 5000).astype(np.float32)
    filters = mel_filterbank(16_000, 128, 8, 0.0, 8000.0)
    whole = mel_power(samples, filters, n_fft=128, hop=64)
    assert len(whole) == 1 + len(samples) // 64
    seam = 2048
    alone = mel_power(samples[(seam - 10) * 64 : (seam + 10) * 64], filters, n_fft=128, hop=64)
    assert whole[seam - 8 : seam + 8] == pytest.approx(alone[2:18], rel=1e-5)


# --- the textbook: Davis and Mermelstein, with Slaney's filters, one number at a time ---------------


def textbook_mfcc(samples, rate, n_fft, hop, n_mels, n_coefficients, top_db):
    def mel(f):
        return f / (200 / 3) if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)

    def hertz(m):
        return m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)

    padded = [0.0] * (n_fft // 2) + list(samples) + [0.0] * (n_fft // 2)
    edges = [hertz(mel(rate / 2) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    rows = []
    for start in range(0, len(padded) - n_fft + 1, hop):
        piece = [
            padded[start + i] * (0.5 - 0.5 * math.cos(2 * math.pi * i / n_fft)) for i in range(n_fft)
        ]
        spectrum = []
        for k in range(n_fft // 2 + 1):
            real = sum(v * math.cos(2 * math.pi * k * i / n_fft) for i, v in enumerate(piece))
            imaginary = sum(v * math.sin(2 * math.pi * k * i / n_fft) for i, v in enumerate(piece))
            spectrum.append(real * real + imaginary * imaginary)
        bands = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k, power in enumerate(spectrum):
                f = k * rate / n_fft
                if low < f <= centre:
                    total += power * (f - low) / (centre - low)
                elif centre < f < high:
                    total += power * (high - f) / (high - centre)
            bands.append(total * 2 / (high - low))
        rows.append(bands)
    loudest = max(map(max, rows))
    coefficients = []
    for bands in rows:
        levels = [max(10 * math.log10(max(b / loudest, 1e-30)), -top_db) + top_db for b in bands]
        coefficients.append(
            [
                math.sqrt((1 if n == 0 else 2) / n_mels)
                * sum(v * math.cos(math.pi * n * (2 * i + 1) / (2 * n_mels)) for i, v in enumerate(levels))
                for n in range(n_coefficients)
            ]
        )
    return np.array(coefficients)


def test_mfcc_equals_the_textbook():
    random = np.random.default_rng(3)
    time = np.arange(700) / 8000
    samples = (np.sin(2 * np.pi * 440 * time) * np.exp(-8 * time) + 0.05 * random.standard_normal(700)).astype(
        np.float32
    )
    wanted = textbook_mfcc(samples, rate=8000, n_fft=128, hop=64, n_mels=16, n_coefficients=10, top_db=50)
    filters = mel_filterbank(8000, 128, 16, 0.0, 4000.0)
    bands = decibels(mel_power(samples, filters, n_fft=128, hop=64), 50.0)
    found = mfcc(bands, 10)
    assert found.shape == wanted.shape == (11, 10)
    assert np.abs(found - wanted).max() < 2e-4  # of about 100
    assert mfcc(bands, 10, "root") == pytest.approx(found * lifter_weights("root", 10))
