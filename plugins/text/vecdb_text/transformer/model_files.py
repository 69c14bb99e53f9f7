"""Where a model's files are, and which of them decide the vectors."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from vecdb import EmbedderUnavailableError

_SECONDS = 10
_DEPTH = 3  # a module of a router lies three folders deep
_OTHER_FORMATS = frozenset({"onnx", "openvino", "coreml", "tflite", "eval", "logs", "runs"})
_TEXTS = frozenset({".json", ".txt", ".model", ".jinja", ".tiktoken"})
_NOT_READ = ("license", "notice", "readme", "requirements", "data_config", "train", "eval", "all_results")
_TENSORS = ("model*.safetensors", "adapter_model.safetensors")
_SIGNS = ("config.json", "modules.json", "tokenizer.json")  # of a model's folder
_PICKLED_TENSORS = ("pytorch_model*.bin", "adapter_model.bin")


def weight_files(folder: Path) -> list[Path]:
    """The files in a model's folder that are read to make vectors: weights, vocabularies, settings.

    Raises:
        EmbedderUnavailableError: one of them is a pipe or a device.
    """
    levels = (folder.glob("/".join(["*"] * depth)) for depth in range(1, _DEPTH + 1))
    found = [path.relative_to(folder) for level in levels for path in level if path.exists() and not path.is_dir()]
    files = [folder / path for path in deciding(found)]
    for path in files:
        if not path.is_file():  # the libraries would wait on it, or read it, for ever
            raise EmbedderUnavailableError(
                f"{path} is a pipe or a device; put the model's own file there", missing=[str(path)]
            )
    return files


def deciding(paths: Iterable[PurePath]) -> list[PurePath]:
    """Those of a model's files, as paths within its folder, whose content decides the vectors; sorted."""
    paths = [path for path in paths if not any(_is_other(part) for part in path.parts[:-1])]
    safe = {path.parent for path in paths if _matches(path, _TENSORS)}
    return sorted(
        path
        for path in paths
        if _matches(path, _TENSORS)
        or (path.parent not in safe and _matches(path, _PICKLED_TENSORS))
        or (path.suffix in _TEXTS and not path.name.lower().startswith(_NOT_READ))
    )


def model_folder(model: str | Path, revision: str | None) -> Path:
    """The folder of a model; one that is named by a hub name is fetched if the hub's cache has it not.

    Raises:
        EmbedderUnavailableError: there is no such folder; or it cannot be fetched, or not from here.
    """
    if isinstance(model, Path):
        if not model.is_dir():
            state = "is not a folder" if model.exists() else "does not exist"
            raise EmbedderUnavailableError(
                f"the model folder {model} {state}; put the model's files there or give another folder",
                missing=[str(model)],
            )
        if not {path.name for path in weight_files(model)}.intersection(_SIGNS):
            raise EmbedderUnavailableError(
                f"the folder {model} holds no model (none of {', '.join(_SIGNS)}); give the folder that these are in",
                missing=[str(model)],
            )
        return model
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise EmbedderUnavailableError(
            f"the model {model!r} is a name on the model hub, which needs huggingface_hub: "
            "pip install 'vecdb-engine[text]', or give a folder",
            missing=["huggingface_hub"],
        ) from error
    with contextlib.suppress(OSError, ValueError):  # not in the cache, or only in part
        folder = Path(hub.snapshot_download(model, revision=revision, local_files_only=True))
        if any(_matches(path, (*_TENSORS, *_PICKLED_TENSORS)) for path in weight_files(folder)):
            return folder
    return _fetched(model, revision)


def _fetched(name: str, revision: str | None) -> Path:
    import huggingface_hub as hub

    try:
        # Asked first because it tries once: the download itself tries again and again where there is no network.
        known = hub.HfApi().model_info(name, revision=revision, timeout=_SECONDS)
        files = deciding(PurePosixPath(file.rfilename) for file in known.siblings or ())
        with _without_bars():
            return Path(hub.snapshot_download(name, revision=revision, allow_patterns=[str(file) for file in files]))
    except Exception as error:  # the client's own errors, those of its HTTP library, and the system's
        cause = str(error).strip().partition("\n")[0]
        raise EmbedderUnavailableError(
            f"there is no folder {name!r} here, and the model of this name cannot be fetched from the hub "
            f"({type(error).__name__}: {cause}); check the name, give a folder that holds the model, "
            f"or fetch it where there is a network: hf download {name}",
            missing=[name],
        ) from error


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    utils: Any = importlib.import_module("huggingface_hub.utils")
    shown = not utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            utils.enable_progress_bars()


def _is_other(folder: str) -> bool:
    return folder in _OTHER_FORMATS or folder.startswith((".", "checkpoint-"))


def _matches(path: PurePath, patterns: Iterable[str]) -> bool:
    return any(path.match(pattern) for pattern in patterns)
