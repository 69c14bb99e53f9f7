"""Sounds that the tests make: synthetic, and written in every format."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

import vecdb
import vecdb_audio

RATE = 16_000
INFOS = {info.name: info for info in vecdb_audio.vecdb_register_embedders()}
NAMES = sorted(INFOS)


def embedder(name: str, **options: Any) -> vecdb.Embedder:
    """A loaded embedder of this plugin."""
    made = INFOS[name].create(INFOS[name].configure(options))
    made.load()
    return made


def melody(seconds: float = 2.0, rate: int = RATE, seed: int = 0) -> NDArray[np.float64]:
    """A tune of tones with harmonics up to 3 kHz, each dying away, over soft noise; peak under 0.6."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    note = np.minimum((time / 0.25).astype(int), int(seconds / 0.25))
    pitch = random.uniform(150, 600, note.max() + 1)[note]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 6))
    return 0.25 * tone * np.exp(-6 * (time % 0.25)) + 0.002 * random.standard_normal(len(time))


def file_bytes(samples: Any, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """The samples as a sound file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav_header(
    body: bytes, *, rate: int = RATE, channels: int = 1, bits: int = 16, declared: int | None = None
) -> bytes:
    """A PCM WAV file whose header may lie: `declared` is the length that it claims its data to have."""
    size = len(body) if declared is None else declared
    frame = channels * bits // 8
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", min(36 + size, 2**32 - 1), b"WAVE", b"fmt ", 16, 1, channels, rate),
        *((rate * frame) % 2**32, frame % 2**16, bits, b"data", size),
    )
    return head + body


def cosine(first: Any, second: Any) -> float:
    """Cosine of the angle between two vectors."""
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
