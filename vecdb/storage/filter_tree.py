"""A checked filter as a tree of conditions; `filter_sql` and `columns` are its two readings.

Operators that are the opposite of another one (`$ne`, `$nin`, `{"$exists": false}`) are that one in a `Not`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scalar = str | int | float | bool | None
Sign = Literal[">", ">=", "<", "<="]


@dataclass(frozen=True, slots=True)
class Exists:
    """The record has the field."""


@dataclass(frozen=True, slots=True)
class Equals:
    """The field has this value, of this type; all numbers are of one type."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Compared:
    """The field is a number, or a text, and stands so to this one. Texts are ordered by their UTF-8 bytes."""

    sign: Sign
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Member:
    """The field equals one of these values."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """The field is a list with an element that equals this value, or a text in which this text stands."""

    value: Scalar


Test = Exists | Equals | Compared | Member | Contains


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one field: of the key of this name, and only where there is none, of the nested one."""

    field: str
    test: Test


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true without parts."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Tree


Tree = All | Either | Not | Condition


def conditions_of(tree: Tree) -> list[Condition]:
    """All conditions of a filter, from left to right."""
    if isinstance(tree, Condition):
        return [tree]
    parts = (tree.part,) if isinstance(tree, Not) else tree.parts
    return [condition for part in parts for condition in conditions_of(part)]


def values_of(tree: Tree) -> list[Scalar]:
    """All values of a filter, from left to right."""
    found: list[Scalar] = []
    for condition in conditions_of(tree):
        match condition.test:
            case Member(values):
                found += values
            case Equals(value) | Compared(_, value) | Contains(value):
                found.append(value)
    return found


def kind_of(value: Scalar) -> Literal["null", "bool", "text", "number"]:
    """The types that never match one another."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"
