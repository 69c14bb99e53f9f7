"""Collections and their spaces."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, update

from vecdb.errors import CollectionNotFoundError, CorruptDatabaseError, VecdbWarning
from vecdb.storage.checksums import is_sealed, seal
from vecdb.storage.embedding_cache import remember_collection
from vecdb.storage.engine import Snapshot
from vecdb.storage.filter_fields import drop_filter_fields, put_filter_fields
from vecdb.storage.records import drop_unused_blobs
from vecdb.storage.stored_values import (
    INDEX_LIMITS,
    MAX_INTEGER,
    as_bytes_or_none,
    as_integer,
    as_json_object,
    as_one_of,
    as_text,
    as_text_or_none,
)
from vecdb.storage.tables import collections, spaces
from vecdb.types import INDEX_KINDS, METRICS, IndexKind, Metric
from vecdb.vectors import MAX_DIMENSION


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """A space as stored; what can change later is read separately (see `SpaceState`)."""

    id: int
    collection_id: int
    name: str
    source: str | None
    embedder: str | None
    options: Mapping[str, Any]
    fingerprint: str | None
    probe: bytes | None
    environment: Mapping[str, str]
    weights: Mapping[str, Any]
    dimension: int
    metric: Metric
    index_kind: IndexKind
    index_options: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SpaceState:
    """The newest change of a space: an index that has both numbers is current."""

    last_label: int
    last_removal: int
    removal_floor: int


_STATE = "SELECT last_label, last_removal, removal_floor FROM spaces WHERE id = ?"


def space_state(snapshot: Snapshot, space_id: int) -> SpaceState | None:
    """The state of a space in this snapshot; None if it was deleted."""
    found = snapshot.rows(_STATE, (space_id,))
    if not found:
        return None
    what = f"the state of space {space_id}"
    return SpaceState(*[as_integer(value, 0, MAX_INTEGER, what=what) for value in found[0]])


_MOMENT = """
    SELECT last_label, last_removal, last_change, change_floor,
        (SELECT seq FROM sqlite_sequence WHERE name = 'records')
    FROM spaces JOIN collections ON collections.id = collection_id WHERE spaces.id = ?"""


def records_version_at(snapshot: Snapshot, space_id: int, last_label: int, last_removal: int) -> object:
    """What `records_version` says of the collection of a space, if these are the space's newest changes; else None.

    All that a search asks about its moment, in one statement.
    """
    for row in snapshot.rows(_MOMENT, (space_id,)):
        if row[:2] == (last_label, last_removal):
            return row[2:]
    return None


def collection_names(snapshot: Snapshot) -> list[str]:
    """All names, in order of creation. Warns of one that is damaged; one that is not text is left out."""
    rows = snapshot.rows_of(collections, "ORDER BY id")
    damaged = [row["name"] for row in rows if not is_sealed(collections, row)]
    if damaged:
        warnings.warn(
            f"the row of collection {damaged[0]!r:.60} is damaged: this may not be its name; run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    return [row["name"] for row in rows if type(row["name"]) is str]


def collection_id(snapshot: Snapshot, name: str) -> int | None:
    """The key of a collection, or None."""
    try:
        name.encode()
    except UnicodeEncodeError:  # SQLite cannot even be asked
        return None
    found = snapshot.rows("SELECT id FROM collections WHERE name = ?", (name,))
    return found[0][0] if found else None


def check_collection(snapshot: Snapshot, key: int) -> None:
    """Raise `CollectionNotFoundError` if the collection with this key was deleted."""
    if not snapshot.rows("SELECT 1 FROM collections WHERE id = ?", (key,)):
        raise CollectionNotFoundError("the collection was deleted; open another one")


def create_collection(
    transaction: Snapshot, name: str, rows: Sequence[Mapping[str, Any]], declared: Sequence[str] = ()
) -> int:
    """A new collection with these spaces (columns of `spaces` without ids) and declared fields."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    key = transaction.insert(collections, {"name": name, "created_at": made})
    seal(transaction, collections, key)
    put_filter_fields(transaction, key, declared)
    for row in rows:
        seal(transaction, spaces, transaction.insert(spaces, {"collection_id": key, **_encoded(row)}))
    return key


def delete_collection(transaction: Snapshot, key: int) -> None:
    """Everything of a collection goes: records, vectors, failures, index files."""
    remember_collection(transaction, key)
    drop_filter_fields(transaction, key)
    transaction.execute(delete(collections).where(collections.c.id == key))
    drop_unused_blobs(transaction)


def read_spaces(snapshot: Snapshot, key: int) -> list[SpaceRow]:
    """The spaces of a collection, `default` first, then in order of creation.

    Raises:
        CorruptDatabaseError: the row of one is damaged, or there is none.
    """
    rows = snapshot.rows_of(spaces, "WHERE collection_id = ? ORDER BY id", (key,))
    damaged = next((row for row in rows if not is_sealed(spaces, row)), None)
    if damaged is not None:
        raise CorruptDatabaseError(
            f"the row of space {damaged['name']!r:.60} (collection number {key}) is damaged, so its collection "
            "cannot be used; restore a backup"
        )
    if not rows:
        raise CorruptDatabaseError(f"collection {key} has no space; run `vecdb check`, or restore a backup")
    found = [_space_row(row) for row in rows]
    return sorted(found, key=lambda row: row.name != "default")


def _space_row(row: Mapping[str, Any]) -> SpaceRow:
    """A row of `spaces`, each value checked: a stranger may have written it."""
    own = f"space {row['id']}: its "
    fields = {name: f"{own}{name.replace('_', ' ')}" for name in row}
    return SpaceRow(
        id=row["id"],
        collection_id=row["collection_id"],
        name=as_text(row["name"], what=fields["name"]),
        source=as_text_or_none(row["source"], what=fields["source"]),
        embedder=as_text_or_none(row["embedder"], what=fields["embedder"]),
        options=as_json_object(row["options"], what=fields["options"]),
        fingerprint=as_text_or_none(row["fingerprint"], what=fields["fingerprint"]),
        probe=as_bytes_or_none(row["probe"], what=fields["probe"]),
        environment=_environment(row["environment"], fields["environment"]),
        weights=_weights(row["weights"], fields["weights"]),
        dimension=as_integer(row["dimension"], 1, MAX_DIMENSION, what=fields["dimension"]),
        metric=as_one_of(row["metric"], METRICS, what=fields["metric"]),
        index_kind=as_one_of(row["index_kind"], INDEX_KINDS, what=fields["index_kind"]),
        index_options=_index_options(row["index_options"], fields["index_options"]),
    )


def _environment(stored: Any, what: str) -> dict[str, str]:
    found = as_json_object(stored or "{}", what=what)
    return {name: as_text(value, what=f"{what} {name[:40]!r}") for name, value in found.items()}


def _weights(stored: Any, what: str) -> dict[str, Any]:
    """By path: size, time and hash, as `FileHashes` keeps them."""
    found = as_json_object(stored or "{}", what=what)
    for value in found.values():
        if type(value) is not list or [type(part) for part in value] != [int, int, str]:
            raise CorruptDatabaseError(f"{what} are not as vecdb writes them; run `vecdb check`, or restore a backup")
    return found


def _index_options(stored: Any, what: str) -> dict[str, int]:
    found = as_json_object(stored, what=what)
    for name, value in found.items():
        as_one_of(name, tuple(INDEX_LIMITS), what=what)
        as_integer(value, *INDEX_LIMITS[name], what=f"{what} {name}")
    return found


def update_space(transaction: Snapshot, space_id: int, changes: Mapping[str, Any]) -> None:
    """Change what may change: options, environment, weights, probe."""
    transaction.execute(update(spaces).where(spaces.c.id == space_id).values(**_encoded(changes)))
    if transaction.rows("SELECT 1 FROM spaces WHERE id = ?", (space_id,)):
        seal(transaction, spaces, space_id)


def _encoded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value
        for name, value in row.items()
    }
