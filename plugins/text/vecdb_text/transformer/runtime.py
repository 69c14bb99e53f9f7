"""torch and transformers: importing them, choosing a device, and loading a model in silence."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from vecdb import EmbedderUnavailableError, VecdbError
from vecdb_text.transformer.config import TransformerConfig

_LIBRARIES = ("transformers", "sentence_transformers")
_SET_BY_TORCH = "TORCHINDUCTOR_CACHE_DIR"  # when its compiler is imported; it finds its default again without it
_COMPANIONS = ("torchvision", "torchaudio")


def import_library(name: str) -> ModuleType:
    """A model library.

    Raises:
        EmbedderUnavailableError: it is missing, or does not import with what else is installed.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a torchvision built for another torch breaks it with any kind of error
        companions = [module for module in _COMPANIONS if _is_installed(module)]
        if companions and _is_installed(name):
            advice = f"{' and '.join(companions)} may not match your torch: uninstall, or take both from one index"
        else:
            advice = "pip install 'vecdb-engine[text]'"
        raise EmbedderUnavailableError(
            f"{name} cannot be imported ({type(error).__name__}: {_first_line(error)}); {advice}", missing=[name]
        ) from error


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def choose_device(torch: Any, wanted: str) -> str:
    """The name of a device that is there: "cpu", "cuda:N" or "mps".

    Raises:
        EmbedderUnavailableError: the device that is asked for is not there; says which are.
    """
    there = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        there.append("mps")
    there.append("cpu")
    if wanted == "auto":
        return there[0]
    device = "cuda:0" if wanted == "cuda" else wanted
    if device not in there:
        raise EmbedderUnavailableError(
            f"there is no device {wanted!r} for torch {torch.__version__} here; there is {', '.join(there)}: "
            "choose one of these, or install a torch for your GPU"
        )
    return device


@contextlib.contextmanager
def loading(config: TransformerConfig, torch: Any) -> Iterator[None]:
    """Load a model inside this: nothing is printed, and nothing of the process is changed for good.

    Raises:
        EmbedderUnavailableError: whatever the libraries raise for files that are missing, damaged or
            not safe to read; and weights that would be left to chance because the files lack them.
    """
    said_where = _SET_BY_TORCH in os.environ
    if config.threads:
        torch.set_num_threads(config.threads)
    # What the libraries import only now would add to the warning filters, and new layers use random numbers.
    with _quiet() as messages, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        try:
            yield
        except (VecdbError, MemoryError):
            raise
        except Exception as error:  # torch, safetensors, tokenizers and json each have errors of their own
            raise unusable(config.model, f"{type(error).__name__}: {_first_line(error)}") from error
        finally:
            if not said_where:
                os.environ.pop(_SET_BY_TORCH, None)
    lines = [line for message in messages for line in message.splitlines()]
    left = [line.partition("|")[0].strip() for line in lines if "| MISSING" in line]
    left = [name for name in left if "pooler" not in name]  # its output is not used
    if left:
        raise unusable(config.model, f"its files lack {len(left)} of its weights, the first is {left[0]}")


def unusable(model: str | Path, problem: str) -> EmbedderUnavailableError:
    """The error for a model whose files cannot be used."""
    return EmbedderUnavailableError(
        f"the model {model} cannot be used: {problem}; "
        "fetch its files again (weights as safetensors), or give another model",
        missing=[str(model)],
    )


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep progress bars and the libraries' warnings back; yields what they would have said."""
    bars: Any = importlib.import_module("transformers.utils.logging")
    said: list[str] = []
    collector = _Collector(said)
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    for logger in loggers:
        logger.handlers[:], logger.propagate = [collector], False
        logger.setLevel(logging.WARNING)
    try:
        yield said
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()


class _Collector(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:300]
