"""The fields that filters of a collection will use, as they were declared at its creation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vecdb.errors import CorruptDatabaseError
from vecdb.storage.engine import Snapshot
from vecdb.storage.stored_values import as_json_array

MOST_FILTER_FIELDS = 32


def put_filter_fields(transaction: Snapshot, collection_id: int, fields: Sequence[str]) -> None:
    """Remember them with a new collection."""
    if fields:
        text = json.dumps(list(fields), ensure_ascii=False)
        transaction.driver.execute("INSERT INTO properties (name, value) VALUES (?, ?)", (_name(collection_id), text))


def read_filter_fields(snapshot: Snapshot, collection_id: int) -> tuple[str, ...]:
    """Those of a collection. Where what is stored is damaged, none: they only make filters faster."""
    found = snapshot.rows("SELECT value FROM properties WHERE name = ?", (_name(collection_id),))
    if not found:
        return ()
    try:
        fields = as_json_array(found[0][0], what="the declared fields")
    except CorruptDatabaseError:
        return ()
    return tuple(field for field in fields[:MOST_FILTER_FIELDS] if type(field) is str)


def drop_filter_fields(transaction: Snapshot, collection_id: int) -> None:
    """Forget them with their collection."""
    transaction.driver.execute("DELETE FROM properties WHERE name = ?", (_name(collection_id),))


def _name(collection_id: int) -> str:
    return f"filter_fields/{collection_id}"
