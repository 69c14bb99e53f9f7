"""Filters as they are typed: `year>=2020`, `kind=function`, or the JSON of `where=`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_OPERATORS = {
    "=": "$eq",
    "!=": "$ne",
    ">": "$gt",
    ">=": "$gte",
    "<": "$lt",
    "<=": "$lte",
    "~": "$contains",
}
_CONDITION = re.compile(r"(?P<key>[^=!<>~]+?)\s*(?P<operator>!=|>=|<=|=|>|<|~)\s*(?P<value>.*)", re.DOTALL)


def parse_where(conditions: Sequence[str]) -> dict[str, Any] | None:
    """One filter that means all conditions; None where there is no condition.

    A value is read as JSON where it is JSON (`2020`, `true`, `null`, `"2020"`, `["a","b"]`), otherwise
    it is the text itself. `key=["a","b"]` means one of them.

    Raises:
        ValueError: a condition is neither JSON nor `key OPERATOR value`.
    """
    filters = [_parse(condition.strip()) for condition in conditions]
    if not filters:
        return None
    return filters[0] if len(filters) == 1 else {"$and": filters}


def _parse(condition: str) -> dict[str, Any]:
    if condition.startswith("{"):
        try:
            found = json.loads(condition)
        except ValueError as error:
            raise ValueError(f"{condition!r} is not JSON: {error}.") from error
        if not isinstance(found, dict):
            raise ValueError(f"{condition!r} is not a JSON object.")
        return found
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise ValueError(f"{condition!r} is neither JSON nor like year>=2020.")
    operator = _OPERATORS[match["operator"]]
    value = _value(match["value"])
    if isinstance(value, list):
        if operator not in ("$eq", "$ne"):
            raise ValueError(f"{condition!r}: a list goes with = (one of these) or != (none of these).")
        operator = "$in" if operator == "$eq" else "$nin"
    return {match["key"]: {operator: value}}


def _value(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    # An object is no value that a filter compares with, and Infinity is none of JSON.
    return text if isinstance(found, dict) or found in (float("inf"), float("-inf")) or found != found else found  # noqa: PLR0124
