"""Options: read from Python, from a command line and from storage, checked, and never coerced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

import vecdb
from vecdb.errors import InvalidInputError
from vecdb.options import affects, build_config, config_values, fields_of, is_required, reveal_secrets


@dataclass(frozen=True)
class Config:
    model: Path = vecdb.option(affects="location", help="the vectors file")
    pooling: str = vecdb.option("sif", choices=("mean", "sif"), help="how words become one vector")
    scale: float = vecdb.option(1.0, help="a factor")
    limit: int | None = vecdb.option(None, help="most words read")
    lower: bool = vecdb.option(True, help="whether case is ignored")
    kind: Literal["a", "b"] = "a"
    layers: tuple[int, ...] = vecdb.option((1, 2), help="layers that are averaged")
    threads: int = vecdb.option(1, affects="runtime", help="threads")
    key: str | None = vecdb.option(None, affects="secret", help="the key")


def build(from_text=False, **values):
    return build_config(Config, {"model": "m.txt", **values}, owner="embedder 'sample'", from_text=from_text)


def test_a_path_may_be_a_string_and_an_int_a_float():
    config = build(scale=2, layers=[3])
    assert config.model == Path("m.txt")
    assert config.scale == 2.0
    assert isinstance(config.scale, float)
    assert config.layers == (3,)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pooling", "max"),
        ("pooling", 1),
        ("scale", "2"),
        ("scale", True),
        ("limit", 2.0),
        ("limit", True),
        ("lower", 1),
        ("lower", "yes"),
        ("kind", "c"),
        ("layers", ["1"]),
        ("layers", 1),
        ("layers", "3,4"),
        ("model", 1),
        ("model", ""),
        ("threads", None),
    ],
)
def test_types_never_coerce_and_the_message_names_option_and_value(option, value):
    with pytest.raises(InvalidInputError, match=rf"embedder 'sample': option {option}=.* must be"):
        build(**{option: value})


def test_an_unknown_option_names_the_nearest_one():
    with pytest.raises(InvalidInputError, match="no option 'poolin'; did you mean 'pooling'"):
        build(poolin="mean")
    with pytest.raises(InvalidInputError, match="its options are: model, pooling"):
        build(qqq=1)


def test_a_required_option_is_asked_for_with_its_purpose():
    with pytest.raises(InvalidInputError, match="needs the option 'model': the vectors file"):
        build_config(Config, {}, owner="embedder 'sample'")
    assert [field.name for field in fields_of(Config) if is_required(field)] == ["model"]


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("scale", "2.5", 2.5),
        ("limit", "100", 100),
        ("limit", "none", None),
        ("lower", "no", False),
        ("lower", "TRUE", True),
        ("layers", "3,4", (3, 4)),
        ("threads", "4", 4),
        ("kind", "b", "b"),
    ],
)
def test_command_line_text_is_read_as_the_options_type(option, text, value):
    assert getattr(build(from_text=True, **{option: text}), option) == value


@pytest.mark.parametrize(("option", "text"), [("scale", "two"), ("limit", "1.5"), ("lower", "perhaps")])
def test_command_line_text_of_another_type_is_refused(option, text):
    with pytest.raises(InvalidInputError, match=f"{option}='{text}' must be"):
        build(from_text=True, **{option: text})


def test_what_is_stored_makes_the_same_config_again():
    config = build(limit=5, layers=(7, 8), key="env:MY_KEY")
    stored = json.loads(json.dumps(config_values(config)))
    assert "key" not in stored
    assert build(**{**stored, "key": "env:MY_KEY"}) == config


def test_values_are_told_apart_by_what_they_affect():
    config = build()
    assert set(config_values(config, "vectors")) == {"pooling", "scale", "limit", "lower", "kind", "layers"}
    assert config_values(config, "runtime") == {"threads": 1}
    assert config_values(config, "location") == {"model": "m.txt"}
    assert {field.name: affects(field) for field in fields_of(Config)}["kind"] == "vectors"


def test_a_secret_is_named_never_given(monkeypatch):
    with pytest.raises(InvalidInputError, match="env:NAME") as found:
        build(key="hunter2")
    assert "hunter2" not in str(found.value)
    config = build(key="env:VECDB_TEST_KEY")
    monkeypatch.setenv("VECDB_TEST_KEY", "opened")
    assert reveal_secrets(config, owner="embedder 'sample'").key == "opened"
    assert config.key == "env:VECDB_TEST_KEY"
    monkeypatch.delenv("VECDB_TEST_KEY")
    with pytest.raises(InvalidInputError, match="VECDB_TEST_KEY, which is not set"):
        reveal_secrets(config, owner="embedder 'sample'")
    assert reveal_secrets(build(), owner="embedder 'sample'").key is None
