"""Defining a space: what the caller asks for, checked; names, options and paths; the columns of its row."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecdb.embedder import EmbedderInfo, EmbedderRef, FileHashes
from vecdb.embedding import EmbedderHost, probe_to_bytes
from vecdb.errors import DimensionMismatchError, InvalidInputError, shown
from vecdb.index.hnsw import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, HnswIndex
from vecdb.options import affects, config_values, fields_of
from vecdb.plugins import Plugins
from vecdb.storage.contents import MAX_ID_BYTES, utf8
from vecdb.storage.filter_fields import MOST_FILTER_FIELDS
from vecdb.storage.filters import Filter
from vecdb.storage.spaces import SpaceRow
from vecdb.types import INDEX_KINDS, METRICS, IndexKind, Metric
from vecdb.vectors import MAX_DIMENSION

DEFAULT_SPACE = "default"
_INDEX_DEFAULTS = {"M": DEFAULT_M, "ef_construction": DEFAULT_EF_CONSTRUCTION}
_INDEX_OPTIONS = (*_INDEX_DEFAULTS, "ef")
_MAX_NAME_BYTES = 512
_AUTO = ("index", "auto")


@dataclass(frozen=True)
class SpaceDefinition:
    """What the caller asks of a new space, checked; nothing is loaded yet.

    `given` names the embedder options that the caller gave; the others in `config` are defaults.
    """

    name: str
    source: str | None
    info: EmbedderInfo | None
    config: Any
    given: frozenset[str]
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
        if source is not None:
            if type(source) is not str or not source:
                raise InvalidInputError(f"space {name!r}: source must name a field of the content, not {shown(source)}")
            utf8(source, what=f"space {name!r}: source", limit=MAX_ID_BYTES)
        if embedder is None and dimension is None:
            raise InvalidInputError(
                f"space {name!r} needs an embedder, or dimension= for vectors that you bring; give one of them"
            )
        if embedder is None and embedder_options:
            raise InvalidInputError(f"space {name!r} has embedder_options but no embedder; name the embedder")
        if dimension is not None and (type(dimension) is not int or not 1 <= dimension <= MAX_DIMENSION):
            raise InvalidInputError(f"space {name!r}: dimension must be 1 to {MAX_DIMENSION}, not {shown(dimension)}")
        info, config, given = None, None, frozenset[str]()
        if embedder is not None:
            ref = EmbedderRef.parse(embedder, embedder_options)
            info = plugins.embedder(ref.name)
            config, given = info.configure(ref.options), frozenset(ref.options)
        offered = info.metrics if info is not None else METRICS
        if metric is not None and metric not in offered:
            raise InvalidInputError(f"space {name!r}: metric must be one of {', '.join(offered)}, not {shown(metric)}")
        if index not in INDEX_KINDS:
            kinds = ", ".join(INDEX_KINDS)
            raise InvalidInputError(f"space {name!r}: index must be one of {kinds}, not {shown(index)}")
        return cls(
            name=name,
            source=source,
            info=info,
            config=config,
            given=given,
            dimension=dimension,
            metric=metric or offered[0],
            index_kind=index,
            index_options=_index_options(name, index_options),
        )

    def with_timeout(self, seconds: float | None) -> SpaceDefinition:
        """The same, its embedder with this timeout; None leaves what the embedder says."""
        return self if self.info is None else dataclasses.replace(self, info=self.info.with_timeout(seconds))

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
                "probe": probe_to_bytes(host.probe()),
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

    def options_for(self, row: SpaceRow, folder: Path) -> dict[str, Any]:
        """The embedder options of a stored space, those that are free to change replaced where the caller gave them."""
        options = dict(row.options)
        if self.info is not None:
            asked = stored_options(_absolute(self.config), folder)
            free = {field.name for field in fields_of(self.config) if affects(field) != "vectors"}
            options |= {name: asked[name] for name in free & self.given}
        return options


def define(
    plugins: Plugins, collection: str, spaces: Mapping[str, Mapping[str, Any]] | None, **default: Any
) -> list[SpaceDefinition]:
    """The spaces of a new collection: those in `spaces`, and `default`, whose options stand beside them.

    Raises:
        InvalidInputError: a name or an option is wrong, or the space `default` is described twice.
        EmbedderNotFoundError, EmbedderUnavailableError: of the embedder of one.
    """
    check_name(collection, what="collection")
    if not isinstance(spaces or {}, Mapping) or not all(isinstance(o, Mapping) for o in (spaces or {}).values()):
        raise InvalidInputError(f"spaces must be a dict of name to dicts of options, not {shown(spaces)}; see help")
    wanted = {space: dict(options) for space, options in (spaces or {}).items()}
    given = {option: value for option, value in default.items() if value is not None and (option, value) != _AUTO}
    if given or DEFAULT_SPACE not in wanted:
        if DEFAULT_SPACE in wanted:
            raise InvalidInputError(
                f"the space 'default' is described twice: by {next(iter(given))}= and in spaces=; do it once"
            )
        wanted = {DEFAULT_SPACE: given, **wanted}
    known = {"source", *default}
    for space, options in wanted.items():
        unknown = next((option for option in options if option not in known), None)
        if unknown is not None or None in options:
            listed = ", ".join(sorted(known))
            problem = f"space {shown(space)} has no option {shown(unknown)}"
            raise InvalidInputError(f"{problem}; the options are {listed}")
    return [SpaceDefinition.make(plugins, space, **options) for space, options in wanted.items()]


def check_name(name: Any, *, what: str) -> None:
    """A name of a collection or space: text without "/", "\\", control characters or outer spaces."""
    if type(name) is not str or not name or name != name.strip():
        problem = f"a {what} name must be text without spaces around it, not {shown(name)}"
        raise InvalidInputError(f"{problem}; choose another")
    if len(name) > _MAX_NAME_BYTES:
        raise InvalidInputError(f"the {what} name {shown(name)} is longer than {_MAX_NAME_BYTES} bytes; shorten it")
    wrong = next((char for char in name if char in "/\\" or unicodedata.category(char) in ("Cc", "Cs")), None)
    if wrong is not None:
        raise InvalidInputError(f"the {what} name {shown(name)} holds {wrong!r}, which is not allowed; choose another")
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidInputError(f"the {what} name {shown(name)} is longer than {_MAX_NAME_BYTES} bytes; shorten it")


def _index_options(name: str, options: Mapping[str, int] | None) -> dict[str, int]:
    if not isinstance(options or {}, Mapping):
        raise InvalidInputError(f"space {name!r}: index_options must be a dict, not {shown(options)}; see help")
    for option in options or {}:
        if option not in _INDEX_OPTIONS:
            known = ", ".join(_INDEX_OPTIONS)
            raise InvalidInputError(f"space {name!r}: unknown index option {shown(option)}; the options are {known}")
    found = {**_INDEX_DEFAULTS, **(options or {})}
    HnswIndex(1, "l2", **found, capacity=1)  # it knows the ranges
    return found


# --- options and paths --------------------------------------------------------------------------


def _absolute(config: Any) -> Any:
    """The config with its paths made absolute: a database is opened from other folders later."""
    changes = {field.name: path.absolute() for field in fields_of(config) if (path := _location(config, field))}
    # What was text stays text: a model may be a folder, or a name on a hub.
    texts = {name: str(path) for name, path in changes.items() if isinstance(getattr(config, name), str)}
    return dataclasses.replace(config, **{**changes, **texts})


def _location(config: Any, field: dataclasses.Field[Any]) -> Path | None:
    """The path that an option holds; text counts as one if there is such a file or folder."""
    value = getattr(config, field.name)
    if affects(field) != "location":
        return None
    if isinstance(value, str):
        return Path(value) if value and os.path.exists(value) else None  # noqa: PTH110  (a NUL is no error here)
    return value if isinstance(value, Path) else None


def stored_options(config: Any, folder: Path) -> dict[str, Any]:
    """Options as stored: paths inside the database folder relative to it. Secrets are only names."""
    found = config_values(config, "vectors", "runtime", "location", "secret")
    base = folder.absolute()
    for field in fields_of(config):
        path = _location(config, field)
        if path is not None and path.is_relative_to(base):
            found[field.name] = f"./{path.relative_to(base).as_posix()}"
    return found


def opened_options(info: EmbedderInfo, options: Mapping[str, Any], folder: Path) -> Any:
    """The config that `stored_options` kept, for the place where the database lies now."""
    found = dict(options)
    for field in fields_of(info.config):
        value = found.get(field.name)
        if affects(field) == "location" and isinstance(value, str) and value.startswith("./"):
            found[field.name] = str(folder.absolute() / value)
    return info.configure(found)


def declared_fields(given: Any) -> tuple[str, ...]:
    """`filter_fields` of a new collection, checked: each once, in their order."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidInputError(
            f'filter_fields must be a list of fields of the metadata, as ["year"], not {shown(given)}'
        )
    fields = list(given)
    for field in fields:
        if not isinstance(field, str) or field.startswith("$"):
            raise InvalidInputError(f"filter_fields: {shown(field)} is no field; fields are called as in a filter")
        Filter({field: {"$exists": True}})  # raises where no filter could ask for it
    if len(fields) > MOST_FILTER_FIELDS:
        raise InvalidInputError(f"filter_fields has {len(fields)} fields; declare at most {MOST_FILTER_FIELDS}")
    return tuple(dict.fromkeys(fields))
