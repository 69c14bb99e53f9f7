"""Seconds of sound per CPU second, beside librosa used directly: `python -m tests.quality.speed_audio`.

    python -m tests.quality.speed_audio [--librosa PYTHON]

The clips are those of ESC-10, five seconds each, at 44.1 kHz, written in each format. Ours goes through
`EmbedderHost`, from file to vector. PYTHON is an interpreter that has librosa and soundfile (librosa is
no dependency); it reads the same files with `librosa.load(sr=16_000)` and takes `librosa.feature.mfcc`, its
`delta` and their mean and deviation. Its numba functions are compiled before the clock starts. CPU time
of all threads is counted. Also compares the log-mel bands and cepstra of both, on the first file of each format.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

import vecdb
from tests.quality.audio import clips
from vecdb.embedding import EmbedderHost
from vecdb_audio.decoding import read_sound
from vecdb_audio.features import decibels, mel_filterbank, mel_power, mfcc

FORMATS = (("wav", "WAV", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"), ("mp3", "MP3", None))
SECONDS, RATE, CLIPS = 5.0, 44_100, 40
ROUNDS = 3

Theirs = tuple[float, list[list[float]], list[list[float]]]  # CPU seconds, and of the first file log-mel and MFCC

LIBROSA = """
import json, sys, time
import numpy as np, librosa
analysis = dict(n_fft=1024, hop_length=320, n_mels=40, fmin=20, fmax=8000, pad_mode="constant")
def bands(path):
    samples, rate = librosa.load(path, sr=16_000)
    return librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, **analysis), ref=np.max, top_db=45)
def vector(path):
    cepstra = librosa.feature.mfcc(S=bands(path), n_mfcc=20)
    both = np.concatenate([cepstra, librosa.feature.delta(cepstra)])
    return np.concatenate([both.mean(axis=1), both.std(axis=1)])
found = {}
for name, paths in json.load(sys.stdin).items():
    vector(paths[0])
    spent = []
    for _ in range(3):
        start = time.process_time()
        for path in paths:
            vector(path)
        spent.append(time.process_time() - start)
    log_mel = bands(paths[0])
    found[name] = [min(spent), log_mel.T.tolist(), librosa.feature.mfcc(S=log_mel, n_mfcc=20).T.tolist()]
json.dump(found, sys.stdout)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.speed_audio", description=__doc__)
    parser.add_argument("--librosa", metavar="PYTHON", help="an interpreter that has librosa")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {name: _written(Path(folder), name, kind, subtype) for name, kind, subtype in FORMATS}
        theirs = _librosa(options.librosa, files) if options.librosa else {}
        print("seconds of sound per CPU second")
        print(f"{'format':8}{'mfcc':>8}{'spectrogram':>13}{'mean_std':>10}{'librosa':>9}   agreement with librosa")
        for name, paths in files.items():
            ours = _speed(paths, "mfcc"), _speed(paths, "spectrogram"), _speed(paths, "mfcc", pooling="mean_std")
            line = f"{name:8}{ours[0]:8.0f}{ours[1]:13.0f}{ours[2]:10.0f}"
            if name in theirs:
                spent, log_mel, cepstra = theirs[name]
                line += f"{SECONDS * len(paths) / spent:9.0f}   {_agreement(paths[0], log_mel, cepstra)}"
            print(line, flush=True)


def _written(folder: Path, name: str, kind: str, subtype: str | None) -> list[Path]:
    paths = []
    for number, sound in enumerate(clips("audio-esc10")[0][:CLIPS]):
        with tempfile.NamedTemporaryFile(suffix=".ogg") as file:
            file.write(sound.data)
            file.flush()
            samples, rate = soundfile.read(file.name, dtype="float32")
        path = folder / f"{number}.{name}"
        soundfile.write(path, 0.9 * soxr.resample(samples, rate, RATE), RATE, format=kind, subtype=subtype)
        paths.append(path)
    return paths


def _librosa(python: str, files: dict[str, list[Path]]) -> dict[str, Theirs]:
    asked = json.dumps({name: [str(path) for path in paths] for name, paths in files.items()})
    run = subprocess.run([python, "-c", LIBROSA], input=asked, capture_output=True, text=True, check=True)
    found: dict[str, Theirs] = json.loads(run.stdout)
    return found


def _speed(paths: list[Path], name: str, **options: str) -> float:
    info = vecdb.Plugins().embedder(name)
    with EmbedderHost(info, info.configure(options)) as host:
        host.embed(paths[:1], metric="cosine")
        return SECONDS * len(paths) / min(_cpu(lambda: host.embed(paths, metric="cosine")) for _ in range(ROUNDS))


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _agreement(path: Path, log_mel: list[list[float]], cepstra: list[list[float]]) -> str:
    samples = read_sound(path, sample_rate=16_000, channel="mix", least=1024, max_seconds=60)
    bands = decibels(mel_power(samples, mel_filterbank(16_000, 1024, 40, 20.0, 8000.0), n_fft=1024, hop=320), 45.0) - 45
    frames, wanted = mfcc(bands, 20), np.array(cepstra)
    cosines = (frames * wanted).sum(axis=1) / np.linalg.norm(frames, axis=1) / np.linalg.norm(wanted, axis=1)
    return f"log-mel within {np.abs(bands - np.array(log_mel)).max():.1e} dB, MFCC cosine at least {cosines.min():.8f}"


if __name__ == "__main__":
    main()
