"""Reading records, and the blobs that belong to them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists

from vecdb.errors import CorruptDatabaseError, VecdbWarning
from vecdb.storage.checksums import content_checksum, metadata_checksum
from vecdb.storage.contents import blob_fits, decode_content, decode_metadata
from vecdb.storage.engine import Snapshot
from vecdb.storage.filters import Filter
from vecdb.storage.in_lists import in_lists
from vecdb.storage.stored_values import as_text, rising
from vecdb.storage.tables import blob_references, blobs
from vecdb.types import Content, Metadata, Vector
from vecdb.vectors import checksum, from_blobs

PAGE = 1000


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as read. `vectors`: by space id; `truncated`: the spaces whose vector is of the beginning only."""

    key: int
    id: str
    content: Content
    metadata: Metadata
    vectors: dict[int, Vector]
    truncated: frozenset[int]


HitRow = tuple[int, int, Any, Any, Any, Any]
"""Label, key, id, kind, content and metadata of a record, as they are stored."""

_READ = "key, collection_id, id, kind, content, vector_count, metadata, content_checksum, metadata_checksum"
_COLUMNS = f"SELECT {_READ} FROM records WHERE collection_id = ?"
_BY_ID = f"{_COLUMNS} AND id IN (SELECT value FROM json_each(?))"
_PAGE = f"{_COLUMNS} AND key > ? AND key <= ? ORDER BY key LIMIT ?"
_VECTORS = """
    SELECT record_key, record_vectors.space_id, label, data, vectors.checksum, truncated
    FROM record_vectors JOIN vectors USING (label) WHERE record_key IN (SELECT value FROM json_each(?))"""
_COUNT = "SELECT count(*) FROM records WHERE collection_id = ?"
_BLOB = "SELECT data FROM blobs WHERE hash = ?"


def blob_reader(snapshot: Snapshot) -> Callable[[bytes], bytes]:
    """Finds stored bytes by hash, for `decode_content`."""

    def read(digest: bytes) -> bytes:
        found = snapshot.rows(_BLOB, (digest,))
        state = "missing" if not found else "" if blob_fits(digest, found[0][0]) else "damaged"
        if state:
            raise CorruptDatabaseError(f"stored bytes {digest.hex()} are {state}; run `vecdb check`")
        return bytes(found[0][0])

    return read


def get_records(snapshot: Snapshot, collection_id: int, ids: Sequence[str]) -> dict[str, StoredRecord]:
    """The records with these ids, by id; missing ones are left out."""
    rows = snapshot.rows(_BY_ID, (collection_id, json.dumps(list(ids))))
    return {record.id: record for record in _with_vectors(snapshot, rows)}


def newest_key(snapshot: Snapshot) -> int:
    """The highest key of all records, 0 where there is none."""
    return int(snapshot.rows("SELECT coalesce(max(key), 0) FROM records")[0][0])


def read_page(snapshot: Snapshot, collection_id: int, after: int, until: int) -> tuple[list[StoredRecord], int | None]:
    """The next records in insertion order, with keys above `after` and up to `until`, and the key to go on after.

    That is None at the end.
    """
    rows = snapshot.rows(_PAGE, (collection_id, after, until, PAGE))
    return _with_vectors(snapshot, rows), rising(rows[-1][0], after) if rows else None


def content_rows(snapshot: Snapshot, keys: Sequence[int]) -> list[Any]:
    """(key, kind, content, content hash) of these records, as far as they exist."""
    sql = "SELECT key, kind, content, content_hash FROM records WHERE key IN (SELECT value FROM json_each(?))"
    return snapshot.rows(f"{sql} ORDER BY key", (json.dumps(list(keys)),))


def _sound(rows: Sequence[Any]) -> list[Any]:
    """Those of these rows (columns as in `_READ`, from the key on) that are as they were written.

    A damaged record is left out, with a warning: a wrong answer would be worse.
    """
    sound = [
        row
        for row in rows
        if content_checksum(row[-9], row[-8], row[-7], row[-6], row[-5], row[-4]) == row[-2]
        and metadata_checksum(row[-9], row[-3]) == row[-1]
    ]
    if len(sound) < len(rows):
        first = next(row for row in rows if row not in sound)
        warnings.warn(
            f"{len(rows) - len(sound)} stored record(s) are damaged (first: {first[-7]!r:.60}) and are left out; "
            "run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    return sound


def _with_vectors(snapshot: Snapshot, found_rows: Sequence[Any]) -> list[StoredRecord]:
    read_blob = blob_reader(snapshot)
    rows = _sound(found_rows)
    found: dict[int, dict[int, Vector]] = {row[0]: {} for row in rows}
    truncated: dict[int, set[int]] = {}
    for key, space_id, label, data, crc, cut in snapshot.rows(_VECTORS, (json.dumps(list(found)),)):
        if key in found and type(data) is bytes and not len(data) % 4 and checksum(data, label) == crc:
            found[key][space_id] = from_blobs([data], len(data) // 4)[0]
        if cut:
            truncated.setdefault(key, set()).add(space_id)
    incomplete = [row[0] for row in rows if row[5] != len(found[row[0]])]
    if incomplete:
        warnings.warn(
            f"vectors of {len(incomplete)} record(s) are damaged or lost, and left out of them; run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    return [
        StoredRecord(
            key,
            as_text(id, what=f"the id of record {key}"),
            decode_content(kind, content, read_blob, key),
            decode_metadata(metadata, key),
            found[key],
            frozenset(truncated.get(key, ())),
        )
        for key, _, id, kind, content, _, metadata, _, _ in rows
    ]


def contains(snapshot: Snapshot, collection_id: int, id: str) -> bool:
    """Whether a record has this id."""
    return bool(snapshot.rows("SELECT 1 FROM records WHERE collection_id = ? AND id = ?", (collection_id, id)))


def count(snapshot: Snapshot, collection_id: int, where: Filter | None = None) -> int:
    """Number of records, or of those that match."""
    if where is None:
        return int(snapshot.rows(_COUNT, (collection_id,))[0][0])
    return int(snapshot.rows(f"{_COUNT} AND {where.sql}", (collection_id, *where.parameters))[0][0])


# --- for searches -------------------------------------------------------------------------------

_ALLOWED = """
    SELECT DISTINCT label FROM records JOIN record_vectors ON record_key = records.key
    WHERE collection_id = ? AND space_id = ? AND """
_HITS = f"""
    SELECT label, {_READ}
    FROM record_vectors JOIN records ON records.key = record_key WHERE label IN """


def allowed_labels(snapshot: Snapshot, collection_id: int, space_id: int, where: Filter) -> list[int]:
    """The labels of vectors that a matching record has, sorted."""
    sql = f"{_ALLOWED}{where.sql} ORDER BY label"
    return [label for (label,) in snapshot.rows(sql, (collection_id, space_id, *where.parameters))]


def read_hits(
    snapshot: Snapshot, labels: Sequence[int], where: Filter | None = None
) -> tuple[list[HitRow], bool]:
    """Every (matching) record with one of these vectors, of which one may belong to several, and whether all are sound.

    Warns of a damaged record, which is left out, and of a vector that no record has.
    """
    found: list[Any] = []
    for placeholders, part in in_lists(labels):
        sql = _HITS + placeholders
        if where is None:
            found += snapshot.rows(sql, part)
        else:
            found += snapshot.rows(f"{sql} AND {where.sql}", (*part, *where.parameters))
    if where is None and len({row[0] for row in found}) < len(labels):
        warnings.warn(
            "vectors that no record has were found, so there may be fewer hits than there should; run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    sound = _sound(found)
    rows = [
        (label, key, id, kind, content, metadata) for label, key, _, id, kind, content, _, metadata, _, _ in sound
    ]
    return rows, len(sound) == len(found)


# --- blobs --------------------------------------------------------------------------------------

_UNUSED = ~exists().where(blob_references.c.blob_hash == blobs.c.hash)


def put_blobs(
    transaction: Snapshot,
    found: Sequence[tuple[bytes, bytes]],
    *,
    record_key: int | None = None,
    failure_key: int | None = None,
) -> None:
    """Store bytes once, and say who needs them."""
    transaction.write_many("INSERT OR IGNORE INTO blobs (hash, data) VALUES (?, ?)", found)
    transaction.write_many(
        "INSERT INTO blob_references (blob_hash, record_key, failure_key) VALUES (?, ?, ?)",
        [(digest, record_key, failure_key) for digest, _ in found],
    )


def drop_unused_blobs(transaction: Snapshot) -> None:
    """Forget bytes that nobody needs any more."""
    transaction.execute(delete(blobs).where(_UNUSED))
