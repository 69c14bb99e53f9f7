"""The contract between vecdb and embedders: what a plugin author writes, and how it is identified.

A plugin describes each embedder by an `EmbedderInfo` (cheap, static) and implements `Embedder`.
Everything around it (batches, order, threads, bad items, normalisation, caching) is the host's work.
"""

from __future__ import annotations

import abc
import hashlib
import importlib
import importlib.util
import json
import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from vecdb.errors import EmbedderUnavailableError, InvalidInputError, PluginLoadError, shown
from vecdb.options import build_config, config_values, fields_of, is_required, option
from vecdb.types import METRICS, Metric, Modality, Progress, Role

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MODALITIES = ("text", "image", "audio", "ids")
ON_TRUNCATE = ("mark", "mean", "error")
MAX_TIMEOUT = threading.TIMEOUT_MAX


class Embedder(abc.ABC):
    """Turns contents into vectors. Subclass it, and name the class in an `EmbedderInfo`.

    `__init__` only keeps the config: it must be cheap. Items arrive as `str` for text, as
    `pathlib.Path` or `vecdb.Image` for images, as `pathlib.Path` or `vecdb.Audio` for sounds.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    @abc.abstractmethod
    def load(self) -> None:
        """Open the weights. The only place for heavy imports. Works offline.

        Raises:
            EmbedderUnavailableError: a file is missing or is not what it should be.
        """

    def close(self) -> None:  # noqa: B027  (nothing to do is a right answer)
        """Let go of what `load` opened. Calling it twice is fine, and so is a later `load`."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Length of every output vector. Valid after `load`."""

    def weights(self) -> Sequence[Path]:
        """The files and folders whose content decides the vectors. Valid before `load`."""
        return ()

    def prepare(self, item: Any) -> Any:
        """Decode, tokenise and check ONE item. Pure and safe to call from several threads.

        An item that is longer than the model takes is returned as `Windows`, so that nothing is cut
        without a trace.

        Raises:
            ItemError: (or any exception) this item cannot be embedded; the others go on.
        """
        return item

    @abc.abstractmethod
    def encode(self, batch: Sequence[Any], role: Role) -> Any:
        """Embed prepared items: a float array of shape (len(batch), dimension), row i for item i.

        Never called with an empty batch. A row must not depend on the other items of its batch.
        `role` is "document" or "query", for models that treat them differently.
        """

    def cost(self, prepared: Any) -> int:  # noqa: ARG002  (the default ignores it)
        """Size of a prepared item, in any unit: batches are made of items of similar cost."""
        return 1


@dataclass(frozen=True, slots=True)
class Windows:
    """What `prepare` returns for an item that is longer than the model takes: all of it, in parts.

    The host decides by the option `on_truncate` (see `truncation_option`): it embeds the first part
    alone and marks the record, or embeds all parts and takes their mean weighted by `Embedder.cost`,
    or refuses the item.

    Attributes:
        parts: two or more, in order, each as `prepare` returns a shorter item; the first is what a
            model that cuts its input would see.
    """

    parts: Sequence[Any]


def truncation_option(default: str = "mark") -> Any:
    """The config field `on_truncate`, for an embedder whose `prepare` may return `Windows`."""
    return option(
        default,
        choices=ON_TRUNCATE,
        help="an item longer than the model takes: mark (embed its beginning and mark it), "
        "mean (of all its parts), error (refuse it)",
    )


@dataclass(frozen=True)
class EmbedderInfo:
    """What is known of an embedder without loading it.

    Attributes:
        name: lower-case words joined by "-"; unique among all installed plugins.
        summary: one line for people.
        modalities: what it takes: "text", "image", "audio", "ids".
        config: a frozen dataclass of `vecdb.option` fields. A field named `model` takes the part
            behind the colon of "NAME:MODEL".
        factory: "package.module:Class", imported on first use.
        metrics: the metrics that make sense, the default first.
        requires: modules that `load` imports; looked up without importing them.
        optional: modules that `load` imports for some models or devices only. The versions of these and
            the required ones are watched: where one changes, vectors are compared (the probe).
        extra: the extra of the distribution that installs them (`distribution`, by default vecdb's).
        revision: raise it when a change of the code changes the vectors.
        batch_size: items for each `encode`.
        trainer: "package.module:Class" of a `Trainer`, or None.
        timeout: seconds that one call of `load`, of `prepare` (one item), of `encode` (one batch) or of
            `close` may take; None: any time. It is for what hangs, so make it many times what the slowest
            takes. With one, the four are called on threads of the host's.
    """

    name: str
    summary: str
    modalities: frozenset[Modality]
    config: type
    factory: str
    metrics: tuple[Metric, ...] = ("cosine", "l2", "ip")
    requires: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    extra: str | None = None
    revision: int = 1
    batch_size: int = 32
    trainer: str | None = None
    distribution: str = "vecdb-engine"
    timeout: float | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise PluginLoadError(f"embedder {self.name!r}: {problem}")
        object.__setattr__(self, "modalities", frozenset(self.modalities))

    def _problem(self) -> str | None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            return "the name must be lower-case words joined by '-'"
        if not self.summary:
            return "a summary is missing"
        if not self.modalities or not set(self.modalities) <= set(_MODALITIES):
            return f"modalities must be some of {', '.join(_MODALITIES)}"
        if not self.metrics or not set(self.metrics) <= set(METRICS):
            return f"metrics must be some of {', '.join(METRICS)}"
        if not (isinstance(self.config, type) and is_dataclass(self.config)):
            return "config must be a dataclass (a class, not an instance)"
        if not self.config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            return "config must be a frozen dataclass: @dataclass(frozen=True)"
        if ":" not in self.factory or (self.trainer is not None and ":" not in self.trainer):
            return "factory and trainer are written 'package.module:Class'"
        if self.batch_size < 1:
            return "batch_size must be at least 1"
        if self.timeout is not None and not is_timeout(self.timeout):
            return f"timeout must be a positive number of seconds or None, not {self.timeout!r:.40}"
        return None

    def missing(self) -> list[str]:
        """The required modules that are not installed."""
        return [module for module in self.requires if importlib.util.find_spec(module) is None]

    def check_available(self) -> None:
        """Raise `EmbedderUnavailableError`, saying what to install, if a library is missing."""
        missing = self.missing()
        if missing:
            target = f"'{self.distribution}[{self.extra}]'" if self.extra else " ".join(missing)
            raise EmbedderUnavailableError(
                f"embedder {self.name!r} needs {', '.join(missing)}: pip install {target}",
                name=self.name,
                missing=missing,
            )

    def configure(self, options: Mapping[str, Any], *, from_text: bool = False) -> Any:
        """A checked instance of the config class (see `vecdb.options.build_config`)."""
        return build_config(self.config, options, owner=f"embedder {self.name!r}", from_text=from_text)

    def with_timeout(self, seconds: float | None) -> EmbedderInfo:
        """The same with this `timeout`; None leaves what the embedder says, and infinity means any time."""
        return self if seconds is None else replace(self, timeout=seconds)

    def create(self, config: Any) -> Embedder:
        """A new embedder, not loaded.

        Raises:
            EmbedderUnavailableError: a required library is missing.
            PluginLoadError: the factory cannot be imported, or is not an `Embedder`.
        """
        self.check_available()
        made = import_object(self.factory, owner=f"embedder {self.name!r}")(config)
        if not isinstance(made, Embedder):
            raise PluginLoadError(f"embedder {self.name!r}: {self.factory} is not a vecdb.Embedder; subclass it")
        return made

    def trainer_class(self) -> type[Trainer]:
        """The trainer for this embedder; its `config` says which options training has.

        Raises:
            InvalidInputError: the embedder cannot be trained.
            PluginLoadError: the trainer cannot be imported, or is not a `Trainer`.
        """
        if self.trainer is None:
            raise InvalidInputError(f"embedder {self.name!r} cannot be trained; see `vecdb embedders list`")
        self.check_available()
        found = import_object(self.trainer, owner=f"embedder {self.name!r}")
        if not (isinstance(found, type) and issubclass(found, Trainer)):
            raise PluginLoadError(f"embedder {self.name!r}: {self.trainer} is not a vecdb.Trainer; subclass it")
        return found

    def create_trainer(self, options: Any = None, *, from_text: bool = False) -> Trainer:
        """A trainer with these options: a mapping, or an instance of its config class; errors as above."""
        trainer = self.trainer_class()
        if isinstance(options, trainer.config):
            return trainer(options)
        owner = f"training {self.name!r}"
        return trainer(build_config(trainer.config, options or {}, owner=owner, from_text=from_text))


def is_timeout(seconds: Any) -> bool:
    """Whether this is a number of seconds to wait: positive; infinity means for ever."""
    return type(seconds) in (int, float) and seconds > 0 and (seconds == math.inf or seconds <= MAX_TIMEOUT)


class Trainer(abc.ABC):
    """Trains a model on texts, for an embedder that can be trained.

    Attributes:
        config: a frozen dataclass of `vecdb.option` fields: the training's options.
    """

    config: ClassVar[type]

    def __init__(self, config: Any) -> None:
        self.options = config

    @abc.abstractmethod
    def train(self, texts: Iterable[str], output: Path, progress: Progress | None = None) -> Mapping[str, Any]:
        """Train on `texts` (read once) and write the model to `output`, replacing it atomically.

        Args:
            texts: one document an item.
            output: the file to write; the embedder opens it as its `model`.
            progress: called as `progress(done, total)` in units of words.

        Returns:
            What was done: at least "texts", "words", "vocabulary", "dimension", "seconds".

        Raises:
            InvalidInputError: the texts are too few to learn from.
        """


@dataclass(frozen=True)
class EmbedderRef:
    """An embedder by name with its options: the long form of "NAME" and "NAME:MODEL"."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | EmbedderRef, options: Mapping[str, Any] | None = None) -> EmbedderRef:
        """Read "NAME" or "NAME:MODEL"; `options` are added, and MODEL becomes the option `model`.

        Raises:
            InvalidInputError: the text is empty, or an option is given twice.
        """
        if isinstance(text, cls):
            name, found = text.name, dict(text.options)
        elif isinstance(text, str) and text.strip():
            name, colon, model = text.partition(":")
            found = {"model": model} if colon else {}
        else:
            raise InvalidInputError(f"an embedder is named 'NAME' or 'NAME:MODEL', not {shown(text)}")
        if not isinstance(options or {}, Mapping):
            raise InvalidInputError(f"embedder_options must be a dict, not {shown(options)}; give a dict")
        for key, value in (options or {}).items():
            if key in found and found[key] != value:
                values = f"{shown(found[key])} and {shown(value)}"
                raise InvalidInputError(f"option {key!r} of embedder {name!r} is given twice: {values}; give it once")
            found[key] = value
        return cls(name, found)


def import_object(path: str, *, owner: str) -> Any:
    """The object that "package.module:name" means. Raises `PluginLoadError`, with the cause."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise PluginLoadError(f"{owner}: cannot import {path}: {type(error).__name__}: {error}") from error


def required_options(config: type) -> list[str]:
    """Names of the options without a default."""
    return [found.name for found in fields_of(config) if is_required(found)]


# --- fingerprint --------------------------------------------------------------------------------

_BLOCK = 1 << 22


def weight_files(embedder: Embedder, *, owner: str) -> list[tuple[str, Path]]:
    """The weight files, each with a name that does not depend on where they lie.

    A file is known by its position; a file in a folder by position and path within the folder.

    Raises:
        EmbedderUnavailableError: one of them does not exist.
    """
    found: list[tuple[str, Path]] = []
    for position, path in enumerate(map(Path, embedder.weights())):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            found += [(f"{position}/{p.relative_to(path).as_posix()}", p) for p in inside]
        elif path.is_file():
            found.append((str(position), path))
        else:
            raise EmbedderUnavailableError(
                f"{owner} needs the file {path}, which does not exist; put it there or give another path (a stored "
                "collection takes it by get_or_create_collection)",
                missing=[str(path)],
            )
    return found


class FileHashes:
    """SHA-256 of files, remembered by path, size and modification time.

    `known` holds what is remembered and may be stored as JSON: {path: [size, mtime_ns, sha256]}.
    """

    def __init__(self, known: Mapping[str, Sequence[Any]] | None = None) -> None:
        self.known: dict[str, Sequence[Any]] = dict(known or {})
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """Hexadecimal SHA-256 of the content; read only if size or modification time changed."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        with self._lock:
            known = self.known.get(str(path))
        if known is not None and list(known[:2]) == stamp:
            return str(known[2])
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        with self._lock:
            self.known[str(path)] = [*stamp, digest.hexdigest()]
        return digest.hexdigest()


def fingerprint(info: EmbedderInfo, embedder: Embedder, hashes: FileHashes | None = None) -> str:
    """What makes two vectors comparable: "vf1:" and a SHA-256.

    Over the embedder's name and revision, its options that affect vectors, and the content of its
    weights. Not in it: paths, device, threads, library versions (a probe covers those).

    Raises:
        EmbedderUnavailableError: a weight file does not exist.
    """
    read = hashes or FileHashes()
    files = weight_files(embedder, owner=f"embedder {info.name!r}")
    identity = {
        "embedder": info.name,
        "revision": info.revision,
        "config": config_values(embedder.config, "vectors"),
        "weights": {name: read.sha256(path) for name, path in files},
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "vf1:" + hashlib.sha256(canonical.encode()).hexdigest()
