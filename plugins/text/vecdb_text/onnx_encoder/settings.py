"""What the files beside a sentence encoder say of it: those that sentence-transformers writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vecdb import EmbedderUnavailableError
from vecdb_text.onnx_encoder.config import POOLINGS

_DEFAULT_LENGTH = 512
_UNLIMITED = 1_000_000  # what some models give as their length where they have no limit
_LARGEST_SETTINGS = 64_000_000  # bytes

# The names that sentence-transformers tries for each role, and the older spelling of the poolings.
_PROMPTS = {"document": ("document", "passage", "corpus"), "query": ("query",)}
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_FILES = ("modules.json", "config_sentence_transformers.json", "config.json")
_TRANSFORMER_FILES = ("sentence_bert_config.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model wants to be used.

    Attributes:
        poolings: one or more of `POOLINGS`.
        normalise: whether vectors are scaled to length 1.
        max_length: tokens of a text that it sees, special ones among them.
        lower_case: whether texts are put in lower case before the tokenizer's own work.
        prompts: text put before a "query" and before a "document".
        others: steps after pooling that only a graph which holds them can do, such as "Dense".
        padding: the number of the padding token.
    """

    poolings: tuple[str, ...]
    normalise: bool
    max_length: int
    lower_case: bool
    prompts: dict[str, str]
    others: tuple[str, ...]
    padding: int


def settings_files(folder: Path) -> list[Path]:
    """The files that `read_settings` reads, those that exist."""
    modules = _modules(folder)
    first = _transformer_folder(folder, modules)
    pooling = [folder / path / "config.json" for kind, path in modules if kind == "Pooling"]
    places = [folder / name for name in _FILES] + [first / name for name in _TRANSFORMER_FILES] + pooling
    return [path for path in dict.fromkeys(places) if path.is_file()]


def tokenizer_file(folder: Path) -> Path:
    """Where tokenizer.json is, whether it exists or not."""
    first = _transformer_folder(folder, _modules(folder)) / "tokenizer.json"
    return first if first.is_file() else folder / "tokenizer.json"


def read_settings(folder: Path) -> Settings:
    """Read them; what no file says is as in sentence-transformers (mean pooling, not normalised).

    Raises:
        EmbedderUnavailableError: a file is not JSON, or asks for what is not known here.
    """
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    first = _transformer_folder(folder, modules)
    encoder = read_json(first / "sentence_bert_config.json")
    tokenizer = read_json(first / "tokenizer_config.json")
    model = read_json(folder / "config.json")
    if tokenizer.get("truncation_side", "right") != "right":
        raise _unsupported(first / "tokenizer_config.json", "long texts lose their beginning, not their end")
    return Settings(
        poolings=_poolings(folder, modules),
        normalise="Normalize" in kinds,
        max_length=_length(encoder, tokenizer, model),
        lower_case=bool(encoder.get("do_lower_case", False)),
        prompts=_prompts(folder),
        others=tuple(kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize", "Dropout")),
        padding=_number(model, "pad_token_id") or 0,
    )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no such file.

    Raises:
        EmbedderUnavailableError: it holds something else.
    """
    found = _json(path)
    if found is not None and not isinstance(found, dict):
        raise _unsupported(path, "it does not hold a JSON object")
    return found or {}


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    if path.stat().st_size > _LARGEST_SETTINGS:
        raise _unsupported(path, f"it has more than {_LARGEST_SETTINGS // 1_000_000} MB")
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unsupported(path, f"it cannot be read as JSON ({error})") from error


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The steps of modules.json: the kind of each, and its folder."""
    path = folder / "modules.json"
    found = _json(path)
    if found is None:
        return []
    try:
        steps = [(str(step["type"]).rpartition(".")[2], str(step["path"])) for step in found]
    except (TypeError, KeyError) as error:
        raise _unsupported(path, "it is not a list of steps with `type` and `path`") from error
    for _, place in steps:
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            raise _unsupported(path, f"it names a folder outside the model, {place!r}")
    return steps


def _transformer_folder(folder: Path, modules: Sequence[tuple[str, str]]) -> Path:
    return folder / next((path for kind, path in modules if kind == "Transformer"), "")


def _poolings(folder: Path, modules: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    place = next((path for kind, path in modules if kind == "Pooling"), "1_Pooling")
    path = folder / place / "config.json"
    config = read_json(path)
    if config.get("include_prompt") is False and any(_prompts(folder).values()):
        raise _unsupported(path, "it leaves the prompt out of the pooling (include_prompt)")
    unknown = [key for key in config if key.startswith("pooling_mode_") and config[key] and key not in _OLD_POOLINGS]
    mode = config.get("pooling_mode")
    old = [name for key, name in _OLD_POOLINGS.items() if config.get(key)]
    chosen = [mode] if isinstance(mode, str) else list(mode or old or ["mean"])
    unknown += [str(name) for name in chosen if name not in POOLINGS]
    if unknown:
        raise _unsupported(path, f"the pooling {', '.join(unknown)} is not among {', '.join(POOLINGS)}")
    return tuple(chosen)


def _length(encoder: dict[str, Any], tokenizer: dict[str, Any], model: dict[str, Any]) -> int:
    """As sentence-transformers finds it: its own setting first, else the least of the other two."""
    own = _number(encoder, "max_seq_length")
    others = [_number(tokenizer, "model_max_length"), _number(model, "max_position_embeddings")]
    known = [length for length in ([own] if own else others) if length and 0 < length < _UNLIMITED]
    return min(known, default=_DEFAULT_LENGTH)


def _number(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value < 1e18 else None


def _prompts(folder: Path) -> dict[str, str]:
    path = folder / "config_sentence_transformers.json"
    config = read_json(path)
    stored = config.get("prompts") or {}
    if not (isinstance(stored, dict) and all(isinstance(text, str) for text in stored.values())):
        raise _unsupported(path, "its prompts are not texts by name")
    default = stored.get(str(config.get("default_prompt_name")), "")
    return {role: next((stored[name] for name in names if name in stored), default) for role, names in _PROMPTS.items()}


def _unsupported(path: Path, problem: str) -> EmbedderUnavailableError:
    return EmbedderUnavailableError(
        f"the file {path} cannot be used: {problem}; fetch it again, or give another model", missing=[str(path)]
    )
