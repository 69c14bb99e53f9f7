"""Search sounds by example: which sounds of a folder are most like this one?

    python examples/search_sounds.py [FOLDER [SOUND]]

Without a sound, the first of the folder is asked for. Without a folder, the program makes some sounds itself. Needs the
extra `audio`; downloads nothing.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import vecdb

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
RATE = 16_000


def main(folder: Path, sound: Path | None = None) -> None:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    with TemporaryDirectory() as place, vecdb.open(Path(place) / "sounds.vecdb") as db:
        sounds = db.create_collection("sounds", embedder="mfcc")
        records = (vecdb.Record(path.relative_to(folder).as_posix(), path) for path in files)
        sounds.ingest(records, on_error="quarantine")
        for failure in sounds.failures():
            print(f"left out: {failure.error}", file=sys.stderr)
        if not len(sounds):
            sys.exit(f"{folder} holds no sounds that can be read ({', '.join(SUFFIXES)})")
        wanted = sound or next(iter(sounds)).content
        print(f"{len(sounds)} sounds; the nearest to {wanted.name}:\n\nscore  sound")
        for hit in sounds.search(wanted, k=6):
            print(f"{hit.score:5.2f}  {hit.id}")


def make_sounds(folder: Path) -> None:
    """Four sounds of each of five kinds, no two alike."""
    random = np.random.default_rng(0)
    for kind in ("bell", "bird", "clock", "engine", "rain"):
        for number in range(1, 5):
            time = np.arange(int(random.uniform(1.5, 3.0) * RATE)) / RATE
            samples = synthesise(kind, time, random.uniform(0.8, 1.25), random)
            with wave.open(str(folder / f"{kind} {number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes((samples / np.abs(samples).max() * 30_000).astype("<i2").tobytes())


def synthesise(kind: str, time: np.ndarray, pitch: float, random: np.random.Generator) -> np.ndarray:
    noise = random.standard_normal(len(time))
    if kind == "bell":
        partials = [(440, 2), (880, 3), (1056, 4), (1320, 6), (1980, 9)]
        samples = sum(np.sin(2 * np.pi * hertz * pitch * time) * np.exp(-decay * time) for hertz, decay in partials)
    elif kind == "bird":
        sweep = 2500 * pitch + 1000 * np.sin(2 * np.pi * 4 * pitch * time)
        samples = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * (np.sin(2 * np.pi * 2 * pitch * time) > 0)
    elif kind == "clock":
        samples = noise * np.exp(-150 * (time % (0.5 / pitch)))
    elif kind == "engine":
        samples = sum(np.sin(2 * np.pi * 45 * pitch * k * time) / k for k in range(1, 12)) + 0.1 * noise
    else:
        samples = np.diff(noise, append=0.0) + 3 * noise * (random.uniform(size=len(time)) > 0.999)
    return samples + 0.003 * noise


def program(arguments: list[str]) -> None:
    try:
        if arguments:
            main(*map(Path, arguments[:2]))
        else:
            with TemporaryDirectory() as made:
                make_sounds(Path(made))
                main(Path(made))
    except vecdb.VecdbError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    program(sys.argv[1:])
