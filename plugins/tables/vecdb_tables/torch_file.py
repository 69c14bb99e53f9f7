"""What `torch.save` wrote. Only tensors are taken from it: a pickle may ask for any code to be run."""

from __future__ import annotations

import functools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecdb import EmbedderUnavailableError
from vecdb_tables.table import Entry, Table, unusable

_NESTED = ("state_dict", "model_state_dict", "model")
_SAFE_SINCE = "2.6"  # before, weights_only could be circumvented (CVE-2025-32434)
_SAVE = "save its tensors alone, where it was made: torch.save(model.state_dict(), FILE)"


def read_state_dict(path: Path) -> Mapping[str, Entry]:
    """The tensors of a state dict, of a checkpoint with one in it, or a tensor that was saved by itself (name "").

    Files since torch 1.6 are mapped into memory.

    Raises:
        EmbedderUnavailableError: torch is not installed or too old; the file is damaged, or holds
            anything but tensors (nothing of it is run).
    """
    loaded = _load(path)
    tensors: Mapping[Any, Any] = {"": loaded} if _is_tensor(loaded) else loaded
    if isinstance(tensors, Mapping):
        inner = [tensors[name] for name in _NESTED if isinstance(tensors.get(name), Mapping)]
        found = inner[0] if inner else tensors
        entries = {str(name): _entry(value) for name, value in found.items() if _is_tensor(value)}
        if entries:
            return entries
    raise unusable(path, "holds no tensors", _SAVE)


def _load(path: Path) -> Any:
    try:
        import torch
        from torch.torch_version import TorchVersion
    except (ImportError, OSError) as error:
        raise EmbedderUnavailableError(
            f"{path} was written by torch, which cannot be imported here ({error}): pip install torch, or store the "
            "table as safetensors or .npy",
            missing=["torch"],
        ) from error
    if torch.__version__ < TorchVersion(_SAFE_SINCE):
        raise EmbedderUnavailableError(
            f"{path} is not opened with torch {torch.__version__}, which a file could make run code: "
            "pip install 'torch>=2.6', or store the table as safetensors or .npy",
            missing=["torch>=2.6"],
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old or foreign pickles: they are refused or harmless
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: Exception) -> EmbedderUnavailableError:
    message = str(error)
    cause = f"{type(error).__name__}: {message.partition('. This file')[0].strip() or 'no details'}"
    if "torch.nn." in message or "TorchScript" in message:
        return unusable(path, "is a whole model, which would run code when it is opened, and was refused", _SAVE)
    if "Unsupported" in message or "weights_only" in message.lower() or "GLOBAL" in message:
        place = message.find("GLOBAL")
        asked = f" (it asks for {message[place + 6 :].split(maxsplit=1)[0]})" if place >= 0 else ""
        problem = f"holds more than tensors{asked}, and was refused; nothing of it was run"
        return unusable(path, problem, "do not trust the file unless you know it; if you made it, " + _SAVE)
    return unusable(path, f"is damaged or cut off ({cause.splitlines()[0][:200]})", "fetch it again")


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "layout") and hasattr(value, "detach")


def _entry(tensor: Any) -> Entry:
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    dense = str(tensor.layout) == "torch.strided" and tensor.device.type == "cpu" and not tensor.is_quantized
    if len(shape) == 2 and dense and dtype in ("float64", "float32", "float16", "bfloat16"):
        return Entry(shape, dtype, functools.partial(_table, tensor, dtype))
    return Entry(shape, dtype if dense else f"{dtype} ({tensor.layout}, {tensor.device})", None)


def _table(tensor: Any, dtype: str) -> Table:
    import torch

    bare = tensor.detach()
    return Table(bare.view(torch.uint16).numpy() if dtype == "bfloat16" else bare.numpy())
