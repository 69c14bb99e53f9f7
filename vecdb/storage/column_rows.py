"""Reading what columns hold: keys, labels, and the values of a field as SQLite sees them."""

from __future__ import annotations

import json
import operator
import sys
from array import array
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from vecdb.errors import CorruptDatabaseError
from vecdb.storage.columns import FIRST_VALUE, LIST, FieldValues, Rows, Value
from vecdb.storage.engine import Snapshot
from vecdb.storage.filter_sql import json_path
from vecdb.storage.stored_values import as_integers
from vecdb.types import Labels

_KEYS = "SELECT key FROM records WHERE collection_id = ? ORDER BY key"
# By the key, which new records have above all others: the plus keeps SQLite from its index of the collection.
_NEW_KEYS = "SELECT key FROM records WHERE key > ? AND +collection_id = ? ORDER BY key"
# In this order: of a few records in a large collection, or of all in it.
_OF_SOME = "json_each(?) AS wanted CROSS JOIN records ON records.key = wanted.value"
_OF_ALL = "records"
_PRESENT = f"SELECT records.key FROM {_OF_SOME} WHERE +collection_id = ? ORDER BY records.key"
_AT_ONCE = 300  # rows: of more, most are still there when Python looks for garbage, which takes longer
_ROW_BYTES = 16
_NOTHING: Rows = np.empty(0, np.intp)


def all_keys(snapshot: Snapshot, collection_id: int) -> Labels:
    """The keys of a collection's records, ascending."""
    return _integers(snapshot, _KEYS, (collection_id,))


def keys_after(snapshot: Snapshot, collection_id: int, key: int) -> Labels:
    """Those above this one."""
    return _integers(snapshot, _NEW_KEYS, (key, collection_id))


def keys_present(snapshot: Snapshot, collection_id: int, keys: Labels) -> Labels:
    """Those of these keys that the collection has, ascending."""
    return _integers(snapshot, _PRESENT, (json.dumps(keys.tolist()), collection_id))


def rows_of(known: Labels, keys: Labels) -> Rows:
    """The places of these keys among the known ones, which ascend.

    Raises:
        CorruptDatabaseError: one is not among them.
    """
    rows = np.searchsorted(known, keys)
    if len(keys) and (rows.max() >= len(known) or (known[rows] != keys).any()):
        raise CorruptDatabaseError("records are not where their keys say; run `vecdb check`, or restore a backup")
    return rows


def _integers(snapshot: Snapshot, sql: str, parameters: Sequence[Any]) -> Labels:
    return as_integers([value for (value,) in snapshot.rows(sql, parameters)], what="the key of a record")


def _source(collection_id: int, keys: Labels | None) -> tuple[str, str, list[Any]]:
    """What to read from, on which condition, and the one value of these; `keys` None means all records."""
    if keys is None:
        return _OF_ALL, "records.collection_id = ?", [collection_id]
    return _OF_SOME, "1", [json.dumps(keys.tolist())]


def read_labels(
    snapshot: Snapshot, collection_id: int, space_id: int, keys: Labels | None
) -> tuple[Labels, Labels]:
    """Keys of records (of these ones, or of all) with a vector in the space, and its labels."""
    source, condition, parameters = _source(collection_id, keys)
    rows = snapshot.rows(
        f"SELECT record_key, label FROM {source} CROSS JOIN record_vectors ON record_key = records.key "
        f"WHERE {condition} AND space_id = ?",
        (*parameters, space_id),
    )
    found = as_integers([value for row in rows for value in row], what="the label of a record's vector")
    return found[::2], found[1::2]


def exact_floats(snapshot: Snapshot, floats: Sequence[float]) -> dict[float, float]:
    """Each of these as SQLite reads its decimals, which are how it would be stored."""
    found = snapshot.rows("SELECT value FROM json_each(?)", (json.dumps(floats),)) if floats else []
    return dict(zip(floats, (value for (value,) in found), strict=True))


# --- the values of a field ----------------------------------------------------------------------


def read_field(
    snapshot: Snapshot, collection_id: int, field: str, keys: Labels | None, *, known: Labels, most: int
) -> FieldValues | None:
    """The values of a field, nested ones where no key has its name, in these records or in all.

    Args:
        snapshot, collection_id: where.
        field: its name, as in a filter.
        keys: of which records; None for all.
        known: the keys of all records, ascending: rows are places in it.
        most: bytes that all of it may take.

    Returns:
        None where they take more, or where an object has one key twice: only SQL can tell then.
    """
    reading = _FieldReading(snapshot, collection_id, keys, known, most)
    reading.add([field])
    if "." in field:
        reading.add(field.split("."))
    return reading.values()


class _FieldReading:
    """Collects the values of a field, each distinct one once."""

    def __init__(self, snapshot: Snapshot, collection_id: int, keys: Labels | None, known: Labels, most: int) -> None:
        self._snapshot = snapshot
        self._collection_id = collection_id
        self._wanted = keys
        self._known = known
        self._room = most
        self._is_simple = True
        self._distinct: dict[Any, int] = {None: 0}
        self._rows, self._places = _NOTHING, _NOTHING
        self._element_rows, self._element_places = _NOTHING, _NOTHING

    def add(self, keys: Sequence[str]) -> None:
        """Read what stands under these nested keys in records where nothing was found yet."""
        sources, tests = json_path(keys)
        value = f"v{len(keys) - 1}"
        is_hidden = np.zeros(len(self._known), np.bool_)
        is_hidden[self._rows] = True
        rows, places = self._read(value, sources, tests, keys)
        shown = ~is_hidden[rows]
        self._rows = np.concatenate([self._rows, rows[shown]])
        self._places = np.concatenate([self._places, places[shown]])
        if (places[shown] == LIST).any():
            elements = f"json_each(CASE WHEN {value}.type = 'array' THEN {value}.value ELSE '[]' END) AS element"
            test = "element.type NOT IN ('array', 'object')"
            rows, places = self._read("element", [*sources, elements], [*tests, test], keys)
            shown = ~is_hidden[rows]
            self._element_rows = np.concatenate([self._element_rows, rows[shown]])
            self._element_places = np.concatenate([self._element_places, places[shown]])

    def _read(
        self, alias: str, sources: Sequence[str], tests: Sequence[str], names: Sequence[str]
    ) -> tuple[Rows, Rows]:
        """The row of each value, and its place; ends early where there is no room for all."""
        source, condition, parameters = _source(self._collection_id, self._wanted)
        cursor = self._snapshot.driver.execute(
            f"""
            SELECT records.key,
                CASE {alias}.type WHEN 'null' THEN 1 WHEN 'false' THEN 2 WHEN 'true' THEN 3
                    WHEN 'array' THEN 4 WHEN 'object' THEN 5 ELSE 0 END,
                CASE {alias}.type WHEN 'integer' THEN {alias}.value WHEN 'real' THEN {alias}.value
                    WHEN 'text' THEN CAST({alias}.value AS BLOB) END
            FROM {source} CROSS JOIN {" CROSS JOIN ".join(sources)}
            WHERE {condition} AND {" AND ".join(tests)}""",
            (*parameters, *names),
        )
        keys, places = array("q"), array("q")
        while self._is_simple and (batch := cursor.fetchmany(_AT_ONCE)):
            of_keys, kinds, values = zip(*batch, strict=True)
            self._remember(values)
            keys.extend(of_keys)
            # One of the two is 0: a code, or the place of a number or a text.
            places.extend(map(operator.add, kinds, map(self._distinct.__getitem__, values)))
            self._room -= _ROW_BYTES * len(batch)
            self._is_simple = self._is_simple and self._room >= 0
        return rows_of(self._known, np.array(keys, np.int64)), np.array(places, np.intp)

    def _remember(self, values: Sequence[Value | None]) -> None:
        new = set(values).difference(self._distinct)
        self._distinct.update(zip(new, count(FIRST_VALUE - 1 + len(self._distinct)), strict=False))
        self._room -= sum(map(sys.getsizeof, new)) + 8 * len(new)

    def values(self) -> FieldValues | None:
        """What was collected; None if it is not one value for each record, or there was no room for all."""
        ordered = np.sort(self._rows)
        once = not (ordered[1:] == ordered[:-1]).any()
        if not (self._is_simple and once and (self._places > 0).all() and (self._element_places > 0).all()):
            return None
        return FieldValues(
            self._rows, self._places, self._element_rows, self._element_places, list(self._distinct)[1:]
        )
