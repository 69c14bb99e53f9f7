"""From a sound file to samples: the only code that touches libsndfile and soxr, and trusts neither.

A file is read in blocks, so that memory is bounded by the seconds allowed and not by what a header
says or what a compressed file grows to.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vecdb import Audio, DecodeError, ItemError, UnsupportedContentError, VecdbError
from vecdb_audio.features import Floats

_FORMATS = "WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF or AU"
_STARTS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd")
_CONTAINERS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "MPEG", "AIFF", "AU"}
_CONVERT = "convert it to FLAC or WAV, for example with ffmpeg -i FILE out.flac"

_MOST_CHANNELS = 32
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 384_000
_VALUES_AT_ONCE = 1 << 16  # samples of all channels in one block: 256 KB, which stays in the cache
_SILENCE = 1e-6  # of full scale, -120 dB: under the last bit of a 20-bit recording

# libsndfile writes a chunk's declared length and what is really there to its log, and reads on.
_LENGTH_IN_LOG = re.compile(r"(?:data|Data Size|SSND|Riff size|riff)\s*: (\d+) \(should be (\d+)\)")
_LENGTH_UNKNOWN = 0x7FFFFF00  # programs that write to a pipe put the greatest number there
_LENGTH_SLACK = 64  # bytes; some programs count the header too
_UNENDED_OGG = re.compile(r"lacks an end-of-stream bit|junk after the last page", re.IGNORECASE)


def read_sound(item: Path | Audio, *, sample_rate: int, channel: str, least: int, max_seconds: float) -> Floats:
    """The samples of a sound, one channel, resampled, without a constant offset, with peak 1.

    Args:
        item: a sound file; its content decides what it is, not its name.
        sample_rate: frames per second of the result.
        channel: "mix" (the mean of all), "left" (the first) or "right" (the second, if there is one).
        least: fewer samples than this are refused.
        max_seconds: a longer sound is refused.

    Returns:
        float32 of shape (n,), n >= least.

    Raises:
        UnsupportedContentError: the item is neither a path nor an `Audio`.
        DecodeError: no such file; not a sound file; damaged or truncated; samples not finite.
        ItemError: too long, too short, or silent.
    """
    name = _name_of(item)
    with _opened(item, name) as file, _mapped_errors(name, file):
        blocks: list[Floats] = []
        loudest_channel = 0.0
        with _sound_file()(file) as sound:
            _check_header(sound, name, max_seconds)
            resample = _resampler(sound.samplerate, sample_rate)
            for block in _blocks(sound, file, name, max_seconds):
                loudest_channel = max(loudest_channel, float(np.abs(block).max()))
                blocks.append(resample(_one_channel(block, channel), last=False))
            blocks.append(resample(np.zeros(0, dtype=np.float32), last=True))
    samples = np.concatenate(blocks)
    del blocks  # half an hour is 115 MB
    return _levelled(samples, name, sample_rate, least, heard=loudest_channel > _SILENCE)


# --- opening ------------------------------------------------------------------------------------


class _Stream:
    """What libsndfile may do with a file: read and seek.

    It hides the file's name, because libsndfile and soundfile guess a format from the suffix; and it
    keeps the first error, because an exception cannot pass through C.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self.error = self.error or error
            return b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except ValueError:  # a position before the start: stay
            return self._file.tell()
        except OSError as error:
            self.error = self.error or error
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()


def _name_of(item: Path | Audio) -> str:
    if isinstance(item, Path):
        return str(item)
    if isinstance(item, Audio):
        return f"this sound of {len(item.data)} bytes"
    raise UnsupportedContentError(
        f"a sound is a pathlib.Path or a vecdb.Audio, not {type(item).__name__}; wrap bytes as vecdb.Audio(data)"
    )


@contextmanager
def _opened(item: Path | Audio, name: str) -> Iterator[_Stream]:
    if isinstance(item, Audio):
        yield _checked_start(io.BytesIO(item.data), name)
        return
    if not item.is_file():  # a pipe or a device would be waited on for ever
        raise DecodeError(f"{name} is not a file; give the path of a sound file")
    try:
        file = item.open("rb")
    except OSError as error:
        raise DecodeError(f"{name} cannot be opened ({error.strerror}); check its permissions") from error
    with file:
        yield _checked_start(file, name)


def _checked_start(file: BinaryIO, name: str) -> _Stream:
    """Refuse what is none of the formats before libsndfile's rarer parsers see it.

    CAF is one of those: its ALAC decoder prints to standard output when a file is damaged.
    """
    stream = _Stream(file)
    start = stream.read(12)
    stream.seek(0)
    if stream.error:
        raise DecodeError(f"{name} cannot be read ({stream.error.strerror}); check the disk") from stream.error
    if not start:
        raise DecodeError(f"{name} is empty; give a sound file ({_FORMATS})")
    is_mpeg = len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0
    if not (is_mpeg or start.startswith(_STARTS)):
        raise DecodeError(f"{name} is not a sound file of a known kind ({_FORMATS}); {_CONVERT}")
    return stream


@cache
def _sound_file() -> Any:
    import soundfile

    class ForwardOnly(soundfile.SoundFile):  # type: ignore[misc]
        """Never seeks: soundfile seeks after each block, which is slow and fails where no length is declared."""

        def seekable(self) -> bool:
            return False

    return ForwardOnly


@contextmanager
def _mapped_errors(name: str, file: _Stream) -> Iterator[None]:
    try:
        yield
    except (VecdbError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        said = file.error or getattr(error, "error_string", None) or str(error) or type(error).__name__
        reason = str(said).strip(". ")
        raise DecodeError(f"{name} cannot be decoded ({reason}); get a whole copy, or {_CONVERT}") from error


# --- reading ------------------------------------------------------------------------------------


def _check_header(sound: Any, name: str, max_seconds: float) -> None:
    if sound.format not in _CONTAINERS:
        raise DecodeError(f"{name} is a {sound.format} file, not one of {_FORMATS}; {_CONVERT}")
    if not 1 <= sound.channels <= _MOST_CHANNELS:
        raise DecodeError(f"{name} has {sound.channels} channels; 1 to {_MOST_CHANNELS} are taken: split them")
    if not _LOWEST_RATE <= sound.samplerate <= _HIGHEST_RATE:
        raise DecodeError(
            f"{name} has {sound.samplerate} frames per second; {_LOWEST_RATE} to {_HIGHEST_RATE} are taken: resample it"
        )
    if _knows_length(sound) and sound.frames > max_seconds * sound.samplerate:
        raise _too_long(name, sound.frames / sound.samplerate, max_seconds)
    if _is_cut_short(sound):
        raise _truncated(name)


def _blocks(sound: Any, file: _Stream, name: str, max_seconds: float) -> Iterator[Floats]:
    """Blocks of shape (frames, channels), none empty; counts what is really there."""
    size = max(1, _VALUES_AT_ONCE // sound.channels)
    frames = 0
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        frames += len(block)
        if frames > max_seconds * sound.samplerate:
            raise _too_long(name, frames / sound.samplerate, max_seconds)
        if not np.isfinite(block).all():
            raise DecodeError(f"{name} has samples that are NaN or infinite; mend it where it was made")
        yield block
    if file.error:
        raise DecodeError(f"{name} cannot be read ({file.error.strerror}); check the disk") from file.error
    if frames == 0:
        raise ItemError(f"{name} holds no samples; leave it out, or record it again")
    if _knows_length(sound) and sound.frames - frames > sound.samplerate // 10:  # an MP3 may be off by a frame
        raise _truncated(name)


def _knows_length(sound: Any) -> bool:
    return bool(0 <= sound.frames < 1 << 62)


def _is_cut_short(sound: Any) -> bool:
    log = sound.extra_info
    lengths = [(int(declared), int(present)) for declared, present in _LENGTH_IN_LOG.findall(log)]
    lost = any(declared < _LENGTH_UNKNOWN and declared - present > _LENGTH_SLACK for declared, present in lengths)
    return lost or _UNENDED_OGG.search(log) is not None


def _truncated(name: str) -> DecodeError:
    return DecodeError(
        f"{name} is truncated: it ends before the length it declares; get a whole copy, or keep what is there with "
        "ffmpeg -i FILE out.flac"
    )


def _too_long(name: str, seconds: float, max_seconds: float) -> ItemError:
    return ItemError(
        f"{name} lasts {seconds:.0f} seconds or more, over the limit of {max_seconds:g}; one vector says little of so "
        "long a sound: split it, or raise the option max_seconds"
    )


# --- samples ------------------------------------------------------------------------------------


def _one_channel(block: Floats, channel: str) -> Floats:
    if channel == "mix" and block.shape[1] > 1:
        mixed: Floats = block.mean(axis=1, dtype=np.float64).astype(np.float32)
        return mixed
    second = channel == "right" and block.shape[1] > 1
    return np.ascontiguousarray(block[:, int(second)])


def _resampler(source: int, target: int) -> Any:
    if source == target:
        return lambda block, last: block  # noqa: ARG005  (soxr's signature)
    import soxr

    return soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ").resample_chunk


def _levelled(samples: Floats, name: str, sample_rate: int, least: int, *, heard: bool) -> Floats:
    if len(samples) < least:
        raise ItemError(
            f"{name} lasts {1000 * len(samples) / sample_rate:.0f} ms, less than one window of "
            f"{1000 * least / sample_rate:.0f} ms; leave it out, or set a smaller n_fft"
        )
    samples -= np.float32(samples.mean(dtype=np.float64))
    peak = max(float(samples.max()), -float(samples.min()))
    if not np.isfinite(peak):
        raise DecodeError(f"{name} has samples too large for 32-bit floats; scale them to -1..1")
    if peak > _SILENCE:
        samples /= np.float32(peak)
        return samples
    if heard:
        raise ItemError(
            f"{name}: nothing is left to hear (its channels cancel out, or it is a constant, or outside the band of "
            "this sample_rate); set channel='left' or 'right', or leave it out"
        )
    raise ItemError(f"{name} is silent (nothing over -120 dB of full scale); leave it out, or record it again")
