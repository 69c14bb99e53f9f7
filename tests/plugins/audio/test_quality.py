"""On real, labelled recordings: how often the nearest neighbour has the same label.

The figures measured are in plugins/audio/README.md; here they must not fall by more than two clips in
a hundred. Chance: 0.10 for the ten kinds of environmental sound and for the ten digits, 0.25 for the
four speakers.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence

import numpy as np
import pytest

import vecdb
from tests.plugins.audio.sounds import NAMES, embedder
from tests.shared import needs_shared, shared

POOLINGS = ("combined", "percentiles", "segments")

# embedder, pooling: 1-NN of ESC-10 across folds, of digits across speakers, of digits among all clips
MEASURED = {
    ("mfcc", "combined"): (0.633, 0.657, 0.973),
    ("mfcc", "percentiles"): (0.646, 0.497, 0.985),
    ("mfcc", "segments"): (0.463, 0.657, 0.965),
    ("spectrogram", "combined"): (0.575, 0.562, 0.940),
    ("spectrogram", "percentiles"): (0.604, 0.445, 0.953),
    ("spectrogram", "segments"): (0.471, 0.565, 0.938),
}
MARGIN = 0.02


def read(folder: str) -> tuple[list[dict[str, str]], list[vecdb.Audio]]:
    with shared(folder, "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with zipfile.ZipFile(shared(folder, "clips.zip")) as clips:
        return rows, [vecdb.Audio(clips.read(row["file"])) for row in rows]


def accuracy(vectors: np.ndarray, labels: Sequence[str], apart: Sequence[str]) -> float:
    """Share of clips whose nearest neighbour, among those that differ in `apart`, has the same label."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    groups, names = np.asarray(apart), np.asarray(labels)
    similar[groups[:, None] == groups] = -2
    return float((names[similar.argmax(axis=1)] == names).mean())


@needs_shared("audio-esc10", "audio-fsdd")
@pytest.mark.parametrize("name", NAMES)
def test_neighbours_in_real_recordings(name):
    environment, environment_sounds = read("audio-esc10")
    digits, digit_sounds = read("audio-fsdd")
    assert (len(environment), len(digits)) == (240, 400)
    for pooling in POOLINGS:
        made = embedder(name, pooling=pooling)
        of_environment = np.stack([made.prepare(item) for item in environment_sounds])
        of_digits = np.stack([made.prepare(item) for item in digit_sounds])
        spoken, speakers, files = ([row[key] for row in digits] for key in ("digit", "speaker", "file"))
        found = (
            accuracy(of_environment, [row["label"] for row in environment], [row["fold"] for row in environment]),
            accuracy(of_digits, spoken, speakers),
            accuracy(of_digits, spoken, files),
        )
        print(f"{name} {pooling}: ESC-10 {found[0]:.3f}, digits across speakers {found[1]:.3f}, digits {found[2]:.3f}")
        for measured, known in zip(found, MEASURED[name, pooling], strict=True):
            assert measured >= known - MARGIN


def test_chance_is_one_in_ten():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((400, 116)).astype(np.float32)
    labels = [str(i % 10) for i in range(400)]
    assert accuracy(vectors, labels, [str(i) for i in range(400)]) == pytest.approx(0.1, abs=0.05)
