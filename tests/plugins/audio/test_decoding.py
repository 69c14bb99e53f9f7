"""Sound files in every format, and everything that can be wrong with one."""

from __future__ import annotations

import io
import os
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.plugins.audio.sounds import RATE, cosine, embedder, file_bytes, melody, wav_header
from vecdb_audio.decoding import read_sound

FORMATS = [  # the least cosine with the unchanged sound: lossy and 8-bit formats lose some
    *[("WAV", subtype, 0.9999) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")],
    *[("WAV", subtype, 0.97) for subtype in ("PCM_U8", "ULAW", "ALAW")],
    *[("WAVEX", subtype, 0.9999) for subtype in ("PCM_24", "PCM_32", "FLOAT")],
    *[(kind, "PCM_16", 0.9999) for kind in ("WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU")],
    ("FLAC", "PCM_24", 0.9999),
    ("OGG", "VORBIS", 0.98),
    ("OGG", "OPUS", 0.98),
    ("MP3", "MPEG_LAYER_III", 0.98),
]


@pytest.fixture(scope="module")
def mfcc():
    return embedder("mfcc")


@pytest.fixture(scope="module")
def tune():
    return melody(2.0)


@pytest.fixture(scope="module")
def reference(mfcc, tune):
    return mfcc.prepare(vecdb.Audio(tune.astype(np.float32), sample_rate=RATE))


def samples_of(data: bytes, channel: str = "mix", sample_rate: int = RATE):
    return read_sound(vecdb.Audio(data), sample_rate=sample_rate, channel=channel, least=100, max_seconds=60)


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "subtype", "least"), FORMATS)
@pytest.mark.parametrize("suffix", ["", ".txt", ".raw"])
def test_a_format_is_known_by_its_content(tmp_path, mfcc, tune, reference, kind, subtype, least, suffix):
    path = tmp_path / f"sound{suffix}"
    path.write_bytes(file_bytes(tune, kind=kind, subtype=subtype))
    assert cosine(mfcc.prepare(path), reference) > least
    assert mfcc.prepare(vecdb.Audio(path.read_bytes())) == pytest.approx(mfcc.prepare(path), abs=0)


def test_samples_come_back_as_they_were(tune):
    found = samples_of(file_bytes(tune, subtype="DOUBLE"))
    wanted = tune - tune.mean()
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted / np.abs(wanted).max(), abs=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000])
def test_resampling_keeps_the_wave(rate):
    def wave(at: int):
        time = np.arange(2 * at) / at
        return 0.5 * np.sin(2 * np.pi * 300 * time) + 0.2 * np.sin(2 * np.pi * 2500 * time)

    found = samples_of(file_bytes(wave(rate), rate, subtype="FLOAT"))
    wanted = wave(RATE) / np.abs(wave(RATE)).max()
    assert len(found) == len(wanted)
    inside = slice(500, -500)  # the ends ring
    gain = float(found[inside] @ wanted[inside] / (wanted[inside] @ wanted[inside]))
    assert np.abs(found[inside] - gain * wanted[inside]).max() < 1e-3


def test_what_lies_over_the_new_limit_does_not_fold_back():
    time = np.arange(44_100) / 44_100
    found = samples_of(file_bytes(np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 9000 * time), 44_100, "WAV"))
    spectrum = np.abs(np.fft.rfft(found[1000:-1000]))
    frequencies = np.fft.rfftfreq(len(found) - 2000, 1 / RATE)
    folded = spectrum[(frequencies > 6900) & (frequencies < 7100)].max()  # 16000 - 9000 Hz
    assert folded < 1e-3 * spectrum.max()


def test_channels():
    left, right = melody(1.0, seed=1), melody(1.0, seed=2)
    stereo = file_bytes(np.stack([left, right], axis=1), subtype="FLOAT")
    assert samples_of(stereo, "left") == pytest.approx(samples_of(file_bytes(left, subtype="FLOAT"), "mix"), abs=1e-6)
    assert samples_of(stereo, "right") == pytest.approx(samples_of(file_bytes(right, subtype="FLOAT")), abs=1e-6)
    middle = file_bytes((left + right) / 2, subtype="FLOAT")
    assert samples_of(stereo) == pytest.approx(samples_of(middle), abs=1e-5)
    mono = file_bytes(left, subtype="FLOAT")
    assert samples_of(mono, "right") == pytest.approx(samples_of(mono, "left"), abs=0)


def test_many_channels():
    tune = melody(1.0)
    assert len(samples_of(file_bytes(np.stack([tune] * 32, axis=1)))) == RATE
    with pytest.raises(vecdb.DecodeError, match="33 channels; 1 to 32"):
        samples_of(file_bytes(np.stack([tune] * 33, axis=1)))


def test_a_length_that_was_not_known_when_the_file_was_written(tune):
    body = (tune * 32767).astype("<i2").tobytes()
    whole = samples_of(wav_header(body))
    for declared in (2**32 - 1, 2**31 - 1):
        assert samples_of(wav_header(body, declared=declared)) == pytest.approx(whole, abs=0)
    flac = bytearray(file_bytes(tune, kind="FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)  # the total number of samples, 36 bits; 0 means unknown
    assert samples_of(bytes(flac)) == pytest.approx(samples_of(file_bytes(tune, kind="FLAC")), abs=0)


# --- what is no sound file ----------------------------------------------------------------------


def pickled() -> bytes:
    """A pickle that would call `os.abort`, written by hand: loading it ends the tests."""
    return b"cos\nabort\n(tR." + bytes(100)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("sound.wav", file_bytes(melody(0.2)))
    return buffer.getvalue()


NO_SOUNDS = {
    "empty": (b"", "is empty"),
    "text": (b"The dog ran after the ball in the park.\n" * 100, "not a sound file"),
    "one byte": (b"R", "not a sound file"),
    "zeros": (bytes(5000), "not a sound file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a sound file"),
    "m4a": (b"\x00\x00\x00\x20ftypM4A " + bytes(100), "ffmpeg"),
    "CAF": (file_bytes(melody(1.0), kind="CAF"), "not a sound file of a known kind"),
    "an Amiga sound": (file_bytes(melody(1.0), kind="SVX", subtype="PCM_16"), "is a SVX file, not one of WAV"),
    "a pickle": (pickled(), "not a sound file"),
    "a zip": (zipped(), "not a sound file"),
    "a pickle behind a RIFF header": (b"RIFF\x00\x01\x00\x00WAVE" + pickled(), "cannot be decoded"),
    "random": (random.Random(0).randbytes(4000), "not a sound file"),
    "only a RIFF header": (b"RIFF\x00\x00\x00\x00WAVE", "cannot be decoded"),
    "RIFF, not WAVE": (b"RIFF\x00\x10\x00\x00AVI " + bytes(3000), "cannot be decoded"),
    "Ogg, nothing more": (b"OggS" + bytes(4000), "cannot be decoded"),
    "FLAC, nothing more": (b"fLaC" + bytes(4000), "cannot be decoded"),
    "MPEG, nothing more": (b"\xff\xfb\x90\xc4" + bytes(4000), "cannot be decoded|holds no samples"),
    "ID3, nothing more": (b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(4000), "cannot be decoded"),
    "rate 0": (wav_header(bytes(4000), rate=0), "cannot be decoded"),
    "rate 4000000000": (wav_header(bytes(4000), rate=4_000_000_000), "cannot be decoded"),
    "rate 900": (wav_header(bytes(4000), rate=900), "900 frames per second; 1000 to 384000"),
    "rate 400000": (wav_header(bytes(4000), rate=400_000), "400000 frames per second"),
    "no channel": (wav_header(bytes(4000), channels=0), "cannot be decoded"),
    "2000 channels": (wav_header(bytes(4000), channels=2000), "cannot be decoded"),
    "no samples": (wav_header(b""), "holds no samples"),
}


@pytest.mark.parametrize("kind", NO_SOUNDS)
def test_no_sound_file(tmp_path, kind):
    data, words = NO_SOUNDS[kind]
    path = tmp_path / "a sound.wav"
    path.write_bytes(data)
    with pytest.raises((vecdb.DecodeError, vecdb.ItemError), match=words) as caught:
        read_sound(path, sample_rate=RATE, channel="mix", least=100, max_seconds=60)
    assert "a sound.wav" in str(caught.value)
    with pytest.raises((vecdb.DecodeError, vecdb.ItemError), match=f"{len(data)} bytes"):
        samples_of(data)


def test_no_file(tmp_path, mfcc):
    with pytest.raises(vecdb.DecodeError, match=r"none\.wav is not a file"):
        mfcc.prepare(tmp_path / "none.wav")
    with pytest.raises(vecdb.DecodeError, match="is not a file"):
        mfcc.prepare(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path, mfcc):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(vecdb.DecodeError, match="is not a file"):
        mfcc.prepare(tmp_path / "pipe.wav")


@pytest.mark.parametrize("item", ["sound.wav", b"RIFF", 7, None, np.zeros(5)])
def test_neither_a_path_nor_a_sound(mfcc, item):
    with pytest.raises(vecdb.UnsupportedContentError, match=r"pathlib\.Path or a vecdb\.Audio"):
        mfcc.prepare(item)


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subtype"), [(k, s) for k, s, _ in FORMATS if s in ("PCM_16", "VORBIS", "OPUS", "MPEG_LAYER_III")]
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.9])
def test_a_truncated_file_is_refused(tune, kind, subtype, kept):
    data = file_bytes(tune, kind=kind, subtype=subtype)
    with pytest.raises(vecdb.DecodeError, match=r"truncated|cannot be decoded"):
        samples_of(data[: int(kept * len(data))])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU"])
def test_a_damaged_file_gives_an_error_or_finite_samples(kind):
    data = file_bytes(melody(0.3), kind=kind)
    chance = random.Random(kind)
    for _ in range(60):
        damaged = bytearray(data)
        head = chance.random() < 0.5  # headers are where decoders trip
        for _ in range(chance.choice((1, 3, 30))):
            damaged[chance.randrange(60 if head else len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(damaged)) :]
        try:
            found = samples_of(bytes(damaged))
        except (vecdb.DecodeError, vecdb.ItemError):
            continue
        assert np.isfinite(found).all()
        assert np.abs(found).max() == pytest.approx(1, abs=1e-5)


def test_a_header_that_declares_more_than_there_is(tune):
    body = (tune * 32767).astype("<i2").tobytes()
    with pytest.raises(vecdb.DecodeError, match="truncated"):
        samples_of(wav_header(body, declared=3 * len(body)))
    found = samples_of(wav_header(body + b"LIST\x04\x00\x00\x00abcd", declared=len(body)))  # a chunk behind is fine
    assert len(found) == len(tune)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers(tune, bad):
    spoilt = tune.copy()
    spoilt[20_000] = bad
    with pytest.raises(vecdb.DecodeError, match="NaN or infinite"):
        samples_of(file_bytes(spoilt, subtype="FLOAT"))


@pytest.mark.parametrize("scale", [3e38, 1e30, 1e-3])
def test_samples_far_from_one(tune, scale):
    scaled = (tune / np.abs(tune).max() * scale).astype(np.float32)
    expected = samples_of(file_bytes(tune, subtype="FLOAT"))
    assert samples_of(file_bytes(scaled, subtype="FLOAT")) == pytest.approx(expected, abs=1e-5)


def test_samples_too_large_for_32_bits(tune):
    with pytest.raises(vecdb.DecodeError, match="NaN or infinite"):
        samples_of(file_bytes(tune * 1e300, subtype="DOUBLE"))


def test_a_disk_that_fails_while_reading(monkeypatch, tmp_path, tune):
    path = tmp_path / "sound.wav"
    path.write_bytes(file_bytes(tune))

    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 30_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    file = Failing(path.read_bytes())
    monkeypatch.setattr(Path, "open", lambda self, mode: file)
    with pytest.raises(vecdb.DecodeError, match=r"sound\.wav .*Input/output error"):
        read_sound(path, sample_rate=RATE, channel="mix", least=100, max_seconds=60)


# --- silence and length -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_silence_has_no_vector(mfcc, kind):
    with pytest.raises(vecdb.ItemError, match=r"is silent \(nothing over -120 dB"):
        mfcc.prepare(vecdb.Audio(file_bytes(np.zeros(RATE), kind=kind)))


def test_a_constant_and_channels_that_cancel_out_leave_nothing_to_hear(mfcc, tune):
    with pytest.raises(vecdb.ItemError, match="nothing is left to hear"):
        mfcc.prepare(vecdb.Audio(np.full(RATE, 0.25), sample_rate=RATE))
    opposite = vecdb.Audio(np.stack([tune, -tune], axis=1), sample_rate=RATE)
    with pytest.raises(vecdb.ItemError, match="set channel='left'"):
        mfcc.prepare(opposite)
    assert np.isfinite(embedder("mfcc", channel="left").prepare(opposite)).all()


@pytest.mark.parametrize("frames", [1, 2, 100, 1023])
def test_a_sound_shorter_than_one_window(mfcc, frames):
    with pytest.raises(vecdb.ItemError, match=f"lasts {frames / 16:.0f} ms, less than one window of 64 ms"):
        mfcc.prepare(vecdb.Audio(melody(1.0)[:frames], sample_rate=RATE))
    with pytest.raises(vecdb.ItemError, match="holds no samples"):
        mfcc.prepare(vecdb.Audio(np.zeros(0), sample_rate=RATE))


def test_the_shortest_sound_that_has_a_vector(mfcc):
    vector = mfcc.prepare(vecdb.Audio(melody(1.0)[:1024], sample_rate=RATE))
    assert vector.shape == (mfcc.dimension,)
    assert np.linalg.norm(vector) > 0.5


def test_too_long_a_sound_is_refused_by_its_header():
    short = embedder("mfcc", max_seconds=5.0)
    with pytest.raises(vecdb.ItemError, match=r"lasts 6 seconds or more, over the limit of 5; .* split it"):
        short.prepare(vecdb.Audio(file_bytes(melody(6.0))))
    assert short.prepare(vecdb.Audio(file_bytes(melody(5.0)))).shape == (short.dimension,)


@pytest.mark.parametrize("declared", [0, 10, 2**36 - 1])
def test_a_compressed_bomb_takes_no_memory_whatever_its_header_says(declared):
    """110 KB of FLAC that grow to 600 s of 8 channels: 307 MB of 32-bit floats."""
    flac = bytearray(file_bytes(np.zeros((600 * 2_000, 8), np.int16), 2_000, "FLAC"))
    assert len(flac) < 110_000
    flac[21] = (flac[21] & 0xF0) | (declared >> 32)
    flac[22:26] = (declared & 0xFFFFFFFF).to_bytes(4, "big")
    limited = embedder("mfcc", max_seconds=60.0)
    tracemalloc.start()
    try:
        with pytest.raises((vecdb.ItemError, vecdb.DecodeError)):
            limited.prepare(vecdb.Audio(bytes(flac)))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_an_hour_is_refused_without_being_read(tmp_path, mfcc):
    path = tmp_path / "an hour.wav"
    body = 3600 * 44_100 * 2
    with path.open("wb") as file:
        file.write(wav_header(b"", rate=44_100, declared=body))
        file.truncate(44 + body)
    tracemalloc.start()
    try:
        with pytest.raises(vecdb.ItemError, match=r"an hour\.wav lasts 3600 seconds or more, over the limit of 1800"):
            mfcc.prepare(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_hour_is_taken_where_the_limit_is_raised(tmp_path):
    """In memory for some times its own samples, whatever the file's rate and channels are."""
    path = tmp_path / "an hour.flac"
    second = np.stack([melody(1.0, 2_000, seed=seed) for seed in (1, 2)], axis=1)
    path.write_bytes(file_bytes(np.tile(second, (3600, 1)), 2_000, "FLAC"))
    options = {"sample_rate": 1_000, "n_fft": 256, "hop": 128, "n_mels": 16, "n_mfcc": 10}
    tracemalloc.start()
    try:
        vector = embedder("mfcc", max_seconds=3600.0, **options).prepare(path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20  # 3.6 million samples are 14 MB
    finally:
        tracemalloc.stop()
    short = embedder("mfcc", **options).prepare(vecdb.Audio(np.tile(second, (60, 1)), sample_rate=2_000))
    assert cosine(vector, short) > 0.95
