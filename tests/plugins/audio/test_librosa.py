"""The same numbers as librosa, which is not a dependency: its own are kept beside this file.

Made by librosa 0.11.0 with

    power = librosa.feature.melspectrogram(
        y=chirp(), sr=16_000, n_fft=1024, hop_length=320, n_mels=40, fmin=20, fmax=8000, pad_mode="constant")
    log_mel = librosa.power_to_db(power, ref=np.max, top_db=80).T
    mfcc = librosa.feature.mfcc(S=log_mel.T, n_mfcc=20).T
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.plugins.audio.sounds import cosine
from vecdb_audio.features import decibels, mel_filterbank, mel_power, mfcc

LIBROSA = Path(__file__).with_name("librosa")
DB = 6e-5


def chirp() -> np.ndarray:
    """Half a second, from 100 to 7000 Hz and dying away, over a hum: needs no random numbers to be made again."""
    time = np.arange(8000) / 16_000
    rising = np.sin(2 * np.pi * (100 * time + 6900 * time**2)) * np.exp(-5 * time)
    return (0.5 * rising + 0.05 * np.sin(2 * np.pi * 50 * time)).astype(np.float32)


def test_log_mel_and_mfcc_are_those_of_librosa():
    log_mel = np.loadtxt(LIBROSA / "log_mel.csv", delimiter=",")
    cepstra = np.loadtxt(LIBROSA / "mfcc.csv", delimiter=",")
    bands = decibels(mel_power(chirp(), mel_filterbank(16_000, 1024, 40, 20.0, 8000.0), n_fft=1024, hop=320), 80.0)
    assert bands.shape == log_mel.shape == (26, 40)
    assert np.abs((bands - 80) - log_mel).max() < DB
    found = mfcc(bands - 80, 20)
    assert found.shape == cepstra.shape == (26, 20)
    assert min(cosine(mine, theirs) for mine, theirs in zip(found, cepstra, strict=True)) > 1 - 1e-6
    assert np.abs(found - cepstra).max() < 40 * DB  # each a sum over 40 bands
