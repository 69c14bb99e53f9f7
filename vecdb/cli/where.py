"""Filters as they are typed: `year>=2020`, `kind=function`, or the JSON of `where=`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from vecdb.errors import shown

_OPERATORS = {
    "=": "$eq",
    "==": "$eq",
    "!=": "$ne",
    ">": "$gt",
    ">=": "$gte",
    "<": "$lt",
    "<=": "$lte",
    "~": "$contains",
}
_MISTYPED = {"=>": ">=", "=<": "<="}
_LARGEST = 2**63 - 1
_CONDITION = re.compile(r"(?P<key>[^=!<>~]+?)\s*(?P<operator>!=|>=|<=|==|=>|=<|=|>|<|~)\s*(?P<value>.*)", re.DOTALL)


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
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{shown(condition)} is not JSON: {error}.") from error
        if not isinstance(found, dict):
            raise ValueError(f"{shown(condition)} is not a JSON object.")
        return found
    if condition.startswith("["):
        raise ValueError(f"{shown(condition)} is no JSON object; write one, like {{\"year\": 2020}}.")
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise ValueError(f"{shown(condition)} is neither JSON nor like year>=2020.")
    if match["operator"] in _MISTYPED:
        raise ValueError(
            f"{shown(condition)}: {match['operator']} is no operator; write {_MISTYPED[match['operator']]}, "
            f"or quote the text: {match['key']}=\"{match['operator'][1]}{match['value']}\"."
        )
    operator = _OPERATORS[match["operator"]]
    value = parse_value(match["value"])
    if isinstance(value, list):
        if operator not in ("$eq", "$ne"):
            raise ValueError(f"{shown(condition)}: a list goes with = (one of these) or != (none of these).")
        operator = "$in" if operator == "$eq" else "$nin"
    return {match["key"]: {operator: value}}


def parse_value(text: str) -> Any:
    """What a text means as a value of metadata, in a filter and in a cell of CSV: JSON, else the text itself.

    An object is no value to compare with, infinity and NaN are none of JSON, and larger integers than 64
    bits are codes rather than numbers: these are text.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict) or (isinstance(found, float) and not math.isfinite(found)):
        return text
    return text if isinstance(found, int) and abs(found) > _LARGEST else found
