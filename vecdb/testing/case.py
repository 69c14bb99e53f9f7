"""What is checked: an embedder with its options and items, and a second process that runs it too."""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.embedder import Embedder, EmbedderInfo, Windows
from vecdb.embedding import EmbedderHost, read_content
from vecdb.errors import InvalidInputError
from vecdb.options import config_values, reveal_secrets
from vecdb.plugins import Plugins
from vecdb.testing.samples import bad_samples, good_samples
from vecdb.types import Audio, Image, Vector

_CHILD_SECONDS = 600
_MIN_GOOD = 4


class ContractError(AssertionError):
    """A clause of the contract does not hold; the message tells the plugin's author what to do."""


class NotApplicableError(Exception):
    """A clause cannot be checked here; the message says what to give so that it can."""


class ContractCase:
    """An embedder, its options, and the items to try it with.

    Args:
        info: the embedder.
        options: its options, as a user would give them.
        good: at least four different items that it can embed; by default made-up ones of its kind.
        bad: items that it cannot embed, beside the ones that no embedder can (empty text, broken files).
        runtime_change: options that must change neither vectors nor fingerprint.
        vector_change: options that must change the fingerprint.
        near: three items, the first nearer to the second than to the third.

    Raises:
        InvalidInputError: an option is wrong, or there are fewer than four different good items.
    """

    def __init__(
        self,
        info: EmbedderInfo,
        options: Mapping[str, Any] | None = None,
        good: Sequence[Any] | None = None,
        *,
        bad: Sequence[Any] = (),
        runtime_change: Mapping[str, Any] | None = None,
        vector_change: Mapping[str, Any] | None = None,
        near: Sequence[Any] = (),
    ) -> None:
        self.info = info
        self.options = dict(options or {})
        self.config = info.configure(self.options)
        self.good = list(good or good_samples(info.modalities))
        self.bad = [*bad, *bad_samples(info.modalities)]
        self.runtime_change = dict(runtime_change or {})
        self.vector_change = dict(vector_change or {})
        self.near = tuple(near)
        if len(set(self.good)) < _MIN_GOOD:
            raise InvalidInputError(
                f"the contract of embedder {info.name!r} is checked with at least {_MIN_GOOD} different items; "
                f"give more than these {len(set(self.good))}"
            )
        if self.near and len(self.near) != 3:
            raise InvalidInputError("near takes three items: the first is nearer to the second than to the third")

    def host(self, **changes: Any) -> EmbedderHost:
        """A new host, with some options changed."""
        return EmbedderHost(self.info, self.info.configure({**self.options, **changes}))

    @contextmanager
    def loaded(self) -> Iterator[Embedder]:
        """The bare embedder, loaded."""
        embedder = self.info.create(reveal_secrets(self.config, owner=f"embedder {self.info.name!r}"))
        embedder.load()
        try:
            yield embedder
        finally:
            embedder.close()

    def prepared(self, embedder: Embedder) -> list[Any]:
        """The good items as `encode` gets them; of a long one its first part."""
        made = [embedder.prepare(read_content(item, self.info)) for item in self.good]
        return [item.parts[0] if isinstance(item, Windows) else item for item in made]

    @functools.cached_property
    def vectors(self) -> Vector:
        """The vectors of the good items as documents, from a host."""
        with self.host() as host:
            return host.embed(self.good).check()

    @functools.cached_property
    def other_process(self) -> Mapping[str, Any]:
        """What a second process reports of the same embedder; see `vecdb.testing.child`.

        It has another hash seed and no network, and watches for output and changed global state.
        """
        request = {
            "info": describe(self.info),
            "plugin": self._entry_point(),
            "options": config_values(self.config, "vectors", "runtime", "location", "secret"),
            "items": [pack(item) for item in self.good],
        }
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
        }
        run = subprocess.run(
            [sys.executable, "-m", "vecdb.testing.child"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=environment,
            timeout=_CHILD_SECONDS,
            check=False,
        )
        try:
            report: dict[str, Any] = json.loads(run.stdout)
        except ValueError:
            ending = run.stderr.strip()[-1500:]
            report = {"error": f"the process ended with status {run.returncode}: {ending}"}
        return report

    def from_other_process(self, key: str) -> Any:
        """One part of that report; fails, with the other process's error, if it did not come so far."""
        report = self.other_process
        if key not in report:
            raise ContractError(f"in another process the embedder fails; mend this first: {report.get('error')}")
        return report[key]

    @property
    def other_vectors(self) -> Vector:
        """The vectors that the other process made."""
        data = base64.b64decode(self.from_other_process("vectors"))
        return np.frombuffer(data, np.float32).reshape(len(self.good), -1)

    def _entry_point(self) -> str | None:
        """The installed plugin that offers this very embedder, if one does."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's broken plugins are not what is checked
            plugins = Plugins(strict=False)
            if self.info not in plugins.embedders():
                return None
            return next(p.name for p in plugins.listing() if self.info.name in p.embedders)


# --- what crosses to the other process: JSON, never pickle -----------------------------------------


def describe(info: EmbedderInfo) -> dict[str, Any]:
    """An `EmbedderInfo` as JSON values; the config class by its name.

    Raises:
        InvalidInputError: the config class cannot be imported by name.
    """
    config = info.config
    if "<locals>" in config.__qualname__ or config.__module__ == "__main__":
        raise InvalidInputError(
            f"embedder {info.name!r}: another process cannot import {config.__module__}:{config.__qualname__}; "
            "define the config class at the top of a module"
        )
    values = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    values["modalities"] = sorted(info.modalities)
    values["config"] = f"{config.__module__}:{config.__qualname__}"
    return values


def pack(item: Any) -> dict[str, str]:
    """An item as JSON values; `unpack` makes it again."""
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, Path):
        return {"path": str(item)}
    if isinstance(item, Image | Audio):
        return {type(item).__name__.lower(): base64.b64encode(item.data).decode("ascii")}
    raise InvalidInputError(f"a good item is a str, a Path, an Image or an Audio, not {type(item).__name__}")


def unpack(packed: Mapping[str, str]) -> Any:
    """The item that `pack` described."""
    [(kind, value)] = packed.items()
    if kind == "text":
        return value
    if kind == "path":
        return Path(value)
    return (Image if kind == "image" else Audio)(base64.b64decode(value))
