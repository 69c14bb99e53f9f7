"""Real recordings with bytes changed, lost or doubled: the promised error or a vector, never a crash."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import soundfile

import vecdb
from tests.plugins.audio.sounds import embedder, file_bytes
from tests.quality.audio import clips
from tests.shared import needs_shared


@needs_shared("audio-esc10", "audio-fsdd")
@pytest.mark.parametrize("kind", ["as it is", "FLAC", "MP3"])
@pytest.mark.parametrize("folder", ["audio-esc10", "audio-fsdd"])
def test_a_mutilated_recording_gives_an_error_or_a_vector(folder, kind):
    mfcc = embedder("mfcc")
    chance = random.Random(f"{folder} {kind}")
    originals = [clip.data for clip in chance.sample(clips(folder)[0], 4)]
    if kind != "as it is":
        read = [soundfile.read(io.BytesIO(data)) for data in originals]
        originals = [file_bytes(samples[:20_000], rate, kind) for samples, rate in read]
    refused = 0
    for round_ in range(60):
        data = bytearray(originals[round_ % 4])
        start = chance.randrange(len(data))
        size = chance.choice((1, 10, 1000))
        match chance.choice(("flip", "drop", "repeat", "cut", "zero")):
            case "flip":
                for _ in range(size // 10 + 1):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case "drop":
                del data[start : start + size]
            case "repeat":
                data[start:start] = data[start : start + size]
            case "cut":
                del data[start:]
            case "zero":
                data[start : start + size] = bytes(len(data[start : start + size]))
        try:
            vector = mfcc.prepare(vecdb.Audio(bytes(data)))
        except (vecdb.DecodeError, vecdb.ItemError):
            refused += 1
        else:
            assert vector.shape == (mfcc.dimension,)
            assert np.isfinite(vector).all()
    assert refused == 60 if kind == "FLAC" else 0 < refused < 60  # FLAC has checksums
