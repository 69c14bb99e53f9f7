"""Training an embedder, for `train`, for `index` without an embedder, and for `demo`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vecdb.cli.progress import ProgressBar
from vecdb.database import Database
from vecdb.embedder import EmbedderInfo

MODELS_FOLDER = "models"


def train_model(
    info: EmbedderInfo, texts: Iterable[str], output: Path, options: Mapping[str, Any], *, from_text: bool = False
) -> Mapping[str, Any]:
    """Train on texts with a progress bar, and write the model to `output`; what the trainer reports.

    Args:
        info: a trainable embedder.
        texts: one document an item.
        output: the file to write; its folder is made.
        options: of the training.
        from_text: whether the options are text to be read with the types of the training's config.
    """
    trainer = info.create_trainer(options, from_text=from_text)
    output.parent.mkdir(parents=True, exist_ok=True)
    with ProgressBar(f"Training {info.name}", "words") as progress:
        return trainer.train(texts, output, progress)


def unused_model_path(database: Database, name: str, suffix: str = ".bin") -> Path:
    """Where to put a model in the database's folder; never in place of one that a collection uses."""
    used = {
        str(value)
        for collection in database.collections()
        for space in database.collection(collection).spaces.values()
        for value in space.options.values()
    }
    number = 1
    while True:
        file = f"{MODELS_FOLDER}/{name}{'' if number == 1 else f'-{number}'}{suffix}"
        if f"./{file}" not in used:
            return database.path / file
        number += 1
