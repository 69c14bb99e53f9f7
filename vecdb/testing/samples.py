"""Made-up items for an embedder whose author, or user, gives none."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.embedding.probe import png_bytes
from vecdb.types import Audio, Image, Modality

_TEXTS = [
    "The dog ran after the ball in the park.",
    "A small cat sleeps near the window.",
    "The government announced a new law on taxes.",
    "Water boils at one hundred degrees.",
    "She plays the piano and sings every night.",
    "Two trains left the city in the early morning.",
]


def good_samples(modalities: Collection[Modality]) -> list[Any]:
    """Six different items of the first kind that can be made up; none for ids."""
    if "text" in modalities:
        return list(_TEXTS)
    if "image" in modalities:
        return [_picture(seed) for seed in range(6)]
    if "audio" in modalities:
        return [_sound(220.0 * 1.5**step) for step in range(6)]
    return []


def bad_samples(modalities: Collection[Modality]) -> list[Any]:
    """Items of these kinds that no embedder can embed."""
    found: list[Any] = []
    if "text" in modalities or "ids" in modalities:
        found += ["", " \n\t"]
    if "text" in modalities:
        found.append(Path("no-such-file.txt"))
    if "image" in modalities:
        found += [Image(b"not an image"), Path("no-such-file.png")]
    if "audio" in modalities:
        found += [Audio(b"not a sound"), Path("no-such-file.wav")]
    return found


def _picture(seed: int) -> Image:
    size = 96
    y, x = np.mgrid[0:size, 0:size]
    blocks = ((x * (seed + 1) // 24 + y * (6 - seed) // 24) % 2) * 160
    planes = [(blocks + 40 * seed * c + x // 4) % 256 for c in range(3)]
    return Image(png_bytes(np.stack(planes, axis=-1).astype(np.uint8)))


def _sound(pitch: float) -> Audio:
    time = np.arange(16_000) / 16_000
    return Audio(0.5 * np.sin(2 * np.pi * pitch * time) * np.exp(-2 * time), sample_rate=16_000)
