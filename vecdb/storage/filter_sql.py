"""A filter as SQL over `records.metadata`; values and keys are data.

Every condition becomes EXISTS over `json_each`, which finds any key of any script; a path expression
(`json_extract(metadata, '$.key')`) would be wrong for keys with dots, brackets, quotes or backslashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vecdb.storage.filter_tree import (
    All,
    Compared,
    Condition,
    Contains,
    Equals,
    Exists,
    Member,
    Not,
    Scalar,
    Test,
    Tree,
    kind_of,
)


def sql_of(tree: Tree) -> tuple[str, list[Any]]:
    """A condition on a row of `records`, and its values in order."""
    part = _part(tree, negate=False)
    return part.sql, part.parameters


class _Part(NamedTuple):
    """Some SQL, its values, and how many brackets of ours are open at its deepest place."""

    sql: str
    parameters: list[Any]
    depth: int


# --- logic: a negation goes inwards to the conditions, which makes no brackets ------------------


def _part(tree: Tree, *, negate: bool) -> _Part:
    if isinstance(tree, Not):
        return _part(tree.part, negate=not negate)
    if isinstance(tree, Condition):
        parameters: list[Any] = []
        sql = _Writer(parameters).condition(tree)
        return _Part(f"(NOT {sql})" if negate else sql, parameters, 0)
    word = "AND" if isinstance(tree, All) is not negate else "OR"
    parts = [_part(part, negate=negate) for part in tree.parts]
    if len(parts) == 1:
        return parts[0]
    # The most deeply nested first: SQLite's parser has room for 100 open things, a bracket is one, a condition
    # before it two more.
    parts.sort(key=lambda part: -part.depth)
    joined = _joined([part.sql for part in parts], word)
    depth = 1 + max((part.depth for part in parts), default=0)
    return _Part(joined, [value for part in parts for value in part.parameters], depth)


def _joined(parts: Sequence[str], word: str) -> str:
    if not parts:
        return "1" if word == "AND" else "0"
    return parts[0] if len(parts) == 1 else f"({f' {word} '.join(parts)})"


# --- one condition ------------------------------------------------------------------------------


class _Writer:
    """Writes the SQL of one condition, and its values into `parameters`."""

    def __init__(self, parameters: list[Any]) -> None:
        self._parameters = parameters

    def condition(self, condition: Condition) -> str:
        """EXISTS a value of the field that meets the test; nested keys are tried after a literal one."""
        field = condition.field

        def holds(alias: str) -> str:
            return self._test(alias, condition.test)

        whole = self._path([field], holds)
        if "." not in field:
            return whole
        # A key that holds the dots itself hides the nested one.
        literal = self._path([field], lambda _: "1")
        return f"({whole} OR (NOT {literal} AND {self._path(field.split('.'), holds)}))"

    def _path(self, keys: Sequence[str], condition: Callable[[str], str]) -> str:
        sources, tests = json_path(keys)
        self._parameters += keys
        tests.append(condition(f"v{len(keys) - 1}"))
        return f"EXISTS (SELECT 1 FROM {', '.join(sources)} WHERE {' AND '.join(tests)})"

    def _bind(self, value: Any) -> str:
        self._parameters.append(value)
        return "?"

    # --- values: a type never matches another type ---

    def _test(self, alias: str, test: Test) -> str:
        match test:
            case Exists():
                return "1"
            case Equals(value):
                return self._equals(alias, value)
            case Compared(sign, value):
                return self._compared(alias, sign, value)
            case Member(values):
                return self._member(alias, values)
            case Contains(value):
                return self._contains(alias, value)

    def _equals(self, alias: str, value: Scalar) -> str:
        if value is None:
            return f"{alias}.type = 'null'"
        if isinstance(value, bool):
            return f"{alias}.type = '{'true' if value else 'false'}'"
        return self._compared(alias, "=", value)

    def _compared(self, alias: str, sign: str, value: str | float) -> str:
        if isinstance(value, str):
            return f"({alias}.type = 'text' AND {alias}.value {sign} {self._bind(value)})"
        # SQLite reads the stored decimals; letting it read ours too makes equal numbers equal bits.
        number = f"(SELECT value FROM json_each({self._bind(json.dumps([value]))}))"
        return f"({alias}.type IN ('integer', 'real') AND {alias}.value {sign} {number})"

    def _member(self, alias: str, values: Sequence[Scalar]) -> str:
        parts = []
        for value in values:
            if kind_of(value) in ("null", "bool") and (part := self._equals(alias, value)) not in parts:
                parts.append(part)  # null, true, false: at most these three
        for kind, types in (("text", "('text')"), ("number", "('integer', 'real')")):
            if group := [value for value in values if kind_of(value) == kind]:
                listed = self._bind(json.dumps(group, ensure_ascii=False))
                parts.append(f"({alias}.type IN {types} AND {alias}.value IN (SELECT value FROM json_each({listed})))")
        return _joined(parts, "OR")

    def _contains(self, alias: str, value: Scalar) -> str:
        listed = f"json_each(CASE WHEN {alias}.type = 'array' THEN {alias}.value ELSE '[]' END) AS element"
        has = f"EXISTS (SELECT 1 FROM {listed} WHERE {self._equals('element', value)})"
        if isinstance(value, str):
            has = f"({has} OR ({alias}.type = 'text' AND instr({alias}.value, {self._bind(value)}) > 0))"
        return has


def json_path(keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """What to read from, and on which conditions, so that the last of v0, v1, … is the value under these nested keys.

    Each condition has a place for one key, in order.
    """
    sources, tests = ["json_each(records.metadata) AS v0"], ["v0.key = ?"]
    for level in range(1, len(keys)):
        # A table-valued function must not see a scalar, which is no JSON text.
        above = f"v{level - 1}"
        inner = f"CASE WHEN {above}.type = 'object' THEN {above}.value ELSE '{{}}' END"
        sources.append(f"json_each({inner}) AS v{level}")
        tests.append(f"v{level}.key = ?")
    return sources, tests
