"""The filter language: a `where` dict is checked and becomes a tree of conditions, which is read in two ways.

As SQL over `records.metadata` (`filter_sql`), and over columns in memory (`columns`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from vecdb.errors import FilterError, shown
from vecdb.storage.filter_sql import sql_of
from vecdb.storage.filter_tree import (
    All,
    Compared,
    Condition,
    Contains,
    Either,
    Equals,
    Exists,
    Member,
    Not,
    Scalar,
    Sign,
    Test,
    Tree,
    conditions_of,
    values_of,
)

MAX_DEPTH = 32
MAX_CONDITIONS = 500
MAX_BYTES = 8 * 2**20

_LOGIC = ("$and", "$or", "$not")
_COMPARISONS: Mapping[str, Sign] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = ("$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists", "$contains", "$not")


class Filter:
    """A checked filter.

    Attributes:
        tree: what it means.

    Raises:
        FilterError: an unknown operator, a value of the wrong type, too deep or too many conditions;
            `place` is the path to the fault.
    """

    def __init__(self, where: Any) -> None:
        self.tree = _Parser().group(where, "where", 1)

    @property
    def sql(self) -> str:
        """The filter as a condition on a row of `records`."""
        return self._read[0]

    @property
    def parameters(self) -> Sequence[Any]:
        """The values of `sql`, in order."""
        return self._read[1]

    @cached_property
    def key(self) -> str:
        """The same for filters that are the same, types of values included."""
        return repr(self.tree)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields that it asks for."""
        return frozenset(condition.field for condition in conditions_of(self.tree))

    @cached_property
    def floats(self) -> Sequence[float]:
        """Its numbers that are no integers, each once."""
        return list({value for value in values_of(self.tree) if isinstance(value, float)})

    @cached_property
    def _read(self) -> tuple[str, Sequence[Any]]:
        return sql_of(self.tree)


class _Parser:
    """Checks a filter on the way down, and counts what it is made of."""

    def __init__(self) -> None:
        self._conditions = 0
        self._size = 0

    # --- logic ---

    def group(self, where: Any, place: str, depth: int) -> Tree:
        if not isinstance(where, Mapping):
            raise FilterError(f"{place} must be a dict such as {{'year': 2020}}, not {shown(where)}", place=place)
        if depth > MAX_DEPTH:
            raise FilterError(f"{place[:200]}… is nested deeper than {MAX_DEPTH}; flatten it", place=place)
        self._count(len(where), place)
        return _together([self._entry(key, value, place, depth) for key, value in where.items()])

    def _entry(self, key: Any, value: Any, place: str, depth: int) -> Tree:
        if type(key) is not str:
            raise FilterError(f"{place}: the key {key!r} must be a string", place=place)
        here = f"{place}[{key!r:.60}]"
        if key == "$not":
            return Not(self.group(value, here, depth + 1))
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise FilterError(f"{here} must be a non-empty list of filters, not {shown(value)}", place=here)
            self._count(len(value), here)
            parts = tuple(self.group(item, f"{here}[{n}]", depth + 1) for n, item in enumerate(value))
            return All(parts) if key == "$and" else Either(parts)
        if key.startswith("$"):
            raise FilterError(f"{here}: unknown operator; here go a field, or {', '.join(_LOGIC)}", place=here)
        return self._field(key, value, here, depth)

    def _field(self, field: str, condition: Any, place: str, depth: int) -> Tree:
        if not isinstance(condition, Mapping):
            return self._operator(field, "$eq", condition, place, depth)
        if not condition:
            raise FilterError(f"{place} holds no operator; give one of {', '.join(_OPERATORS)}", place=place)
        for name in condition:
            if name not in _OPERATORS:
                advice = f"write the nested key as {field + '.' + str(name)!r}" if not str(name).startswith("$") else ""
                known = f"operators are {', '.join(_OPERATORS)}"
                raise FilterError(f"{place}: unknown operator {name!r}; {advice or known}", place=place)
        return _together(
            [
                self._operator(field, name, value, f"{place}[{name!r}]", depth + 1)
                for name, value in condition.items()
            ]
        )

    def _count(self, more: int, place: str) -> None:
        if self._conditions + more > MAX_CONDITIONS:
            raise FilterError(f"more than {MAX_CONDITIONS} conditions; use $in for lists of values", place=place)

    # --- one condition ---

    def _operator(self, field: str, name: str, value: Any, place: str, depth: int) -> Tree:
        self._conditions += 1
        self._count(0, place)
        if name == "$not":
            if not isinstance(value, Mapping):
                raise FilterError(f"{place} must hold operators such as {{'$gt': 3}}, not {shown(value)}", place=place)
            if depth > MAX_DEPTH:
                raise FilterError(f"{place[:200]}… is nested deeper than {MAX_DEPTH}; flatten it", place=place)
            return Not(self._field(field, value, place, depth))
        keys = field.split(".")
        if len(keys) > MAX_DEPTH:
            raise FilterError(f"{place} has more than {MAX_DEPTH} nested keys; shorten it", place=place)
        # As often as they stand in the SQL: where a key may be a nested one, it is asked for in two ways.
        times = min(2, len(keys))
        self._weigh(field, place, 1 if times == 1 else 3)
        found = Condition(field, self._test(name, value, place, times))
        opposite = name in ("$ne", "$nin") or (name == "$exists" and not value)
        return Not(found) if opposite else found

    def _test(self, name: str, value: Any, place: str, times: int) -> Test:
        if name == "$exists":
            if type(value) is not bool:
                raise FilterError(f"{place} must be True or False, not {shown(value)}", place=place)
            return Exists()
        if name in ("$in", "$nin"):
            return self._member(value, place, times)
        checked = _scalar(value, place)
        self._weigh(checked, place, 2 * times if name == "$contains" else times)
        if name == "$contains":
            return Contains(checked)
        if name not in _COMPARISONS:
            return Equals(checked)
        if checked is None or isinstance(checked, bool):
            raise FilterError(f"{place} compares with a number or a string, not {shown(value)}", place=place)
        return Compared(_COMPARISONS[name], checked)

    def _member(self, values: Any, place: str, times: int) -> Member:
        if not isinstance(values, list | tuple | set | frozenset):
            raise FilterError(f"{place} must be a list of values, not {shown(values)}", place=place)
        checked = tuple(_scalar(value, place) for value in values)
        for value in checked:
            self._weigh(value, place, times)
        return Member(checked)

    def _weigh(self, value: Scalar, place: str, times: int) -> None:
        """Count the bytes of a value."""
        try:
            self._size += times * len((value if isinstance(value, str) else repr(value)).encode())
        except UnicodeEncodeError as error:
            message = f"{place} holds a lone surrogate, which is no character; remove it"
            raise FilterError(message, place=place) from error
        if self._size > MAX_BYTES:
            raise FilterError(f"the filter has more than {MAX_BYTES:,} bytes; shorten it", place=place)


def _together(parts: Sequence[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _scalar(value: Any, place: str) -> Scalar:
    """`value`, if a condition can hold it."""
    kind = type(value)
    if kind is str and "\0" in value:
        raise FilterError(f"{place} holds a NUL character, which no metadata holds; remove it", place=place)
    is_number = (kind is int and -(2**63) <= value < 2**63) or (kind is float and math.isfinite(value))
    if not (value is None or kind is bool or kind is str or is_number):
        message = f"{place}: {shown(value)} must be a string, a finite 64-bit number, a bool or None"
        raise FilterError(message, place=place)
    checked: Scalar = value
    return checked
