"""Rows that are not what was written: records, vectors, links, stored bytes and small tables, read whole."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vecdb.storage.changes import log_changes
from vecdb.storage.checksums import content_checksum, is_sealed, link_checksum, metadata_checksum
from vecdb.storage.contents import blob_fits, blob_hashes, content_hash, is_readable, source_hashes
from vecdb.storage.embedding_cache import is_as_remembered
from vecdb.storage.engine import Snapshot
from vecdb.storage.findings import ADD_AGAIN, FIX, RESTORE, Finding, counted
from vecdb.storage.stored_values import json_object
from vecdb.storage.tables import collections, failures, index_files, spaces
from vecdb.vectors import checksum, vector_hash

_STRIDE = 1000


@dataclass(slots=True)
class Damage:
    """What was found in one pass over all rows, and what mending needs of it.

    Attributes:
        findings: for the report.
        to_embed: (space id, record key): this record's vector must be made again.
        content_hashes, vector_hashes: (right value, key) of rows whose other columns
            prove them wrong.
        labels: (right label, record key, space id) of damaged links: the checksum says which vector it was.
        blob_references: (hash, record key) that are missing.
        broken_files: generations of the manifest that were changed.
    """

    findings: list[Finding] = field(default_factory=list)
    to_embed: set[tuple[int, int]] = field(default_factory=set)
    content_hashes: list[tuple[bytes, int]] = field(default_factory=list)
    vector_hashes: list[tuple[bytes, int]] = field(default_factory=list)
    labels: list[tuple[int, int, int]] = field(default_factory=list)
    blob_references: list[tuple[bytes, int]] = field(default_factory=list)
    broken_files: list[tuple[int]] = field(default_factory=list)
    damaged_labels: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _SpaceFacts:
    collection_id: int
    where: str
    source: str | None
    embeds: bool
    dimension: int


def find_damage(snapshot: Snapshot) -> Damage:
    """Read everything and compare it with its checksums and hashes."""
    damage = Damage()
    with _any_text(snapshot):
        known = _spaces(snapshot)
        _small_tables(snapshot, damage)
        _vectors(snapshot, known, damage)
        _records(snapshot, known, damage)
        _blobs(snapshot, damage)
    return damage


def mend_references(transaction: Snapshot, damage: Damage) -> None:
    """Say again who needs what: before what nobody needs is removed."""
    transaction.write_many(
        "INSERT INTO blob_references (blob_hash, record_key) SELECT hash, ?2 FROM blobs WHERE hash = ?1",
        damage.blob_references,
    )
    transaction.write_many(
        "UPDATE record_vectors SET label = ? WHERE record_key = ? AND space_id = ?", damage.labels
    )
    log_changes(transaction, [key for _, key, _ in damage.labels])


def mend_damage(transaction: Snapshot, damage: Damage) -> None:
    """Mend what the rest of its row says rightly, and drop what can be made anew."""
    transaction.write_many("UPDATE records SET content_hash = ? WHERE key = ?", damage.content_hashes)
    transaction.write_many("UPDATE OR IGNORE vectors SET hash = ? WHERE label = ?", damage.vector_hashes)
    transaction.write_many("DELETE FROM index_files WHERE generation = ?", damage.broken_files)
    _forget_damaged_cache(transaction)


@contextmanager
def _any_text(snapshot: Snapshot) -> Iterator[None]:
    """Text that is no UTF-8 any more is read as well; it fits no checksum."""
    usual = snapshot.driver.text_factory
    snapshot.driver.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        snapshot.driver.text_factory = usual


def _fits(check: Callable[[], bool]) -> bool:
    """What a damaged column makes impossible to compute does not fit."""
    try:
        return check()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
        return False


def _spaces(snapshot: Snapshot) -> dict[int, _SpaceFacts]:
    rows = snapshot.rows(
        "SELECT spaces.id, collection_id, collections.name, spaces.name, source, embedder, dimension "
        "FROM spaces JOIN collections ON collections.id = collection_id"
    )
    return {
        key: _SpaceFacts(owner, f"collection {name!r}, space {space!r}", source, embedder is not None, dimension)
        for key, owner, name, space, source, embedder, dimension in rows
        if type(dimension) is int  # else its collection cannot be opened, which is said
    }


def _pages(snapshot: Snapshot, sql: str) -> Iterator[list[Any]]:
    """Rows in order of their key, the first column; `sql` has one place for the key to begin after.

    Ends where keys do not rise, which a damaged file can have, and SQLite's own check reports.
    """
    after = -(2**63)
    while (rows := snapshot.rows(f"{sql} LIMIT {_STRIDE}", (after,))) and rows[-1][0] > after:
        yield rows
        after = rows[-1][0]


# --- each table ---------------------------------------------------------------------------------


def _small_tables(snapshot: Snapshot, damage: Damage) -> None:
    for table, column, advice in (
        (collections, "name", RESTORE),
        (spaces, "name", RESTORE),
        (failures, "id", "delete it (`vecdb delete ID`)"),
        (index_files, "name", FIX),
    ):
        rows = snapshot.rows_of(table)
        broken = [row for row in rows if not is_sealed(table, row)]
        damage.findings += counted(f"table {table.name}", "a row was changed", [row[column] for row in broken], advice)
        if table is index_files:
            damage.broken_files += [(row["generation"],) for row in broken]
    damage.findings += counted("rows", "a remembered vector is damaged", _damaged_cache(snapshot), FIX)


def _damaged_cache(snapshot: Snapshot) -> list[int]:
    sql = (
        "SELECT key, checksum, fingerprint, metric, probe, source_hash, truncated, data "
        "FROM embedding_cache JOIN embedding_origins ON id = origin_id WHERE key > ? ORDER BY key"
    )
    pages = _pages(snapshot, sql)
    return [row[0] for rows in pages for row in rows if not is_as_remembered(*row[1:])]


def _forget_damaged_cache(transaction: Snapshot) -> None:
    gone = [(key,) for key in _damaged_cache(transaction)]
    transaction.write_many("DELETE FROM embedding_cache WHERE key = ?", gone)


def _vectors(snapshot: Snapshot, known: dict[int, _SpaceFacts], damage: Damage) -> None:
    sql = "SELECT label, space_id, hash, checksum, data FROM vectors WHERE label > ? ORDER BY label"
    for rows in _pages(snapshot, sql):
        for label, space_id, digest, crc, data in rows:
            space = known.get(space_id)
            if space is None:
                continue  # said by the references
            is_blob = isinstance(data, bytes) and 4 * space.dimension == len(data)
            right_hash, right_crc = (vector_hash(data), checksum(data, label)) if is_blob else (b"", -1)
            if is_blob and right_hash == digest and right_crc == crc:
                continue
            what = f"the vector with label {label} is damaged"
            advice = FIX
            if is_blob and right_crc == crc:
                damage.vector_hashes.append((right_hash, label))
            else:
                damage.damaged_labels.add(label)
                advice = FIX if space.embeds else "its record must be added again, with its vector"
            damage.findings.append(Finding(space.where, what, "", advice))


def _records(snapshot: Snapshot, known: dict[int, _SpaceFacts], damage: Damage) -> None:
    names = dict(snapshot.rows("SELECT id, name FROM collections"))
    by_collection: dict[int, list[tuple[int, _SpaceFacts]]] = {}
    for key, space in known.items():
        by_collection.setdefault(space.collection_id, []).append((key, space))
    sql = (
        "SELECT key, collection_id, id, kind, content, content_hash, vector_count, metadata, content_checksum, "
        "metadata_checksum FROM records WHERE key > ? ORDER BY key"
    )
    for rows in _pages(snapshot, sql):
        links = _links(snapshot, rows[0][0], rows[-1][0], known, damage)
        linked = Counter(key for key, _ in links)
        references = set(
            snapshot.rows(
                "SELECT record_key, blob_hash FROM blob_references WHERE record_key BETWEEN ? AND ?",
                (rows[0][0], rows[-1][0]),
            )
        )
        for key, owner, id, kind, content, digest, vector_count, metadata, of_content, of_metadata in rows:
            where, shown = f"collection {names.get(owner, owner)!r}", f"{id!r:.60}"
            is_sound = _fits(lambda: metadata_checksum(key, metadata) == of_metadata)  # noqa: B023  (called at once)
            if not is_sound or json_object(metadata) is None:  # a checksum made by a stranger is right
                advice = "give it its metadata again (update_metadata), or delete it"
                damage.findings.append(Finding(where, f"the metadata of record {shown} is damaged", "", advice))
            columns = key, owner, id, kind, content, vector_count
            is_sound = _fits(lambda: content_checksum(*columns) == of_content)  # noqa: B023
            is_typed = type(id) is str and type(vector_count) is int  # a checksum made by a stranger is right
            if not is_sound or not is_typed or not is_readable(kind, content):
                damage.findings.append(Finding(where, f"the record {shown} is damaged", "", ADD_AGAIN))
                continue
            if content_hash(kind, content) != digest:
                damage.content_hashes.append((content_hash(kind, content), key))
                damage.findings.append(Finding(where, f"the hash of record {shown} is damaged", "", FIX))
            for missing in blob_hashes(kind, content) - {blob for one, blob in references if one == key}:
                damage.blob_references.append((missing, key))
                damage.findings.append(Finding(where, f"bytes of record {shown} are not marked as needed", "", FIX))
            sources = source_hashes(kind, content)
            embedding = [(n, space) for n, space in by_collection.get(owner, ()) if _embeds(space, sources)]
            brought = linked[key] - sum((key, n) in links for n, _ in embedding)
            if brought < vector_count - len(embedding):
                what = f"the record {shown} lost a vector that it brought"
                damage.findings.append(Finding(where, what, "", ADD_AGAIN))
            for space_id, space in embedding:
                link = links.get((key, space_id))
                if link is None or link.source_hash != sources[space.source]:
                    damage.to_embed.add((space_id, key))
                    state = "lost its vector" if link is None else "has the vector of another content"
                    damage.findings.append(Finding(space.where, f"the record {shown} {state}", "", FIX))
                elif not link.is_sound or link.label in damage.damaged_labels:
                    damage.to_embed.add((space_id, key))


def _embeds(space: _SpaceFacts, sources: Mapping[str | None, bytes]) -> bool:
    return space.embeds and space.source in sources


@dataclass(frozen=True, slots=True)
class _Link:
    label: int
    source_hash: bytes | None
    is_sound: bool


def _links(
    snapshot: Snapshot, first: int, last: int, known: dict[int, _SpaceFacts], damage: Damage
) -> dict[tuple[int, int], _Link]:
    found = {}
    for key, space_id, label, source_hash, truncated, crc in snapshot.rows(
        "SELECT record_key, space_id, label, source_hash, truncated, checksum FROM record_vectors "
        "WHERE record_key BETWEEN ? AND ?",
        (first, last),
    ):
        row = key, space_id, label, source_hash, truncated
        is_sound = _fits(lambda: link_checksum(*row) == crc)  # noqa: B023  (called at once)
        found[key, space_id] = _Link(label, source_hash, is_sound)
        space = known.get(space_id)
        if not is_sound and space is not None:
            what = f"which vector record number {key} has is damaged"
            mendable = space.embeds
            for orphan in _orphans(snapshot, space_id):
                if _fits(lambda: link_checksum(key, space_id, orphan, source_hash, truncated) == crc):  # noqa: B023
                    damage.labels.append((orphan, key, space_id))
                    mendable = True
            damage.findings.append(Finding(space.where, what, "", FIX if mendable else ADD_AGAIN))
    return found


def _orphans(snapshot: Snapshot, space_id: int) -> list[int]:
    """Labels that no record has: one of them is what a damaged link meant, perhaps."""
    sql = (
        "SELECT label FROM vectors WHERE space_id = ? "
        "AND NOT EXISTS (SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)"
    )
    return [label for (label,) in snapshot.rows(sql, (space_id,))]


def _blobs(snapshot: Snapshot, damage: Damage) -> None:
    damaged = []
    after: bytes = b""
    sql = "SELECT hash, data FROM blobs WHERE hash > ? ORDER BY hash LIMIT 16"
    while (rows := snapshot.rows(sql, (after,))) and type(rows[-1][0]) is bytes and rows[-1][0] > after:
        damaged += [digest for digest, data in rows if not blob_fits(digest, data)]
        after = rows[-1][0]
    # Those that nobody needs are found by the references, and go.
    users = [id for digest in damaged for id in _users(snapshot, digest)]
    damage.findings += counted("table blobs", "stored bytes are damaged, of record", users, ADD_AGAIN)


def _users(snapshot: Snapshot, digest: bytes) -> list[str]:
    rows = snapshot.rows(
        "SELECT coalesce(records.id, failures.id) FROM blob_references LEFT JOIN records ON record_key = records.key "
        "LEFT JOIN failures ON failure_key = failures.key WHERE blob_hash = ?",
        (digest,),
    )
    return [id for (id,) in rows if id is not None]
