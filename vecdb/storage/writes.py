"""Writing records and their vectors, inside one transaction that the caller began."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vecdb.storage import embedding_cache
from vecdb.storage.changes import log_changes
from vecdb.storage.checksums import content_checksum, link_checksum, metadata_checksum
from vecdb.storage.embedding_cache import remember_records
from vecdb.storage.engine import Snapshot
from vecdb.storage.filters import Filter
from vecdb.storage.in_lists import in_lists
from vecdb.storage.records import drop_unused_blobs, put_blobs
from vecdb.storage.stored_values import LARGEST_SEQUENCE, as_integer
from vecdb.vectors import checksum, vector_hash

# An index that missed more removals than are kept is loaded anew.
_KEPT_REMOVALS = 50_000
_DELETE_BATCH = 10_000


class NewVector(NamedTuple):
    """A vector for one space.

    Attributes:
        source_hash: of the content it was embedded from, or None.
        truncated: whether it is of the content's beginning only.
    """

    space_id: int
    data: bytes
    source_hash: bytes | None
    truncated: bool = False


class NewRecord(NamedTuple):
    """A record as columns, with its vectors."""

    id: str
    kind: int
    content: str | None
    content_hash: bytes
    metadata: str
    blobs: tuple[tuple[bytes, bytes], ...]
    vectors: tuple[NewVector, ...]


@dataclass(frozen=True, slots=True)
class NewVectors:
    """All vectors that a write gave to a space between two of its newest labels.

    Attributes:
        before: the newest label of the space until then.
        first: the label of the first vector; the others follow without a gap.
        data: the bytes of each.
    """

    space_id: int
    before: int
    first: int
    data: Sequence[bytes]

    @property
    def last(self) -> int:
        """The newest label of the space from then on."""
        return self.first + len(self.data) - 1


@dataclass(frozen=True, slots=True)
class Existing:
    """What decides whether a record must be written again.

    Attributes:
        vector_hashes: by space id.
        damaged: whether content or metadata do not fit their checksums: it is written again in any case.
    """

    key: int
    content_hash: bytes
    metadata: str
    vector_hashes: dict[int, bytes]
    damaged: bool


def existing_records(
    snapshot: Snapshot, collection_id: int, ids: Sequence[str], *, with_vectors: bool
) -> dict[str, Existing]:
    """Those of these ids that are stored, by id."""
    rows = snapshot.rows(
        "SELECT id, key, content_hash, metadata, kind, content, vector_count, content_checksum, metadata_checksum "
        "FROM records WHERE collection_id = ? AND id IN (SELECT value FROM json_each(?))",
        (collection_id, json.dumps(list(ids))),
    )
    found = {
        id: Existing(
            key,
            content_hash,
            metadata,
            {},
            content_checksum(key, collection_id, id, kind, content, vector_count) != of_content
            or metadata_checksum(key, metadata) != of_metadata,
        )
        for id, key, content_hash, metadata, kind, content, vector_count, of_content, of_metadata in rows
    }
    if with_vectors and found:
        by_key = {existing.key: existing for existing in found.values()}
        # The hash is made anew: a damaged vector must not pass for what it was.
        for key, space_id, data in snapshot.rows(
            "SELECT record_key, record_vectors.space_id, data FROM record_vectors JOIN vectors USING (label) "
            "WHERE record_key IN (SELECT value FROM json_each(?))",
            (json.dumps(list(by_key)),),
        ):
            by_key[key].vector_hashes[space_id] = vector_hash(data)
    return found


# --- new and changed records --------------------------------------------------------------------


def insert_records(transaction: Snapshot, collection_id: int, new: Sequence[NewRecord]) -> list[NewVectors]:
    """Store records with ids that are not stored yet; a stored one raises `sqlite3.IntegrityError`.

    Returns:
        Their vectors, as far as an index need not read them back; so does `replace_records`.
    """
    first = _sequence(transaction, "records") + 1
    transaction.write_many(
        "INSERT INTO records (kind, content, content_hash, metadata, vector_count, content_checksum, "
        "metadata_checksum, key, collection_id, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (*_columns(key, collection_id, record), key, collection_id, record.id)
            for key, record in enumerate(new, first)
        ],
    )
    return _link(transaction, list(enumerate(new, first)))


def replace_records(
    transaction: Snapshot, collection_id: int, changed: Sequence[tuple[int, NewRecord]]
) -> list[NewVectors]:
    """Give stored records (by key) other content, metadata and vectors. Their place in the order stays."""
    keys = [key for key, _ in changed]
    log_changes(transaction, keys)
    old = _labels_of(transaction, keys)
    hashes = _blobs_of(transaction, keys)
    remember_records(transaction, keys)
    listed = json.dumps(keys)
    transaction.driver.execute(
        "DELETE FROM record_vectors WHERE record_key IN (SELECT value FROM json_each(?))", (listed,)
    )
    transaction.driver.execute(
        "DELETE FROM blob_references WHERE record_key IN (SELECT value FROM json_each(?))", (listed,)
    )
    transaction.write_many(
        "UPDATE records SET kind = ?, content = ?, content_hash = ?, metadata = ?, vector_count = ?, "
        "content_checksum = ?, metadata_checksum = ? WHERE key = ?",
        [(*_columns(key, collection_id, record), key) for key, record in changed],
    )
    fresh = _link(transaction, changed)
    _drop_orphans(transaction, old)
    if hashes:
        drop_unused_blobs(transaction)
    return fresh


def _columns(key: int, collection_id: int, record: NewRecord) -> tuple[Any, ...]:
    """What may change of a record, from its kind to its checksums, in the order of the statements."""
    count = len(record.vectors)
    return (
        record.kind,
        record.content,
        record.content_hash,
        record.metadata,
        count,
        content_checksum(key, collection_id, record.id, record.kind, record.content, count),
        metadata_checksum(key, record.metadata),
    )


def update_metadata(transaction: Snapshot, changes: Iterable[tuple[int, str]]) -> None:
    """Change the metadata of stored records: (key, JSON)."""
    listed = list(changes)
    log_changes(transaction, [key for key, _ in listed])
    transaction.write_many(
        "UPDATE records SET metadata = ?, metadata_checksum = ? WHERE key = ?",
        [(text, metadata_checksum(key, text), key) for key, text in listed],
    )


def find_keys(snapshot: Snapshot, collection_id: int, ids: Sequence[str] | None, where: Filter | None) -> list[int]:
    """Keys of the records with these ids and matching this filter (None: no condition)."""
    sql, parameters = "SELECT key FROM records WHERE collection_id = ?", [collection_id]
    return [key for (key,) in snapshot.rows(*_narrowed(sql, parameters, ids, where))]


def _narrowed(
    sql: str, parameters: list[Any], ids: Sequence[str] | None, where: Filter | None
) -> tuple[str, list[Any]]:
    if ids is not None:
        sql += " AND records.id IN (SELECT value FROM json_each(?))"
        parameters = [*parameters, json.dumps(list(ids))]
    if where is not None:
        sql += f" AND {where.sql}"
        parameters = [*parameters, *where.parameters]
    return sql, parameters


def delete_records(transaction: Snapshot, keys: Sequence[int]) -> None:
    """Remove records, and the vectors and bytes that nobody else has; the last embedded vectors are remembered."""
    remembered = max(0, len(keys) - embedding_cache.KEPT)
    for start in range(0, len(keys), _DELETE_BATCH):  # what one batch frees, the next one fills
        end = start + _DELETE_BATCH
        remember_records(transaction, keys[max(start, remembered) : end])
        _delete_batch(transaction, keys[start:end])


def _delete_batch(transaction: Snapshot, keys: Sequence[int]) -> None:
    log_changes(transaction, keys)
    old = _labels_of(transaction, keys)
    hashes = _blobs_of(transaction, keys)
    transaction.driver.execute(
        "DELETE FROM records WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),)
    )
    _drop_orphans(transaction, old)
    if hashes:
        drop_unused_blobs(transaction)


# --- vectors ------------------------------------------------------------------------------------


def _link(transaction: Snapshot, keyed: Sequence[tuple[int, NewRecord]]) -> list[NewVectors]:
    """Store the vectors of records, one row for each distinct one, and say which record has which."""
    by_space: dict[int, list[tuple[int, NewVector]]] = {}
    for key, record in keyed:
        for vector in record.vectors:
            by_space.setdefault(vector.space_id, []).append((key, vector))
        if record.blobs:
            put_blobs(transaction, record.blobs, record_key=key)
    linked = [_link_vectors(transaction, space_id, pairs) for space_id, pairs in by_space.items()]
    return [fresh for fresh in linked if fresh is not None]


def _link_vectors(
    transaction: Snapshot, space_id: int, pairs: Sequence[tuple[int, NewVector]]
) -> NewVectors | None:
    labels, fresh = _put_vectors(transaction, space_id, [vector.data for _, vector in pairs])
    _put_links(
        transaction,
        [
            (key, space_id, label, vector.source_hash, int(vector.truncated))
            for (key, vector), label in zip(pairs, labels, strict=True)
        ],
    )
    return fresh


def _put_links(transaction: Snapshot, rows: Sequence[tuple[int, int, int, bytes | None, int]]) -> None:
    """Say which record has which vector: (record key, space, label, source hash, truncated)."""
    transaction.write_many(
        "INSERT INTO record_vectors (record_key, space_id, label, source_hash, truncated, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [(*row, link_checksum(*row)) for row in rows],
    )


def _put_vectors(
    transaction: Snapshot, space_id: int, found: Sequence[bytes]
) -> tuple[list[int], NewVectors | None]:
    """The label of each vector, new ones stored; and these, unless some were stored before."""
    hashes = [vector_hash(data) for data in found]
    distinct = dict(zip(hashes, found, strict=True))
    first = _sequence(transaction, "vectors") + 1
    rows = [
        (label, space_id, digest, checksum(data, label), data)
        for label, (digest, data) in enumerate(distinct.items(), first)
    ]
    inserted = transaction.write_many(
        "INSERT OR IGNORE INTO vectors (label, space_id, hash, checksum, data) VALUES (?, ?, ?, ?, ?)", rows
    )
    fresh = None
    if inserted:
        ((before,),) = transaction.rows("SELECT last_label FROM spaces WHERE id = ?", (space_id,))
        if inserted == len(rows):
            fresh = NewVectors(space_id, before, first, list(distinct.values()))
        transaction.driver.execute(
            "UPDATE spaces SET last_label = ? WHERE id = ?", (_sequence(transaction, "vectors"), space_id)
        )
    if inserted == len(rows):
        labels = {digest: label for label, _, digest, _, _ in rows}
    else:
        labels = _stored_labels(transaction, space_id, distinct)
    return [labels[digest] for digest in hashes], fresh


def _stored_labels(transaction: Snapshot, space_id: int, vectors: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """The labels of stored vectors (hash to bytes); a damaged one is replaced."""
    labels: dict[bytes, int] = {}
    for placeholders, part in in_lists(list(vectors)):
        for digest, label, crc, data in transaction.rows(
            f"SELECT hash, label, checksum, data FROM vectors WHERE space_id = ? AND hash IN {placeholders}",
            (space_id, *part),
        ):
            sound = vectors[digest]
            is_sound = data == sound and crc == checksum(sound, label)
            labels[digest] = label if is_sound else _replace_vector(transaction, space_id, label, sound)
    return labels


def _replace_vector(transaction: Snapshot, space_id: int, label: int, data: bytes) -> int:
    """Give the records of a damaged vector a sound one, and return its label; indexes forget the old one."""
    # Under its own hash the damaged row would count as the sound vector, stored already.
    transaction.driver.execute("UPDATE vectors SET hash = randomblob(16) WHERE label = ?", (label,))
    ((sound,), _) = _put_vectors(transaction, space_id, [data])
    rows = transaction.rows("SELECT record_key, source_hash, truncated FROM record_vectors WHERE label = ?", (label,))
    log_changes(transaction, [key for key, _, _ in rows])
    transaction.driver.execute("DELETE FROM record_vectors WHERE label = ?", (label,))
    _put_links(transaction, [(key, space_id, sound, source_hash, cut) for key, source_hash, cut in rows])
    _drop_orphans(transaction, [(label, space_id)])
    return sound


def relink(transaction: Snapshot, space_id: int, found: Sequence[tuple[int, bytes, NewVector]]) -> None:
    """Give records, by their keys, a new vector in one space, if their content still has this hash."""
    rows = {key: (content_hash, vector) for key, content_hash, vector in found}
    now = transaction.rows(
        "SELECT key, content_hash FROM records WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(list(rows)),)
    )
    keyed = [(key, rows[key][1]) for key, content_hash in now if rows[key][0] == content_hash]
    log_changes(transaction, [key for key, _ in keyed])
    old = [pair for pair in _labels_of(transaction, [key for key, _ in keyed]) if pair[1] == space_id]
    transaction.write_many(
        "DELETE FROM record_vectors WHERE record_key = ? AND space_id = ?", [(key, space_id) for key, _ in keyed]
    )
    _link_vectors(transaction, space_id, keyed)
    _drop_orphans(transaction, old)


def _labels_of(transaction: Snapshot, keys: Sequence[int]) -> list[tuple[int, int]]:
    """(label, space) of every vector that these records have."""
    return transaction.rows(
        "SELECT DISTINCT label, space_id FROM record_vectors WHERE record_key IN (SELECT value FROM json_each(?))",
        (json.dumps(list(keys)),),
    )


def _blobs_of(transaction: Snapshot, keys: Sequence[int]) -> list[Any]:
    return transaction.rows(
        "SELECT blob_hash FROM blob_references WHERE record_key IN (SELECT value FROM json_each(?)) LIMIT 1",
        (json.dumps(list(keys)),),
    )


def _drop_orphans(transaction: Snapshot, candidates: Sequence[tuple[int, int]]) -> None:
    """Remove those of these vectors that no record has any more, and tell the indexes."""
    orphans = transaction.rows(
        "SELECT label, space_id FROM vectors WHERE label IN (SELECT value FROM json_each(?)) "
        "AND NOT EXISTS (SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)",
        (json.dumps([label for label, _ in candidates]),),
    )
    if not orphans:
        return
    transaction.write_many("DELETE FROM vectors WHERE label = ?", [(label,) for label, _ in orphans])
    transaction.write_many("INSERT INTO removals (label, space_id) VALUES (?, ?)", orphans)
    newest = _sequence(transaction, "removals")
    for space_id in {space_id for _, space_id in orphans}:
        transaction.driver.execute("UPDATE spaces SET last_removal = ? WHERE id = ?", (newest, space_id))
        _prune_removals(transaction, space_id, newest - _KEPT_REMOVALS)


def _prune_removals(transaction: Snapshot, space_id: int, floor: int) -> None:
    # In large strides: an index that is behind by less than this never has to be loaded anew.
    changed = transaction.driver.execute(
        "UPDATE spaces SET removal_floor = ? WHERE id = ? AND removal_floor < ?",
        (floor, space_id, floor - _KEPT_REMOVALS),
    ).rowcount
    if changed:
        transaction.driver.execute("DELETE FROM removals WHERE space_id = ? AND sequence <= ?", (space_id, floor))


def _sequence(transaction: Snapshot, table: str) -> int:
    """The highest key that this table ever gave out."""
    found = transaction.rows("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
    return as_integer(found[0][0], 0, LARGEST_SEQUENCE, what=f"the sequence of {table}") if found else 0
