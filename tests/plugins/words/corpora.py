"""Texts that the tests train on, and training them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecdb_words import vecdb_register_embedders

TOPICS = {
    "sea": ["harbour", "sailor", "anchor", "vessel", "rudder", "captain"],
    "kitchen": ["saucepan", "butter", "recipe", "oven", "flour", "spoon"],
}


def topic_texts(count: int = 300, seed: int = 0) -> list[str]:
    """Texts of two topics that share no word but the commonest ones."""
    random = np.random.default_rng(seed)
    texts = []
    for number in range(count):
        words = TOPICS["sea" if number % 2 else "kitchen"]
        texts.append(" ".join(random.choice([*words, *words, "the", "of"], 12)))
    return texts


def train(path: Path, texts: list[str], name: str = "fasttext", **options: Any) -> Mapping[str, Any]:
    """Train as the host does, from the plugin's description."""
    info = next(found for found in vecdb_register_embedders() if found.name == name)
    return info.create_trainer(options).train(texts, path)
