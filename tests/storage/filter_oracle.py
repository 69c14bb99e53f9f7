"""What a filter means, in plain Python: the oracle for its SQL. Written from DESIGN, not from the code."""

from __future__ import annotations

from typing import Any


def matches(where: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether a record with this metadata matches."""
    return all(_entry(key, value, metadata) for key, value in where.items())


def _entry(key: str, value: Any, metadata: dict[str, Any]) -> bool:
    if key == "$and":
        return all(matches(item, metadata) for item in value)
    if key == "$or":
        return any(matches(item, metadata) for item in value)
    if key == "$not":
        return not matches(value, metadata)
    condition = value if isinstance(value, dict) else {"$eq": value}
    return all(_holds(name, operand, metadata, key) for name, operand in condition.items())


def _holds(name: str, operand: Any, metadata: dict[str, Any], key: str) -> bool:
    if name == "$not":
        return not _entry(key, operand, metadata)
    if name == "$ne":
        return not _holds("$eq", operand, metadata, key)
    if name == "$nin":
        return not _holds("$in", operand, metadata, key)
    is_there, value = look_up(metadata, key)
    if name == "$exists":
        return is_there is operand
    if not is_there:
        return False
    if name == "$eq":
        return same(value, operand)
    if name == "$in":
        return any(same(value, item) for item in operand)
    if name == "$contains":
        if isinstance(value, list):
            return any(same(item, operand) for item in value)
        return isinstance(value, str) and isinstance(operand, str) and operand in value
    if kind(value) != kind(operand):
        return False
    return {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[name]


def look_up(metadata: dict[str, Any], key: str) -> tuple[bool, Any]:
    """The literal key first; else its parts as nested keys."""
    if key in metadata:
        return True, metadata[key]
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def kind(value: Any) -> str:
    """Types that compare with one another."""
    if value is None or isinstance(value, bool):
        return repr(value)
    return "number" if isinstance(value, int | float) else type(value).__name__


def same(value: Any, operand: Any) -> bool:
    """Equal, and of one type: 1 is not "1" and True is not 1, but 1 is 1.0."""
    return kind(value) == kind(operand) and value == operand
