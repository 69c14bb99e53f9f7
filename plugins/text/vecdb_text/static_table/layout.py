"""Which of the three formats lies in a folder, where its files are, and how it wants to be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vecdb import EmbedderUnavailableError
from vecdb_text.onnx_encoder.settings import read_json
from vecdb_text.static_table.config import StaticConfig

Format = Literal["model2vec", "StaticEmbedding", "WordLlama"]

_TABLES = ("model.safetensors", "0_StaticEmbedding/model.safetensors")
_MODEL2VEC_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a model.

    Attributes:
        folder: where its settings are.
        table: the .safetensors file.
        tokenizer: the tokenizer's JSON file; it may not exist.
    """

    folder: Path
    table: Path
    tokenizer: Path

    def files(self) -> list[Path]:
        """All that decide the vectors, those settings that exist among them."""
        settings = [self.folder / name for name in ("config.json", "modules.json")]
        return [self.table, self.tokenizer, *(path for path in settings if path.is_file())]


@dataclass(frozen=True, slots=True)
class Usage:
    """How a model wants to be used.

    Attributes:
        format: whose format it is.
        normalise: whether vectors are scaled to length 1.
        max_length: tokens of a text that are read, or None for all.
    """

    format: Format
    normalise: bool
    max_length: int | None


def find_layout(config: StaticConfig) -> Layout:
    """Find the files.

    Raises:
        EmbedderUnavailableError: there is no table, or there are several.
    """
    model = config.model
    if not model.exists():
        raise EmbedderUnavailableError(
            f"there is no {model}; put the model's folder there (model.safetensors and tokenizer.json)",
            missing=[str(model)],
        )
    table = model if model.is_file() else _table(model)
    folder = model.parent if model.is_file() else model
    return Layout(folder, table, config.tokenizer or _tokenizer(table))


def usage(layout: Layout, names: frozenset[str]) -> Usage:
    """Tell the format by the names of its arrays, and read its settings.

    Raises:
        EmbedderUnavailableError: no format has such arrays, or a setting is not what it should be.
    """
    if "embeddings" in names:
        config = read_json(layout.folder / "config.json")
        length = config.get("max_length", _MODEL2VEC_LENGTH)
        normalise = config.get("normalize", False)
        if not (length is None or (type(length) is int and length > 0)) or not isinstance(normalise, bool | None):
            raise EmbedderUnavailableError(
                f"the file {layout.folder / 'config.json'} has max_length={length!r} and normalize={normalise!r}, "
                "which must be a positive number and true or false; correct it"
            )
        return Usage("model2vec", bool(normalise), length)
    if "embedding.weight" in names:
        modules = layout.folder / "modules.json"
        if not modules.is_file():
            return Usage("WordLlama", normalise=False, max_length=None)
        return Usage("StaticEmbedding", "Normalize" in _steps(modules), None)
    raise EmbedderUnavailableError(
        f"the file {layout.table} holds {', '.join(sorted(names)[:5]) or 'nothing'}, not the array `embeddings` "
        "(model2vec) or `embedding.weight` (StaticEmbedding, WordLlama); give a model of one of these"
    )


def _steps(modules: Path) -> list[str]:
    """The kinds of a model's steps, of which only these are known here."""
    steps = re.findall(r'"type":\s*"(?:[\w.]*\.)?(\w+)"', modules.read_text("utf-8", errors="replace"))
    if unknown := sorted(set(steps) - {"StaticEmbedding", "Normalize"}):
        raise EmbedderUnavailableError(
            f"the model {modules.parent} has the step {', '.join(unknown)}, and is not a static table alone; "
            "use the embedder sentence-transformers for it"
        )
    return steps


def _table(folder: Path) -> Path:
    for name in _TABLES:
        if (folder / name).is_file():
            return folder / name
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("weights/*.safetensors")])
    if len(found) != 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in found) or "no .safetensors file"
        raise EmbedderUnavailableError(
            f"the folder {folder} has no model.safetensors; there is {listed}: give the file itself as the model",
            missing=[str(folder / _TABLES[0])],
        )
    return found[0]


def _tokenizer(table: Path) -> Path:
    """Beside the table; WordLlama's are called after its models and lie in a folder of their own."""
    named = re.sub(r"_\d+$", "", table.stem) + "_tokenizer_config.json"
    folders = [table.parent, table.parent.parent / "tokenizers", table.parent.parent / "tokenizer"]
    beside = [table.parent / "tokenizer.json", *(folder / named for folder in folders)]
    return next((path for path in beside if path.is_file()), beside[0])
