"""The filter language: a `where` dict becomes SQL over `records.metadata`, values and keys as data.

Every condition becomes EXISTS over `json_each`, which finds any key of any script; a path expression
(`json_extract(metadata, '$.key')`) would be wrong for keys with dots, brackets, quotes or backslashes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from vecdb.errors import FilterError, shown

MAX_DEPTH = 32
MAX_CONDITIONS = 500
MAX_BYTES = 8 * 2**20

_LOGIC = ("$and", "$or", "$not")
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = ("$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists", "$contains", "$not")


class Filter:
    """A checked filter: `sql` is a condition on a row of `records`, `parameters` its values in order.

    Raises:
        FilterError: an unknown operator, a value of the wrong type, too deep or too many conditions;
            `place` is the path to the fault.
    """

    __slots__ = ("_conditions", "_deepest", "_size", "parameters", "sql")

    def __init__(self, where: Any) -> None:
        self._conditions = 0
        self._deepest = 0
        self._size = 0
        self.parameters: list[Any] = []
        self.sql = self._group(where, "where", 1)

    # --- logic: a negation goes inwards to the conditions, which makes no brackets ---

    def _group(self, where: Any, place: str, depth: int, *, negate: bool = False) -> str:
        if not isinstance(where, Mapping):
            raise FilterError(f"{place} must be a dict such as {{'year': 2020}}, not {shown(where)}", place=place)
        if depth > MAX_DEPTH:
            raise FilterError(f"{place[:200]}… is nested deeper than {MAX_DEPTH}; flatten it", place=place)
        self._deepest = max(self._deepest, depth)
        self._count(len(where), place)
        visits = [partial(self._entry, key, value, place, depth, negate=negate) for key, value in where.items()]
        return self._together("AND", visits, negate=negate)

    def _together(self, word: str, visits: Iterable[Callable[[], str]], *, negate: bool) -> str:
        """Some conditions as one, the most deeply nested first.

        SQLite's parser has room for 100 open things: a bracket is one, a condition before it two more.
        """
        parts: list[tuple[int, str, list[Any]]] = []
        deepest = self._deepest
        for visit in visits:
            self._deepest, start = 0, len(self.parameters)
            sql = visit()
            parts.append((self._deepest, sql, self.parameters[start:]))
            del self.parameters[start:]
        self._deepest = max([deepest, *(depth for depth, _, _ in parts)])
        parts.sort(key=lambda part: -part[0])
        for _, _, parameters in parts:
            self.parameters += parameters
        nothing = "1" if word == "AND" else "0"
        if negate:
            word, nothing = ("OR", "0") if word == "AND" else ("AND", "1")
        return _joined([sql for _, sql, _ in parts], word, nothing)

    def _entry(self, key: Any, value: Any, place: str, depth: int, *, negate: bool) -> str:
        if type(key) is not str:
            raise FilterError(f"{place}: the key {key!r} must be a string", place=place)
        here = f"{place}[{key!r:.60}]"
        if key == "$not":
            return self._group(value, here, depth + 1, negate=not negate)
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise FilterError(f"{here} must be a non-empty list of filters, not {shown(value)}", place=here)
            self._count(len(value), here)
            visits = [
                partial(self._group, item, f"{here}[{n}]", depth + 1, negate=negate) for n, item in enumerate(value)
            ]
            return self._together(key[1:].upper(), visits, negate=negate)
        if key.startswith("$"):
            raise FilterError(f"{here}: unknown operator; here go a field, or {', '.join(_LOGIC)}", place=here)
        return self._field(key, value, here, depth, negate=negate)

    def _field(self, field: str, condition: Any, place: str, depth: int, *, negate: bool) -> str:
        if not isinstance(condition, Mapping):
            return self._operator(field, "$eq", condition, place, depth, negate=negate)
        if not condition:
            raise FilterError(f"{place} holds no operator; give one of {', '.join(_OPERATORS)}", place=place)
        for name in condition:
            if name not in _OPERATORS:
                advice = f"write the nested key as {field + '.' + str(name)!r}" if not str(name).startswith("$") else ""
                known = f"operators are {', '.join(_OPERATORS)}"
                raise FilterError(f"{place}: unknown operator {name!r}; {advice or known}", place=place)
        visits = [
            partial(self._operator, field, name, value, f"{place}[{name!r}]", depth + 1, negate=negate)
            for name, value in condition.items()
        ]
        return self._together("AND", visits, negate=negate)

    def _count(self, more: int, place: str) -> None:
        if self._conditions + more > MAX_CONDITIONS:
            raise FilterError(f"more than {MAX_CONDITIONS} conditions; use $in for lists of values", place=place)

    # --- one condition ---

    def _operator(self, field: str, name: str, value: Any, place: str, depth: int, *, negate: bool) -> str:
        self._conditions += 1
        self._count(0, place)
        if name == "$not":
            if not isinstance(value, Mapping):
                raise FilterError(f"{place} must hold operators such as {{'$gt': 3}}, not {shown(value)}", place=place)
            if depth > MAX_DEPTH:
                raise FilterError(f"{place[:200]}… is nested deeper than {MAX_DEPTH}; flatten it", place=place)
            return self._field(field, value, place, depth, negate=not negate)
        if name == "$exists" and type(value) is not bool:
            raise FilterError(f"{place} must be True or False, not {shown(value)}", place=place)

        def holds(alias: str) -> str:
            if name == "$exists":
                return "1"
            if name in ("$in", "$nin"):
                return self._member(alias, value, place)
            if name == "$contains":
                return self._contains(alias, value, place)
            if name in _COMPARISONS:
                return self._compared(alias, _COMPARISONS[name], value, place)
            return self._equals(alias, value, place)

        opposite = name in ("$ne", "$nin") or (name == "$exists" and not value)
        return self._found(field, holds, negate=opposite != negate, place=place)

    def _found(self, field: str, condition: Any, *, negate: bool, place: str) -> str:
        """EXISTS a value of the field that meets `condition(alias)`; nested keys are tried after a literal one."""
        whole = self._path([field], condition, place)
        if "." in field:
            # A key that holds the dots itself hides the nested one.
            literal = self._path([field], lambda _: "1", place)
            nested = self._path(field.split("."), condition, place)
            whole = f"({whole} OR (NOT {literal} AND {nested}))"
        return f"(NOT {whole})" if negate else whole

    def _path(self, keys: list[str], condition: Any, place: str) -> str:
        if len(keys) > MAX_DEPTH:
            raise FilterError(f"{place} has more than {MAX_DEPTH} nested keys; shorten it", place=place)
        sources = ["json_each(records.metadata) AS v0"]
        tests = [f"v0.key = {self._bind(keys[0], place)}"]
        for level, key in enumerate(keys[1:], 1):
            # A table-valued function must not see a scalar, which is no JSON text.
            above = f"v{level - 1}"
            inner = f"CASE WHEN {above}.type = 'object' THEN {above}.value ELSE '{{}}' END"
            sources.append(f"json_each({inner}) AS v{level}")
            tests.append(f"v{level}.key = {self._bind(key, place)}")
        tests.append(condition(f"v{len(keys) - 1}"))
        return f"EXISTS (SELECT 1 FROM {', '.join(sources)} WHERE {' AND '.join(tests)})"

    def _bind(self, value: Any, place: str) -> str:
        if isinstance(value, str):
            try:
                self._size += len(value.encode())
            except UnicodeEncodeError as error:
                message = f"{place} holds a lone surrogate, which is no character; remove it"
                raise FilterError(message, place=place) from error
            if self._size > MAX_BYTES:
                raise FilterError(f"the filter has more than {MAX_BYTES:,} bytes; shorten it", place=place)
        self.parameters.append(value)
        return "?"

    # --- values: a type never matches another type ---

    def _equals(self, alias: str, value: Any, place: str) -> str:
        kind = _kind(value, place)
        if kind == "null":
            return f"{alias}.type = 'null'"
        if kind == "bool":
            return f"{alias}.type = '{'true' if value else 'false'}'"
        if kind == "text":
            return f"({alias}.type = 'text' AND {alias}.value = {self._bind(value, place)})"
        return f"({alias}.type IN ('integer', 'real') AND {alias}.value = {self._number(value, place)})"

    def _number(self, value: float, place: str) -> str:
        # SQLite reads the stored decimals; letting it read ours too makes equal numbers equal bits.
        return f"(SELECT value FROM json_each({self._bind(json.dumps([value]), place)}))"

    def _compared(self, alias: str, sign: str, value: Any, place: str) -> str:
        kind = _kind(value, place)
        if kind == "text":
            return f"({alias}.type = 'text' AND {alias}.value {sign} {self._bind(value, place)})"
        if kind == "number":
            return f"({alias}.type IN ('integer', 'real') AND {alias}.value {sign} {self._number(value, place)})"
        raise FilterError(f"{place} compares with a number or a string, not {shown(value)}", place=place)

    def _member(self, alias: str, values: Any, place: str) -> str:
        if not isinstance(values, list | tuple | set | frozenset):
            raise FilterError(f"{place} must be a list of values, not {shown(values)}", place=place)
        groups: dict[str, list[Any]] = {"text": [], "number": []}
        parts = []
        for value in values:
            kind = _kind(value, place)
            if kind in groups:
                groups[kind].append(value)
            elif (part := self._equals(alias, value, place)) not in parts:
                parts.append(part)  # null, true, false: at most these three
        for kind, types in (("text", "('text')"), ("number", "('integer', 'real')")):
            if groups[kind]:
                listed = self._bind(json.dumps(groups[kind], ensure_ascii=False), place)
                parts.append(f"({alias}.type IN {types} AND {alias}.value IN (SELECT value FROM json_each({listed})))")
        return _joined(parts, "OR", "0")

    def _contains(self, alias: str, value: Any, place: str) -> str:
        listed = f"json_each(CASE WHEN {alias}.type = 'array' THEN {alias}.value ELSE '[]' END) AS element"
        has = f"EXISTS (SELECT 1 FROM {listed} WHERE {self._equals('element', value, place)})"
        if isinstance(value, str):
            has = f"({has} OR ({alias}.type = 'text' AND instr({alias}.value, {self._bind(value, place)}) > 0))"
        return has


def _kind(value: Any, place: str) -> str:
    kind = type(value)
    if kind is str:
        if "\0" in value:
            raise FilterError(f"{place} holds a NUL character, which no metadata holds; remove it", place=place)
        return "text"
    if kind is bool:
        return "bool"
    if value is None:
        return "null"
    if kind is int and -(2**63) <= value < 2**63:
        return "number"
    if kind is float and math.isfinite(value):
        return "number"
    raise FilterError(f"{place}: {shown(value)} must be a string, a finite 64-bit number, a bool or None", place=place)


def _joined(parts: list[str], word: str, nothing: str) -> str:
    if not parts:
        return nothing
    return parts[0] if len(parts) == 1 else f"({f' {word} '.join(parts)})"
