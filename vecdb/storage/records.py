"""Reading records, and the blobs that belong to them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists

from vecdb.errors import CorruptDatabaseError, VecdbWarning
from vecdb.storage.contents import decode_content, decode_metadata
from vecdb.storage.engine import Snapshot
from vecdb.storage.filters import Filter
from vecdb.storage.tables import blob_references, blobs
from vecdb.types import Content, Labels, Metadata, Vector
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


_COLUMNS = "SELECT key, id, kind, content, metadata FROM records WHERE collection_id = ?"
_BY_ID = f"{_COLUMNS} AND id IN (SELECT value FROM json_each(?))"
_PAGE = f"{_COLUMNS} AND key > ? ORDER BY key LIMIT ?"
_VECTORS = """
    SELECT record_key, record_vectors.space_id, data, checksum, truncated
    FROM record_vectors JOIN vectors USING (label) WHERE record_key IN (SELECT value FROM json_each(?))"""
_COUNT = "SELECT count(*) FROM records WHERE collection_id = ?"
_BLOB = "SELECT data FROM blobs WHERE hash = ?"


def blob_reader(snapshot: Snapshot) -> Callable[[bytes], bytes]:
    """Finds stored bytes by hash, for `decode_content`."""

    def read(digest: bytes) -> bytes:
        found = snapshot.rows(_BLOB, (digest,))
        if not found:
            raise CorruptDatabaseError(f"stored bytes {digest.hex()} are missing; run `vecdb check`")
        return bytes(found[0][0])

    return read


def get_records(snapshot: Snapshot, collection_id: int, ids: Sequence[str]) -> dict[str, StoredRecord]:
    """The records with these ids, by id; missing ones are left out."""
    rows = snapshot.rows(_BY_ID, (collection_id, json.dumps(list(ids))))
    return {record.id: record for record in _with_vectors(snapshot, rows)}


def read_page(snapshot: Snapshot, collection_id: int, after: int, size: int = PAGE) -> list[StoredRecord]:
    """The next records in insertion order, with keys above `after`."""
    return _with_vectors(snapshot, snapshot.rows(_PAGE, (collection_id, after, size)))


def read_by_label(snapshot: Snapshot, label: int) -> list[StoredRecord]:
    """The records that have this vector."""
    return _with_vectors(
        snapshot,
        snapshot.rows(
            "SELECT key, id, kind, content, metadata FROM records JOIN record_vectors ON record_key = key "
            "WHERE label = ? ORDER BY key",
            (label,),
        ),
    )


def _with_vectors(snapshot: Snapshot, rows: Sequence[Any]) -> list[StoredRecord]:
    read_blob = blob_reader(snapshot)
    found: dict[int, dict[int, Vector]] = {row[0]: {} for row in rows}
    truncated: dict[int, set[int]] = {}
    damaged = 0
    for key, space_id, data, crc, cut in snapshot.rows(_VECTORS, (json.dumps(list(found)),)):
        if checksum(data) == crc:
            found[key][space_id] = from_blobs([data], len(data) // 4)[0]
        else:
            damaged += 1
        if cut:
            truncated.setdefault(key, set()).add(space_id)
    if damaged:
        warnings.warn(
            f"{damaged} stored vector(s) are damaged and left out of their records; run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    return [
        StoredRecord(
            key,
            id,
            decode_content(kind, content, read_blob),
            decode_metadata(metadata),
            found[key],
            frozenset(truncated.get(key, ())),
        )
        for key, id, kind, content, metadata in rows
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
_HITS = """
    SELECT label, records.key, id, kind, content, metadata
    FROM record_vectors JOIN records ON records.key = record_key WHERE label IN ({})"""


def allowed_labels(snapshot: Snapshot, collection_id: int, space_id: int, where: Filter) -> list[int]:
    """The labels of vectors that a matching record has, sorted."""
    sql = f"{_ALLOWED}{where.sql} ORDER BY label"
    return [label for (label,) in snapshot.rows(sql, (collection_id, space_id, *where.parameters))]


def hit_rows(snapshot: Snapshot, labels: Labels, where: Filter | None) -> list[Any]:
    """(label, key, id, kind, content, metadata) of every (matching) record with one of these vectors."""
    found: list[Any] = []
    wanted = labels.tolist()
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        sql = _HITS.format(",".join("?" * len(part)))
        if where is None:
            found += snapshot.rows(sql, part)
        else:
            found += snapshot.rows(f"{sql} AND {where.sql}", (*part, *where.parameters))
    return found


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
