"""Pictures and sounds, of every format that is read."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

import vecdb
from tests.shared import SHARED
from tests.torture.fuzzing.target import BrokenPromise, NotHere, Target

_MOST_PIXELS = 1 << 21
_MOST_SECONDS = 20.0
_RATE = 16_000


def _pictures(data: bytes, folder: Path) -> None:
    from vecdb_image.decoding import read_picture

    try:
        item = vecdb.Image(data)
        picture = read_picture(item, max_pixels=_MOST_PIXELS, wanted=64)
    except (vecdb.DecodeError, vecdb.UnsupportedContentError):
        return
    if picture.mode != "RGB" or picture.width * picture.height > _MOST_PIXELS:
        raise BrokenPromise(f"a picture in mode {picture.mode} of {picture.size}")
    np.asarray(picture)


def _picture_seeds(folder: Path) -> list[bytes]:
    try:
        from PIL import Image as Pillow
    except ImportError as error:
        raise NotHere("Pillow is not installed") from error
    pixels = np.random.default_rng(1).integers(0, 256, (13, 17, 4), np.uint8)
    pictures = [Pillow.fromarray(pixels).convert(mode) for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "F", "I;16")]
    exif = Pillow.Exif()
    exif[0x0112] = 6
    seeds = [struct.pack("<2sIHHI", b"BM", 0xFFFFFF, 0, 0, 54), b"P6\n99999 99999\n255\n", _png(30_000, 30_000)]
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM"):
        for picture in pictures:
            extra = {"exif": exif.tobytes()} if kind in ("JPEG", "WEBP") else {}
            many = (
                {"save_all": True, "append_images": [picture]}
                if kind in ("GIF", "TIFF") and picture.mode == "P"
                else {}
            )
            out = io.BytesIO()
            try:
                picture.save(out, kind, **extra, **many)
            except (OSError, KeyError, ValueError):
                continue  # no such mode in this format
            seeds.append(out.getvalue())
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        out = io.BytesIO()
        pictures[0].save(out, "TIFF", compression=compression)
        seeds.append(out.getvalue())
    return seeds + _from_archive("images-caltech25", "images.zip", 3)


def _png(width: int, height: int) -> bytes:
    """A bomb: a header that promises many pixels, and few bytes that become many zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _from_archive(folder: str, name: str, count: int) -> list[bytes]:
    """Small members of the shared data, where they lie beside the checkout."""
    path = SHARED / folder / name if SHARED is not None else None
    if path is None or not path.is_file():
        return []
    with zipfile.ZipFile(path) as archive:
        small = sorted((one.file_size, one.filename) for one in archive.infolist() if not one.is_dir())
        return [archive.read(name) for _, name in small[:count]]


def _sounds(data: bytes, folder: Path) -> None:
    from vecdb_audio.decoding import read_sound

    try:
        item = vecdb.Audio(data)
        samples = read_sound(item, sample_rate=_RATE, channel="mix", least=400, max_seconds=_MOST_SECONDS)
    except (vecdb.DecodeError, vecdb.ItemError, vecdb.UnsupportedContentError):
        return
    longest = (_MOST_SECONDS + 1) * _RATE
    if samples.dtype != np.float32 or not np.isfinite(samples).all() or not 400 <= len(samples) <= longest:
        raise BrokenPromise(f"samples {samples.dtype} {samples.shape}")


def _sound_seeds(folder: Path) -> list[bytes]:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise NotHere(f"soundfile cannot be imported ({error})") from error
    time = np.arange(1200) / 8000
    tone = np.stack([np.sin(440 * 2 * np.pi * time), np.sin(330 * 2 * np.pi * time)], axis=1) * 0.5
    seeds = []
    kinds = [
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"),
        ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
        ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "PCM_16"),
    ]  # fmt: skip
    for kind, subtype in kinds:
        for samples in (tone, tone[:, 0]):
            out = io.BytesIO()
            try:
                soundfile.write(out, samples, 8000, format=kind, subtype=subtype)
            except (soundfile.LibsndfileError, ValueError, TypeError):
                continue  # not in this build, or not with so many channels
            seeds.append(out.getvalue())
    return seeds + [data[:6000] for data in _from_archive("audio-fsdd", "clips.zip", 2)]


TARGETS = [
    Target(
        "pictures",
        _picture_seeds,
        _pictures,
        longest=8192,
        words=[b"IHDR", b"IDAT", b"tRNS", b"Exif", b"VP8L", b"ftyp"],
    ),
    Target("sounds", _sound_seeds, _sounds, longest=8192, words=[b"RIFF", b"fmt ", b"data", b"OggS", b"fLaC", b"COMM"]),
]
