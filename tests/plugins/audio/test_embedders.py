"""What the vectors are blind to, what they see, and the options."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vecdb
from tests.plugins.audio.sounds import INFOS, NAMES, RATE, cosine, embedder, file_bytes, melody
from vecdb_audio.config import POOLINGS


def sound(samples, rate: int = RATE) -> vecdb.Audio:
    return vecdb.Audio(np.asarray(samples, np.float32), sample_rate=rate)


@pytest.fixture(scope="module", params=NAMES)
def loaded(request):
    return embedder(request.param)


def test_the_plugin_imports_cheaply():
    code = (
        "import sys, vecdb_audio; vecdb_audio.vecdb_register_embedders();"
        "print([m for m in ('soundfile', 'soxr', 'sqlalchemy', 'hnswlib', 'vecdb_audio.decoding') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_what_is_declared():
    assert NAMES == ["mfcc", "spectrogram"]
    for info in INFOS.values():
        assert info.modalities == {"audio"}
        assert (info.requires, info.extra) == (("soundfile", "soxr"), "audio")
        assert info.metrics[0] == "cosine"


def test_vectors_are_float32_of_the_dimension_and_need_no_weights(loaded):
    vectors = loaded.encode([loaded.prepare(sound(melody(s, seed=7))) for s in (0.1, 1.0, 9.0)], "document")
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, loaded.dimension)
    assert list(loaded.weights()) == []
    squared = (vectors.astype(np.float64) ** 2).sum(axis=1)
    assert squared == pytest.approx(np.full(3, 17), rel=1e-5)  # 4 + 4 + 1 + 8, the weights of the blocks


@pytest.mark.parametrize("gain", [0.001, 0.03, 1.9])
def test_loudness_makes_no_difference(loaded, gain):
    tune = melody()
    assert cosine(loaded.prepare(sound(tune)), loaded.prepare(sound(gain * tune))) > 0.999999


def test_a_constant_offset_makes_no_difference(loaded):
    tune = melody()
    assert cosine(loaded.prepare(sound(tune)), loaded.prepare(sound(tune + 0.3))) > 0.99999


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_the_sample_rate_of_the_file_makes_little_difference(loaded, rate):
    soxr = pytest.importorskip("soxr")
    at_48k = melody(2.0, 48_000)
    reference = loaded.prepare(sound(at_48k, 48_000))
    other = loaded.prepare(sound(soxr.resample(at_48k, 48_000, rate), rate))
    assert cosine(reference, other) > 0.999


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_a_transcoded_copy_is_nearer_than_any_other_sound(loaded, kind, subtype):
    tunes = [melody(2.0, seed=seed) for seed in range(6)]
    originals = np.stack([loaded.prepare(sound(tune)) for tune in tunes])
    copies = np.stack([loaded.prepare(vecdb.Audio(file_bytes(t, kind=kind, subtype=subtype))) for t in tunes])
    similar = copies @ originals.T / 17
    assert similar.argmax(axis=1).tolist() == list(range(6))
    assert similar.diagonal().min() > 0.97


def test_the_same_sound_gives_the_same_bits_on_any_thread(loaded):
    sounds = [sound(melody(1.0, seed=seed)) for seed in range(4)] * 4
    expected = [loaded.prepare(item).tobytes() for item in sounds]
    with ThreadPoolExecutor(4) as pool:
        assert [vector.tobytes() for vector in pool.map(loaded.prepare, sounds)] == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_pooling_has_the_dimension_it_says(name, pooling):
    made = embedder(name, pooling=pooling, segments=3, n_mels=24)
    assert made.prepare(sound(melody(0.5))).shape == (made.dimension,)
    assert made.prepare(sound(melody(0.07))).shape == (made.dimension,)


def test_dimensions_of_the_defaults():
    assert embedder("mfcc").dimension == 5 * 20 + 7 * 20 + 6 * 19 + 4 * 6 * 10
    assert embedder("spectrogram").dimension == 5 * 40 + 7 * 40 + 6 * 40 + 4 * 6 * 10


def test_band_and_pulse_are_both_seen_and_the_band_counts_for_more():
    """Noise under 500 Hz, steady and pulsing three times a second, against steady noise over 2 to 4 kHz."""
    noise = np.random.default_rng(0).standard_normal(2 * RATE)
    spectrum, frequencies = np.fft.rfft(noise), np.fft.rfftfreq(len(noise), 1 / RATE)
    high = np.fft.irfft(spectrum * ((frequencies > 2000) & (frequencies < 4000)))
    low = np.fft.irfft(spectrum * (frequencies < 500))
    pulse = 1.1 + np.sin(2 * np.pi * 3 * np.arange(len(noise)) / RATE)
    for name in NAMES:
        made = embedder(name)
        steady_low, steady_high, pulsing_low = (made.prepare(sound(s)) for s in (low, high, low * pulse))
        assert cosine(steady_low, steady_high) < 0.8
        assert cosine(steady_low, pulsing_low) > cosine(steady_high, pulsing_low)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample_rate": 10}, "sample_rate=10 must be from 1000"),
        ({"n_fft": 4}, "n_fft=4"),
        ({"hop": 2000}, "hop=2000 must be from 1 to n_fft=1024"),
        ({"hop": 0}, "hop=0"),
        ({"n_mels": 1}, "n_mels=1"),
        ({"n_mfcc": 41}, "n_mfcc=41 must be from 2 to n_mels=40"),
        ({"fmin": 9000.0}, "fmin=9000.0 < fmax=8000.0"),
        ({"fmax": 9000.0}, r"fmax=9000.0 <= 8000.0 \(half the sample rate\)"),
        ({"fmin": float("nan")}, "'fmin' must be a finite number"),
        ({"top_db": 0.0}, "top_db"),
        ({"segments": 0}, "segments=0"),
        ({"max_seconds": 1e6}, "max_seconds"),
        ({"pooling": "median"}, "'combined', 'segments'"),
        ({"channel": "centre"}, "'mix', 'left', 'right'"),
        ({"lifter": "tan"}, "'root', 'sine', 'none'"),
        ({"poolin": "segments"}, "did you mean 'pooling'"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(vecdb.InvalidInputError, match=words):
        INFOS["mfcc"].configure(options)


def test_more_bands_than_the_window_can_tell_apart():
    with pytest.raises(vecdb.InvalidInputError, match=r"of n_mels=128 mel bands .* larger n_fft"):
        embedder("spectrogram", n_fft=256, hop=128, n_mels=128)


def test_loading_and_closing(loaded):
    fresh = type(loaded)(loaded.config)
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"call load\(\) first"):
        fresh.prepare(sound(melody(1.0)))
    fresh.load()
    before = fresh.prepare(sound(melody(1.0)))
    fresh.close()
    fresh.close()
    fresh.load()
    assert fresh.prepare(sound(melody(1.0))).tobytes() == before.tobytes()


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"pip install 'vecdb-engine\[audio\]'"):
        embedder("mfcc")
