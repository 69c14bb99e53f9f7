"""Both embedders hold to the contract for plugins."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

import vecdb
from tests.plugins.audio.sounds import INFOS, RATE, file_bytes, melody
from vecdb.testing import EmbedderContract

GOOD = [
    vecdb.Audio(melody(1.0, seed=1).astype(np.float32), sample_rate=RATE),
    vecdb.Audio(file_bytes(melody(2.0, seed=2), kind="FLAC")),
    vecdb.Audio(file_bytes(melody(0.5, 44_100, seed=3), 44_100, "MP3")),
    vecdb.Audio(file_bytes(melody(3.0, 8_000, seed=4), 8_000, "OGG")),
    vecdb.Audio(file_bytes(np.stack([melody(1.0, seed=5)] * 2, axis=1))),
]
BAD = [
    vecdb.Audio(file_bytes(np.zeros(RATE))),
    vecdb.Audio(file_bytes(melody(1.0))[:9000]),
    vecdb.Audio(file_bytes(melody(1.0)[:500])),
    vecdb.Audio(b""),
]
_TUNE = melody(2.0, seed=6)
NEAR = (
    vecdb.Audio(_TUNE, sample_rate=RATE),
    vecdb.Audio(file_bytes(0.1 * _TUNE, kind="MP3")),
    vecdb.Audio(np.random.default_rng(0).standard_normal(2 * RATE) * 0.1, sample_rate=RATE),
)


class TestMfcc(EmbedderContract):
    info = INFOS["mfcc"]
    good, bad, near = GOOD, BAD, NEAR
    runtime_change = MappingProxyType({"max_seconds": 100.0})
    vector_change = MappingProxyType({"pooling": "segments"})


class TestSpectrogram(EmbedderContract):
    info = INFOS["spectrogram"]
    good, bad, near = GOOD, BAD, NEAR
    runtime_change = MappingProxyType({"max_seconds": 100.0})
    vector_change = MappingProxyType({"n_mels": 64})
