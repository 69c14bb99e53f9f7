"""A space of an open collection: its row, its embedder and its index. And how a new space is defined."""

from __future__ import annotations

import dataclasses
import struct
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.embedder import EmbedderInfo, EmbedderRef, FileHashes
from vecdb.embedding import Embedded, EmbedderHost, probes_agree
from vecdb.errors import (
    DimensionMismatchError,
    EmbedderMismatchError,
    InvalidInputError,
    UnsupportedContentError,
)
from vecdb.index.hnsw import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, HnswIndex
from vecdb.options import affects, config_values, fields_of
from vecdb.plugins import Plugins
from vecdb.storage.engine import DatabaseEngine
from vecdb.storage.spaces import SpaceRow, update_space
from vecdb.sync import SpaceIndex
from vecdb.types import INDEX_KINDS, METRICS, IndexKind, Metric, Progress, Role, Vector
from vecdb.vectors import MAX_DIMENSION, as_vector, as_vectors, from_blobs, normalise, to_blobs

DEFAULT_SPACE = "default"
_INDEX_DEFAULTS = {"M": DEFAULT_M, "ef_construction": DEFAULT_EF_CONSTRUCTION}
_INDEX_OPTIONS = (*_INDEX_DEFAULTS, "ef")
_MAX_NAME_BYTES = 512


# --- defining a new space -----------------------------------------------------------------------


@dataclass(frozen=True)
class SpaceDefinition:
    """What the caller asks of a new space, checked; nothing is loaded yet."""

    name: str
    source: str | None
    info: EmbedderInfo | None
    config: Any
    dimension: int | None
    metric: Metric
    index_kind: IndexKind
    index_options: Mapping[str, int]

    @classmethod
    def make(
        cls,
        plugins: Plugins,
        name: str,
        *,
        source: str | None = None,
        embedder: str | EmbedderRef | None = None,
        embedder_options: Mapping[str, Any] | None = None,
        dimension: int | None = None,
        metric: Metric | None = None,
        index: IndexKind = "auto",
        index_options: Mapping[str, int] | None = None,
    ) -> SpaceDefinition:
        """Check everything that can be checked without loading the embedder."""
        check_name(name, what="space")
        if source is not None and (type(source) is not str or not source):
            raise InvalidInputError(f"space {name!r}: source must name a field of the content, not {source!r}")
        if embedder is None and dimension is None:
            raise InvalidInputError(
                f"space {name!r} needs an embedder, or dimension= for vectors that you bring; give one of them"
            )
        if embedder is None and embedder_options:
            raise InvalidInputError(f"space {name!r} has embedder_options but no embedder; name the embedder")
        if dimension is not None and (type(dimension) is not int or not 1 <= dimension <= MAX_DIMENSION):
            raise InvalidInputError(f"space {name!r}: dimension must be 1 to {MAX_DIMENSION}, not {dimension!r}")
        info, config = None, None
        if embedder is not None:
            ref = EmbedderRef.parse(embedder, embedder_options)
            info = plugins.embedder(ref.name)
            config = info.configure(ref.options)
        offered = info.metrics if info is not None else METRICS
        if metric is not None and metric not in offered:
            raise InvalidInputError(f"space {name!r}: metric must be one of {', '.join(offered)}, not {metric!r}")
        if index not in INDEX_KINDS:
            raise InvalidInputError(f"space {name!r}: index must be one of {', '.join(INDEX_KINDS)}, not {index!r}")
        return cls(
            name, source, info, config, dimension, metric or offered[0], index, _index_options(name, index_options)
        )

    def row(self, folder: Path) -> dict[str, Any]:
        """The columns of the new space; loads the embedder, and probes it."""
        row: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "embedder": None,
            "options": {},
            "dimension": self.dimension,
            "metric": self.metric,
            "index_kind": self.index_kind,
            "index_options": self.index_options,
        }
        if self.info is None:
            return row
        hashes = FileHashes()
        config = _absolute(self.config)
        with EmbedderHost(self.info, config) as host:
            row |= {
                "embedder": self.info.name,
                "options": stored_options(config, folder),
                "fingerprint": host.fingerprint(hashes),
                "weights": hashes.known,
                "dimension": host.dimension,
                "probe": _probe_bytes(host.probe()),
                "environment": host.environment(),
            }
        if self.dimension not in (None, row["dimension"]):
            raise DimensionMismatchError(
                f"embedder {self.info.name!r} makes {row['dimension']} numbers, not dimension={self.dimension}; "
                "leave dimension out",
                expected=self.dimension,
                got=row["dimension"],
            )
        return row

    def differences(self, row: SpaceRow) -> list[str]:
        """In what a stored space differs from this definition."""
        pairs: list[tuple[str, Any, Any]] = [
            ("source", row.source, self.source),
            ("embedder", row.embedder, self.info.name if self.info else None),
            ("metric", row.metric, self.metric),
            ("index", row.index_kind, self.index_kind),
            ("index_options", dict(row.index_options), dict(self.index_options)),
        ]
        if self.dimension is not None:
            pairs.append(("dimension", row.dimension, self.dimension))
        if self.info is not None and row.embedder == self.info.name:
            host = EmbedderHost(self.info, _absolute(self.config))
            pairs.append(("the embedder's fingerprint", row.fingerprint, host.fingerprint(FileHashes(row.weights))))
        return [f"{what} is {stored!r}, not {asked!r}" for what, stored, asked in pairs if stored != asked]


def check_name(name: Any, *, what: str) -> None:
    """A name of a collection or space: text without "/", "\\", control characters or outer spaces."""
    if type(name) is not str or not name or name != name.strip():
        raise InvalidInputError(f"a {what} name must be text without spaces around it, not {name!r}; choose another")
    wrong = next((char for char in name if char in "/\\" or unicodedata.category(char) in ("Cc", "Cs")), None)
    if wrong is not None:
        raise InvalidInputError(f"the {what} name {name!r} holds {wrong!r}, which is not allowed; choose another")
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidInputError(f"the {what} name {name[:40]!r}… is longer than {_MAX_NAME_BYTES} bytes; shorten it")


def _index_options(name: str, options: Mapping[str, int] | None) -> dict[str, int]:
    unknown = sorted(set(options or {}) - set(_INDEX_OPTIONS))
    if unknown:
        known = ", ".join(_INDEX_OPTIONS)
        raise InvalidInputError(f"space {name!r}: unknown index option {unknown[0]!r}; the options are {known}")
    found = {**_INDEX_DEFAULTS, **(options or {})}
    HnswIndex(1, "l2", **found, capacity=1)  # it knows the ranges
    return found


# --- options and paths --------------------------------------------------------------------------


def _absolute(config: Any) -> Any:
    """The config with its paths made absolute: a database is opened from other folders later."""
    changes = {
        field.name: getattr(config, field.name).absolute()
        for field in fields_of(config)
        if affects(field) == "location" and isinstance(getattr(config, field.name), Path)
    }
    return dataclasses.replace(config, **changes)


def stored_options(config: Any, folder: Path) -> dict[str, Any]:
    """Options as stored: paths inside the database folder relative to it. Secrets are only names."""
    found = config_values(config, "vectors", "runtime", "location", "secret")
    base = folder.absolute()
    for field in fields_of(config):
        value = getattr(config, field.name)
        if affects(field) == "location" and isinstance(value, Path) and value.is_relative_to(base):
            found[field.name] = f"./{value.relative_to(base).as_posix()}"
    return found


def opened_options(info: EmbedderInfo, options: Mapping[str, Any], folder: Path) -> Any:
    """The config that `stored_options` kept, for the place where the database lies now."""
    found = dict(options)
    for field in fields_of(info.config):
        value = found.get(field.name)
        if affects(field) == "location" and isinstance(value, str) and value.startswith("./"):
            found[field.name] = str(folder.absolute() / value)
    return info.configure(found)


# --- probes as bytes ----------------------------------------------------------------------------


def _probe_bytes(probe: Sequence[Vector | None]) -> bytes:
    parts = [b"" if vector is None else to_blobs(vector[None, :])[0] for vector in probe]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _probe_vectors(data: bytes) -> list[Vector | None]:
    found: list[Vector | None] = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        found.append(from_blobs([data[4 : 4 + size]], size // 4)[0] if size else None)
        data = data[4 + size :]
    return found


# --- an open space ------------------------------------------------------------------------------


class Space:
    """One space of an open collection. Safe to use from several threads."""

    def __init__(self, engine: DatabaseEngine, plugins: Plugins, row: SpaceRow) -> None:
        self.row = row
        self.index = SpaceIndex(engine, row)
        self._engine = engine
        self._plugins = plugins
        self._lock = threading.Lock()
        self._host: EmbedderHost | None = None

    @property
    def embeds(self) -> bool:
        """Whether an embedder makes the vectors, or the caller brings them."""
        return self.row.embedder is not None

    @property
    def what(self) -> str:
        """How messages call the space."""
        return f"space {self.row.name!r}"

    def host(self) -> EmbedderHost:
        """The embedder, once it is certain that its vectors are comparable with the stored ones.

        Raises:
            EmbedderNotFoundError, EmbedderUnavailableError: it is not installed, or a file is missing.
            EmbedderMismatchError: other weights, options or libraries now give other vectors.
        """
        with self._lock:
            if self._host is None:
                if self.row.embedder is None:
                    raise UnsupportedContentError(f"{self.what} has no embedder; bring vectors")
                info = self._plugins.embedder(self.row.embedder)
                host = EmbedderHost(info, opened_options(info, self.row.options, self._engine.folder))
                self._verify(host)
                self._host = host
            return self._host

    def _verify(self, host: EmbedderHost) -> None:
        hashes = FileHashes(self.row.weights)
        found = host.fingerprint(hashes)
        if found != self.row.fingerprint:
            raise EmbedderMismatchError(
                f"{self.what}: embedder {host.info.name!r} has other weights or options than when the collection was "
                "made, so its vectors are not comparable; give it the old ones, or make a new collection",
                expected=self.row.fingerprint or "",
                got=found,
            )
        environment = host.environment()
        changed = sorted(
            name
            for name in {*environment, *self.row.environment}
            if environment.get(name) != self.row.environment.get(name)
        )
        if changed and not probes_agree(_probe_vectors(self.row.probe or b""), host.probe()):
            raise EmbedderMismatchError(
                f"{self.what}: embedder {host.info.name!r} gives other vectors since {', '.join(changed)} changed; "
                "go back, or make a new collection",
                expected=str(dict(self.row.environment)),
                got=str(environment),
            )
        if not self._engine.read_only and (changed or hashes.known != self.row.weights):
            with self._engine.transaction() as transaction:
                update_space(transaction, self.row.id, {"environment": environment, "weights": hashes.known})

    def embed(self, items: Sequence[Any], role: Role, progress: Progress | None = None) -> Embedded:
        """Embed contents with the space's embedder; the vectors are ready to be stored or searched."""
        return self.host().embed(items, role, metric=self.row.metric, progress=progress)

    def as_stored(self, vectors: Any, *, what: str) -> Vector:
        """The caller's vectors (n, dimension), checked, and of length 1 where the metric is cosine."""
        rows = as_vectors(vectors, self.row.dimension, what=what)
        return normalise(rows, what=what) if self.row.metric == "cosine" else rows

    def one_as_stored(self, vector: Any, *, what: str) -> Vector:
        """Like `as_stored` for one vector (dimension,)."""
        row = as_vector(vector, self.row.dimension, what=what)
        return np.asarray(normalise(row[None, :], what=what)[0]) if self.row.metric == "cosine" else row

    def close(self) -> None:
        """Let go of the embedder."""
        with self._lock:
            if self._host is not None:
                self._host.close()
                self._host = None

    def reset_after_fork(self) -> None:
        """In a forked child: the parent's index and locks are of no use."""
        self._lock = threading.Lock()
        self.index = SpaceIndex(self._engine, self.row)
