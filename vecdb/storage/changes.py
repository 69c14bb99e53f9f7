"""The log of what changed in records that were there before, for what knows their fields and labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vecdb.storage.engine import Snapshot
from vecdb.storage.stored_values import LARGEST_SEQUENCE, as_integer, as_integers
from vecdb.types import Labels

# What knows the records and missed more changes than are kept reads them all anew.
_KEPT_CHANGES = 50_000

_STATE = """
    SELECT last_change, change_floor, (SELECT seq FROM sqlite_sequence WHERE name = 'records')
    FROM collections WHERE id = ?"""
_LOG = """
    INSERT INTO record_changes (collection_id, record_key)
    SELECT collection_id, key FROM records WHERE key IN (SELECT value FROM json_each(?))"""
_CHANGED = "SELECT DISTINCT collection_id FROM record_changes WHERE sequence > ?"
_SEQUENCE = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'record_changes'), 0)"


@dataclass(frozen=True, slots=True)
class RecordsState:
    """The newest record of all, and the newest change in a collection: with both, its records are known.

    Attributes:
        change_floor: changes up to here are forgotten.
    """

    last_key: int
    last_change: int
    change_floor: int


def records_version(snapshot: Snapshot, collection_id: int) -> object:
    """Equal in two snapshots between which nothing happened to the collection's records; None if the row is lost."""
    return next(iter(snapshot.rows(_STATE, (collection_id,))), None)


def records_state(snapshot: Snapshot, collection_id: int) -> RecordsState:
    """The state of a collection's records in this snapshot; errors as in `state_of`."""
    return state_of(records_version(snapshot, collection_id), collection_id)


def state_of(version: Any, collection_id: int) -> RecordsState:
    """What a `records_version` says.

    Raises:
        CorruptDatabaseError: it is damaged, or the collection is gone.
    """
    what = f"the state of collection {collection_id}"
    last_change, floor, last_key = version or (None, None, None)
    return RecordsState(
        as_integer(last_key or 0, 0, LARGEST_SEQUENCE, what=what),
        as_integer(last_change, 0, LARGEST_SEQUENCE, what=what),
        as_integer(floor, 0, LARGEST_SEQUENCE, what=what),
    )


def log_changes(transaction: Snapshot, keys: Sequence[int]) -> None:
    """Say that these records change in this transaction; of those to be deleted, before they are."""
    if not keys:
        return
    before = _newest(transaction)
    transaction.driver.execute(_LOG, (json.dumps(list(keys)),))
    newest = _newest(transaction)
    for (collection_id,) in transaction.rows(_CHANGED, (before,)):
        transaction.driver.execute("UPDATE collections SET last_change = ? WHERE id = ?", (newest, collection_id))
        _prune(transaction, collection_id, newest - _KEPT_CHANGES)


def _newest(transaction: Snapshot) -> int:
    return as_integer(transaction.rows(_SEQUENCE)[0][0], 0, LARGEST_SEQUENCE, what="the sequence of record_changes")


def _prune(transaction: Snapshot, collection_id: int, floor: int) -> None:
    # In large strides: what is behind by less than this never has to be loaded anew.
    changed = transaction.driver.execute(
        "UPDATE collections SET change_floor = ? WHERE id = ? AND change_floor < ?",
        (floor, collection_id, floor - _KEPT_CHANGES),
    ).rowcount
    if changed:
        transaction.driver.execute(
            "DELETE FROM record_changes WHERE collection_id = ? AND sequence <= ?", (collection_id, floor)
        )


def changed_after(snapshot: Snapshot, collection_id: int, change: int) -> Labels:
    """Keys of the records that changed after this point of the log, sorted, each once."""
    rows = snapshot.rows(
        "SELECT DISTINCT record_key FROM record_changes WHERE collection_id = ? AND sequence > ? ORDER BY record_key",
        (collection_id, change),
    )
    return as_integers([key for (key,) in rows], what=f"a changed record of collection {collection_id}")
