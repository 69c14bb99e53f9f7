"""The files of a model, and the sizes that its options.json says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecdb import EmbedderUnavailableError

_ADVICE = "give the options.json and weights.hdf5 of one published model"
_MAX_OPTIONS_BYTES = 1 << 20
_CHARACTERS = (261, 262)  # with and without the one for padding, which no weights file holds


def unusable(path: Path, problem: str, advice: str = _ADVICE) -> EmbedderUnavailableError:
    """The error for a file that cannot serve as a model."""
    return EmbedderUnavailableError(f"{path}: {problem}; {advice}", missing=[str(path)])


def find_model(model: Path, weights: Path | None) -> tuple[Path, Path]:
    """The options file and the weights file.

    Raises:
        EmbedderUnavailableError: there is none, or more than one.
    """
    folder = model if model.is_dir() else model.parent
    options = _only(folder, "*options.json", "model") if model.is_dir() else model
    if not options.is_file():
        raise unusable(model, "there is no such file or folder")
    found = weights or _only(folder, "*weights.hdf5", "weights")
    if not found.is_file():
        raise unusable(found, "there is no such file")
    return options, found


def _only(folder: Path, pattern: str, option: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:8]) or "nothing"
        raise unusable(folder, f"one file {pattern} is needed, found {names}", f"name the file as option {option}")
    return found[0]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The sizes of a biLM.

    Attributes:
        filters: of the character CNN, (width in characters, number of filters).
        character_dim: length of a character's vector.
        max_characters: characters (bytes) of a word, with the two that frame it.
        activation: of the character CNN, "relu" or "tanh".
        highways: highway layers after the CNN.
        layers: LSTM layers of each direction.
        cell_dim, dim: length of an LSTM's cell and of its output.
        cell_clip, projection_clip: bounds of both; 0 for none.
        skip_connections: whether a layer's input is added to its output, from the second layer on.
    """

    filters: tuple[tuple[int, int], ...]
    character_dim: int
    max_characters: int
    activation: str
    highways: int
    layers: int
    cell_dim: int
    dim: int
    cell_clip: float
    projection_clip: float
    skip_connections: bool


def read_options(path: Path) -> ModelOptions:
    """What an options.json says, checked against limits far beyond every published model.

    Raises:
        EmbedderUnavailableError: it cannot be read, or is not the options of an ELMo.
    """
    reader = _Reader(path)
    content = reader.content()
    cnn, lstm = reader.part(content, "char_cnn"), reader.part(content, "lstm")
    characters = reader.number(cnn, "n_characters", 261, 262)
    if characters not in _CHARACTERS:
        raise unusable(path, f"n_characters is {characters}, not 262")
    max_characters = reader.number(cnn, "max_characters_per_token", 4, 1000)
    filters = cnn.get("filters")
    if not isinstance(filters, list) or not 1 <= len(filters) <= 64:
        raise unusable(path, "filters must be a list of [width, number]")
    activation = cnn.get("activation")
    if activation not in ("relu", "tanh"):
        raise unusable(path, f"activation is {activation!r}, not 'relu' or 'tanh'")
    return ModelOptions(
        filters=tuple(reader.filter(entry, max_characters) for entry in filters),
        character_dim=reader.number(reader.part(cnn, "embedding"), "dim", 1, 1024),
        max_characters=max_characters,
        activation=activation,
        highways=reader.number(cnn, "n_highway", 0, 16),
        layers=reader.number(lstm, "n_layers", 1, 9),
        cell_dim=reader.number(lstm, "dim", 1, 65_536),
        dim=reader.number(lstm, "projection_dim", 1, 8192),
        cell_clip=reader.clip(lstm, "cell_clip"),
        projection_clip=reader.clip(lstm, "proj_clip"),
        skip_connections=lstm.get("use_skip_connections", False) is True,
    )


class _Reader:
    """Values of one options file, each checked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def content(self) -> Any:
        try:
            if self._path.stat().st_size > _MAX_OPTIONS_BYTES:
                raise unusable(self._path, "is far too large for an options file")
            return json.loads(self._path.read_bytes())
        except OSError as error:
            raise unusable(self._path, f"cannot be read ({error})") from error
        except (ValueError, RecursionError) as error:
            raise unusable(self._path, f"is not JSON ({error})") from error

    def part(self, content: Any, name: str) -> dict[str, Any]:
        found = content.get(name) if isinstance(content, dict) else None
        if not isinstance(found, dict):
            raise unusable(self._path, f"has no part {name!r}")
        return found

    def number(self, part: dict[str, Any], name: str, least: int, most: int) -> int:
        found = part.get(name)
        if type(found) is not int or not least <= found <= most:
            raise unusable(self._path, f"{name} is {str(found)[:40]}, not from {least} to {most}")
        return found

    def clip(self, part: dict[str, Any], name: str) -> float:
        found = part.get(name) or 0
        if type(found) not in (int, float) or not 0 <= found < float("inf"):
            raise unusable(self._path, f"{name} is {str(found)[:40]}, not a positive number")
        return float(found)

    def filter(self, entry: Any, max_characters: int) -> tuple[int, int]:
        match entry:
            case [int(width), int(number)] if 1 <= width <= max_characters and 1 <= number <= 8192:
                return width, number
        raise unusable(self._path, f"a filter is {str(entry)[:40]}, not [width, number]")
