"""Sounds: how often the nearest neighbour by cosine has the same label.

ESC-10 (Piczak 2015) across folds, since clips of one recording share a fold; spoken digits (Free Spoken
Digit Dataset) among other speakers only, among all clips, and the speaker.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vecdb
from tests.quality.data import data
from tests.quality.figures import Figure, neighbour_accuracy, unit
from vecdb.embedding import EmbedderHost

Floats = NDArray[np.floating]

POOLINGS = ("combined", "segments", "percentiles", "mean_std_delta", "mean_std")
ESC, ACROSS, DIGITS, SPEAKERS = "ESC-10", "digits, other speakers", "digits", "speakers"


@dataclass(frozen=True, slots=True)
class Task:
    """A folder of clips, its columns for the class and for what neighbours must differ in, and what others reached."""

    folder: str
    label: str
    apart: str | None
    reference: float
    source: str


_TASKS = {
    ESC: Task("audio-esc10", "label", "fold", 0.646, "mean and deviation of MFCC and deltas; the data's README"),
    ACROSS: Task("audio-fsdd", "digit", "speaker", 0.77, "MFCC in 4 segments, on 3,000 clips of 6 speakers; the notes"),
    DIGITS: Task("audio-fsdd", "digit", None, 0.948, "MFCC statistics; the data's README"),
    SPEAKERS: Task("audio-fsdd", "speaker", None, 0.998, "MFCC statistics; the data's README"),
}


@lru_cache(maxsize=2)
def clips(folder: str) -> tuple[list[vecdb.Audio], dict[str, list[str]]]:
    """The sounds of "audio-esc10" or "audio-fsdd", and the columns of their labels.csv."""
    with data(folder, "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with zipfile.ZipFile(data(folder, "clips.zip")) as archive:
        sounds = [vecdb.Audio(archive.read(row["file"])) for row in rows]
    return sounds, {name: [row[name] for row in rows] for name in rows[0]}


def measure(name: str, **options: Any) -> dict[str, float]:
    """Each task's 1-NN accuracy, with the embedder of this name."""
    vectors = {folder: embedded(name, clips(folder)[0], options) for folder in ("audio-esc10", "audio-fsdd")}
    return {task: accuracy(task, vectors[_TASKS[task].folder]) for task in _TASKS}


def accuracy(task: str, vectors: Floats) -> float:
    """1-NN accuracy of the vectors of all clips of a task."""
    labels = clips(_TASKS[task].folder)[1]
    apart = _TASKS[task].apart
    return neighbour_accuracy(vectors, labels[_TASKS[task].label], labels[apart] if apart else None)


def embedded(name: str, sounds: list[vecdb.Audio], options: Mapping[str, Any]) -> Floats:
    """The vectors of sounds that are all good."""
    info = vecdb.Plugins().embedder(name)
    with EmbedderHost(info, info.configure(options)) as host:
        result = host.embed(sounds, metric="cosine")
    if result.errors:
        raise result.errors[0]
    return result.vectors


def mfcc() -> list[Figure]:
    return _poolings("mfcc")


def spectrogram() -> list[Figure]:
    return _poolings("spectrogram")


def _poolings(name: str) -> list[Figure]:
    found = [_figure(name, task, figure) for task, figure in measure(name).items()]
    for pooling in POOLINGS[1:]:
        measured = measure(name, pooling=pooling)
        found += [_figure(f"{name} pooling={pooling}", task, measured[task]) for task in (ESC, ACROSS)]
    return found


def held_out() -> list[Figure]:
    """The options chosen without the fold or the speaker that they are then measured on."""
    choices = [{"pooling": pooling, "top_db": top_db} for pooling in POOLINGS for top_db in (40.0, 45.0, 50.0)]
    found = []
    for task in (ESC, ACROSS):
        sounds, labels = clips(_TASKS[task].folder)
        candidates = [embedded("mfcc", sounds, options) for options in choices]
        names, groups = np.asarray(labels[_TASKS[task].label]), np.asarray(labels[_TASKS[task].apart or ""])
        right = 0
        for group in np.unique(groups):
            other = groups != group
            best = max(candidates, key=lambda v, o=other: neighbour_accuracy(v[o], names[o], groups[o]))  # type: ignore[misc]
            nearest = (unit(best[~other]) @ unit(best[other]).T).argmax(axis=1)
            right += int((names[other][nearest] == names[~other]).sum())
        found.append(_figure("mfcc, options chosen on the others", task, right / len(names)))
    return found


def _figure(embedder: str, task: str, figure: float) -> Figure:
    of = _TASKS[task]
    chance = accuracy(task, np.random.default_rng(0).standard_normal((len(clips(of.folder)[0]), 600)))
    return Figure(embedder, "–", task, "1-NN accuracy", figure, of.reference, chance, of.source)


PARTS = (mfcc, spectrogram, held_out)
