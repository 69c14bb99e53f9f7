"""The second process of the contract: `python -m vecdb.testing.child`, JSON in, JSON out.

It reports, as far as it comes:

    heavy        libraries that were imported when the plugin was registered
    fingerprint  of the embedder
    network      addresses that it tried to reach (refused here)
    output       what it printed, to standard output or standard error
    changed      global state that is not as it was before
    vectors      float32 bytes of the good items, base64
    error        what went wrong
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import logging
import os
import random
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.embedder import EmbedderInfo, import_object
from vecdb.embedding import EmbedderHost
from vecdb.plugins import Plugins
from vecdb.testing.case import unpack

_HEAVY = frozenset(
    {
        "PIL", "cv2", "gensim", "h5py", "jax", "keras", "librosa", "matplotlib", "nltk", "onnxruntime", "openvino",
        "pandas", "scipy", "sentence_transformers", "sklearn", "soundfile", "spacy", "tensorflow", "tokenizers",
        "torch", "torchvision", "transformers",
    }
)  # fmt: skip


class NetworkBlockedError(OSError):
    """The contract's second process has no network."""


def main() -> None:
    """Read the request from standard input, write the report to standard output."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what the embedder prints must not mix with the report
    report: dict[str, Any] = {}
    try:
        _examine(json.load(sys.stdin), report)
    except Exception:  # noqa: BLE001  (whatever a plugin raises is the report)
        report["error"] = traceback.format_exc(limit=-6)
    with os.fdopen(answer, "w") as file:
        json.dump(report, file)


def _examine(request: Mapping[str, Any], report: dict[str, Any]) -> None:
    attempts: list[str] = []
    _block_network(attempts)
    before = set(sys.modules)
    info = _info(request["info"])
    if request["plugin"]:
        Plugins(load=[request["plugin"]], strict=True).embedder(info.name)
    suspects = (_HEAVY | {module.partition(".")[0] for module in info.requires}) - before - {"numpy"}
    report["heavy"] = sorted(suspects & set(sys.modules))
    config = info.configure(request["options"])
    items = [unpack(item) for item in request["items"]]
    report["fingerprint"] = EmbedderHost(info, config).fingerprint()
    for module in info.requires:  # what a foreign library does on import is not the author's
        importlib.import_module(module)
    state = _global_state()
    printed: list[str] = []
    report["network"], report["output"] = attempts, printed
    with _captured(printed), EmbedderHost(info, config) as host:
        vectors = host.embed(items).check()
        host.embed(items, "query").check()
    report["changed"] = sorted(name for name, value in _global_state().items() if value != state[name])
    report["vectors"] = base64.b64encode(vectors.tobytes()).decode("ascii")


def _info(values: Mapping[str, Any]) -> EmbedderInfo:
    given = dict(values)
    given["config"] = import_object(given["config"], owner="the contract")
    for name in ("metrics", "requires"):
        given[name] = tuple(given[name])
    return EmbedderInfo(**{**given, "modalities": frozenset(given["modalities"])})


def _block_network(attempts: list[str]) -> None:
    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            address = f"{arguments[0]}:{arguments[1]}"
        elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
            address = ":".join(map(str, arguments[1][:2]))
        else:
            return
        attempts.append(address)
        raise NetworkBlockedError(f"the contract allows no network, but {address} was asked for")

    sys.addaudithook(refuse)


def _global_state() -> dict[str, Any]:
    root = logging.getLogger()
    readers: dict[str, Callable[[], Any]] = {
        "the state of `random`": random.getstate,
        "the state of `numpy.random`": lambda: repr(np.random.get_state()),
        "the working directory": Path.cwd,
        "the environment variables": lambda: dict(os.environ),
        "the warning filters": lambda: list(warnings.filters),
        "the root logger": lambda: (list(root.handlers), root.level, logging.root.manager.disable),
        "sys.path": lambda: list(sys.path),
    }
    return {name: read() for name, read in readers.items()}


@contextlib.contextmanager
def _captured(printed: list[str]) -> Iterator[None]:
    """What is written to the file descriptors 1 and 2, also by C code."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, number in zip(kept, (1, 2), strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            text = file.read().decode(errors="replace")
            if text:
                printed.append(text)


if __name__ == "__main__":
    main()
