"""The options of an embedder: a frozen dataclass whose fields say what they affect.

    @dataclass(frozen=True)
    class Config:
        model: Path = option(affects="location", help="the vectors file")
        pooling: str = option("sif", choices=("mean", "sif"), help="how words become one vector")
        threads: int = option(1, affects="runtime", help="number of threads")

Command-line options, documentation and the stored JSON come from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vecdb.errors import InvalidInputError, LimitError, shown

Affects = Literal["vectors", "runtime", "location", "secret"]


def option(
    default: Any = dataclasses.MISSING,
    *,
    affects: Affects = "vectors",
    help: str = "",
    choices: tuple[Any, ...] = (),
) -> Any:
    """A field of an embedder's config dataclass.

    Args:
        default: the default; without one the option is required.
        affects: "vectors" (in the fingerprint: other vectors), "runtime" (device, threads: free to
            change), "location" (paths, model names: free to change, their content is in the
            fingerprint) or "secret" (given as "env:NAME", never stored).
        help: one line for people.
        choices: the allowed values.
    """
    return dataclasses.field(default=default, metadata={"affects": affects, "help": help, "choices": choices})


def fields_of(config: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The option fields of a config class or instance."""
    return dataclasses.fields(config)


def affects(field: dataclasses.Field[Any]) -> Affects:
    """What a field affects; a plain dataclass field affects the vectors."""
    found: Affects = field.metadata.get("affects", "vectors")
    return found


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether an option has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def build_config(config: type, values: Mapping[str, Any], *, owner: str, from_text: bool = False) -> Any:
    """An instance of `config` from a mapping, checked field by field.

    Args:
        config: the frozen dataclass.
        values: option names and values; strings are accepted for paths.
        owner: who is being configured, for messages ("embedder 'glove'").
        from_text: whether values are command-line text to be read as the field's type.

    Raises:
        InvalidInputError: an unknown option (naming the nearest one), a missing one, a value of the
            wrong type or not among the choices.
    """
    known = {field.name: field for field in dataclasses.fields(config)}
    hints = typing.get_type_hints(config)
    built: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            nearest = difflib.get_close_matches(str(name)[:_LONGEST_NAME], known, 1) if isinstance(name, str) else []
            advice = f"did you mean {nearest[0]!r}?" if nearest else f"its options are: {', '.join(known) or 'none'}"
            raise InvalidInputError(f"{owner} has no option {shown(name)}; {advice}")
        built[name] = _read(value, hints[name], known[name], owner, from_text)
        _check_storable(built[name], f"{owner}: option {name!r}")
    missing = [name for name, field in known.items() if name not in values and is_required(field)]
    if missing:
        purpose = known[missing[0]].metadata.get("help", "")
        raise InvalidInputError(f"{owner} needs the option {missing[0]!r}: {purpose}")
    return config(**built)


_LONGEST_NAME = 200
_LONGEST_TEXT = 100_000


def _check_storable(value: Any, what: str) -> None:
    """Refuse what the JSON of a space cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(f"{what} must be a finite number, not {value}; correct it")
    if isinstance(value, tuple):
        if len(value) > _LONGEST_TEXT:
            raise LimitError(f"{what} has {len(value):,} values, more than {_LONGEST_TEXT:,}; give fewer")
        for item in value:
            _check_storable(item, what)
    elif isinstance(value, str | Path):
        text = str(value)
        if len(text) > _LONGEST_TEXT:
            raise LimitError(f"{what} has {len(text):,} characters, more than {_LONGEST_TEXT:,}; shorten it")
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise InvalidInputError(f"{what} holds NUL or half a character (a lone surrogate); correct it")


def _read(value: Any, hint: Any, field: dataclasses.Field[Any], owner: str, from_text: bool) -> Any:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    accepted = typing.get_args(hint) if union else (hint,)
    if type(None) in accepted and (value is None or (from_text and value == "none")):
        return None
    if affects(field) == "secret" and isinstance(value, str) and not value.startswith("env:"):
        raise InvalidInputError(f"{owner}: option {field.name!r} is a secret; give it as 'env:NAME', a variable's name")
    for kind in accepted:
        found = _as_kind(value, kind, from_text)
        if found is not _NO:
            choices = field.metadata.get("choices", ())
            if choices and found not in choices:
                raise InvalidInputError(
                    f"{owner}: option {field.name}={shown(value)} must be one of {', '.join(map(repr, choices))}"
                )
            return found
    names = " or ".join(_kind_name(kind) for kind in accepted if kind is not type(None))
    raise InvalidInputError(f"{owner}: option {field.name}={shown(value)} must be {names}; correct it")


_KIND_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


def _kind_name(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_kind_name(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(kind)))}"
    return _KIND_NAMES.get(kind, str(kind))


_NO = object()
_TEXT_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _as_kind(value: Any, kind: Any, from_text: bool) -> Any:
    """`value` as an instance of `kind`, or `_NO`. Types never coerce, save int to float and str to Path."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        return value if value in typing.get_args(kind) else _NO
    if origin is tuple:
        if from_text and isinstance(value, str):
            value = [part for part in value.split(",") if part]
        if not isinstance(value, list | tuple):
            return _NO
        inner = typing.get_args(kind)[0]
        items = tuple(_as_kind(item, inner, from_text) for item in value)
        return _NO if _NO in items else items
    if kind is Path:
        return Path(value) if isinstance(value, str | os.PathLike) and str(value) else _NO
    if from_text and isinstance(value, str) and kind in (int, float, bool):
        try:
            return _TEXT_BOOLEANS.get(value.lower(), _NO) if kind is bool else kind(value)
        except ValueError:
            return _NO
    if kind is float and type(value) in (int, float):
        try:
            return float(value)
        except OverflowError:  # an integer of 400 digits
            return _NO
    return value if type(value) is kind else _NO


def config_values(config: Any, *kinds: Affects) -> dict[str, Any]:
    """The options of a config as JSON values, only those that affect one of `kinds` (default: all but secrets)."""
    chosen = kinds or ("vectors", "runtime", "location")
    return {
        field.name: _json_value(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if affects(field) in chosen
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def reveal_secrets(config: Any, *, owner: str) -> Any:
    """The config with each "env:NAME" of a secret option replaced by that environment variable.

    Raises:
        InvalidInputError: the variable is not set.
    """
    revealed: dict[str, str] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if affects(field) == "secret" and isinstance(value, str):
            variable = value.removeprefix("env:")
            if variable not in os.environ:
                raise InvalidInputError(
                    f"{owner}: option {field.name!r} is read from the environment variable {variable}, "
                    "which is not set; set it"
                )
            revealed[field.name] = os.environ[variable]
    return dataclasses.replace(config, **revealed) if revealed else config
