"""Three fixed items for each kind of content, and comparing what an embedder makes of them.

A fingerprint says nothing of devices, library versions and the machine; a probe does: a short item,
one longer than what most models read before they cut, and an odd one, embedded at creation and again
later, must give the same vectors. (A short item alone does not see another truncation: cosine 1.0
where real texts fell to 0.88.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import CorruptDatabaseError
from vecdb.types import Audio, Image, Modality, Scalar, Vector
from vecdb.vectors import from_blobs, to_blobs

MIN_COSINE = 0.999
"""Measured against torch in float32: bfloat16 0.9999, int8 0.9992, another max_length 0.88."""

# Several languages and scripts, so that any vocabulary knows some of it.
_TEXT = (
    "the house of water and a small red dog in time with music world hand night city river tree"
    " el agua de la casa y un perro pequeño noche das Haus und der Hund im Wasser Zeit Musik Welt"
    " le chien dans la maison avec une ville вода дом и время мир рука город"
    " 水 家 时间 世界 音乐 夜 空 山 人 の が は ما في من على بيت ماء घर पानी और समय 집 물 시간 세계"
)
_WORDS = _TEXT.split()
_LONG_WORDS = 1500


def probe_items(modality: Modality) -> list[Scalar]:
    """The short, the long and the odd item of this kind; none for "ids", whose items are the caller's."""
    if modality == "text":
        # The step is prime to the number of words: each turn meets all of them in another order.
        long = " ".join(_WORDS[(i * 37 + i // len(_WORDS)) % len(_WORDS)] for i in range(_LONG_WORDS))
        return [
            "The dog and the house. Вода и время. 世界",
            long,
            "THE  Wörld!? (and) 3.14159\t№42 — naïve\u0301 🙂🐕 don't\nhttps://example.org/a?b=c ¡agua! \u200fماء",
        ]
    if modality == "image":
        return [_picture(64, 64, 3), _picture(1200, 900, 3), _picture(37, 211, 1)]
    if modality == "audio":
        return [_sound(0.5, 16_000, 1), _sound(35.0, 16_000, 1), _sound(1.37, 44_100, 2)]
    return []


def probes_agree(stored: Sequence[Vector | None], now: Sequence[Vector | None]) -> bool:
    """Whether two probes of one embedder are comparable: each cosine is at least 0.999.

    An item without a vector (None) agrees only with None.
    """
    if len(stored) != len(now):
        return False
    return all(_agree(before, after) for before, after in zip(stored, now, strict=True))


def probe_to_bytes(probe: Sequence[Vector | None]) -> bytes:
    """A probe as it is stored."""
    parts = [b"" if vector is None else to_blobs(vector[None, :])[0] for vector in probe]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def probe_from_bytes(data: bytes) -> list[Vector | None]:
    """What `probe_to_bytes` made.

    Raises:
        CorruptDatabaseError: it is something else.
    """
    if not isinstance(data, bytes):
        raise CorruptDatabaseError("a stored probe is no bytes; run `vecdb check`, or restore a backup")
    found: list[Vector | None] = []
    while data:
        size = int.from_bytes(data[:4], "little")
        part, rest = data[4 : 4 + size], data[4 + size :]
        if len(data) < 4 or len(part) != size or size % 4:
            raise CorruptDatabaseError("a stored probe is damaged; run `vecdb check`, or restore a backup")
        found.append(from_blobs([part], size // 4)[0] if size else None)
        data = rest
    return found


def _agree(before: Vector | None, after: Vector | None) -> bool:
    if before is None or after is None:
        return before is after
    if before.shape != after.shape:
        return False
    a, b = before.astype(np.float64), after.astype(np.float64)
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return False
    return bool(a @ b >= MIN_COSINE * np.sqrt((a @ a) * (b @ b)))


def _picture(width: int, height: int, channels: int) -> Image:
    """Waves and edges in integer arithmetic, the same on each machine, as a PNG."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * (3 + c) * 255 // width + (y * y * (2 + c)) // height) % 256 for c in range(channels)]
    pixels = np.stack(planes, axis=-1).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = 240
    return Image(png_bytes(pixels))


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of an array of shape (height, width, 1 or 3): the probe must not need an image library."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter, 0 for none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _sound(seconds: float, sample_rate: int, channels: int) -> Audio:
    """A rising tone with overtones and some noise, the same on each machine."""
    frames = int(seconds * sample_rate)
    time = np.arange(frames, dtype=np.float64) / sample_rate
    phase = 2 * np.pi * (220.0 * time + 180.0 * time * time / seconds)
    noise = ((np.arange(frames, dtype=np.int64) * 1_103_515_245 + 12_345) % 65_536) / 32_768 - 1
    tone = 0.4 * np.sin(phase) + 0.2 * np.sin(3 * phase) + 0.05 * noise
    samples = np.stack([tone * (1 - 0.5 * c) for c in range(channels)], axis=-1) if channels > 1 else tone
    return Audio(samples, sample_rate=sample_rate)
