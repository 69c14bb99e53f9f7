"""Which files a Universal Sentence Encoder lies in, told by the folder's content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vecdb import EmbedderUnavailableError

Kind = Literal["tfjs", "safetensors", "onnx"]

_MAX_JSON_BYTES = 64 << 20
_ADVICE = "give a folder with model.json and its shards, one .safetensors (each with vocab.json), or one .onnx"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's kind, the file that says what it is, and its vocabulary (none: it lies in the graph)."""

    kind: Kind
    main: Path
    vocabulary: Path | None


def unusable(path: Path, problem: str, advice: str) -> EmbedderUnavailableError:
    """The error for a file that cannot serve as a model."""
    return EmbedderUnavailableError(f"{path}: {problem}; {advice}", missing=[str(path)])


def find_model(model: Path) -> ModelFiles:
    """The files of the model that `model`, a folder or a file, means.

    Raises:
        EmbedderUnavailableError: there is none, or more than one.
    """
    main = _only_model(model) if model.is_dir() else model
    if not main.is_file():
        raise unusable(model, "there is no such file or folder", _ADVICE)
    if main.suffix == ".onnx":
        return ModelFiles("onnx", main, None)
    if main.suffix in (".json", ".safetensors"):
        kind: Kind = "tfjs" if main.suffix == ".json" else "safetensors"
        return ModelFiles(kind, main, main.with_name("vocab.json"))
    raise unusable(main, "is no kind of model that is known here (pickles and checkpoints are never opened)", _ADVICE)


def _only_model(folder: Path) -> Path:
    graph = folder / "model.json"
    found = [graph] if graph.is_file() else sorted([*folder.glob("*.safetensors"), *folder.glob("*.onnx")])
    if not found:
        raise unusable(folder, "the folder holds no model", _ADVICE)
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise unusable(folder, f"the folder holds several models ({names})", "name the file that is meant")
    return found[0]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        EmbedderUnavailableError: it is missing, too large, or not JSON.
    """
    if path.exists() and not path.is_file():  # a pipe or a device would be waited on, or read, for ever
        raise unusable(path, "is not a file", "put the file of the original release there")
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise unusable(path, f"is larger than {_MAX_JSON_BYTES >> 20} MiB", "give the file of the original release")
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise unusable(path, "there is no such file", "put it beside the weights, as it was published") from error
    except OSError as error:
        raise unusable(path, f"cannot be read ({error})", "check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise unusable(path, f"is not JSON ({error})", "fetch it again") from error
