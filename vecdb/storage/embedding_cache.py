"""Nothing is embedded twice: the vectors of contents that are stored, or were and are deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vecdb.storage.checksums import row_checksum
from vecdb.storage.engine import Snapshot
from vecdb.storage.in_lists import in_lists
from vecdb.vectors import checksum

# The vectors of so many deletions, the last ones; more would make a churning database grow without end.
KEPT = 100_000

_SPACES = "SELECT id, coalesce(probe, x'') FROM spaces WHERE fingerprint = ? AND metric = ?"
_STORED = """
    SELECT vectors.checksum, source_hash, truncated, data, label FROM record_vectors JOIN vectors USING (label)
    WHERE record_vectors.space_id = ?"""
_ORIGINS = "SELECT id, probe FROM embedding_origins WHERE fingerprint = ? AND metric = ?"
_DELETED = "SELECT checksum, source_hash, truncated, data FROM embedding_cache WHERE origin_id = ?"


class KnownVector(NamedTuple):
    """The bytes of a vector, and whether it is of the content's beginning only."""

    data: bytes
    truncated: bool


def known_vectors(
    snapshot: Snapshot, fingerprint: str, metric: str, hashes: Iterable[bytes], *, comparable: Callable[[bytes], bool]
) -> dict[bytes, KnownVector]:
    """The vectors of contents that were embedded before, by source hash.

    Any space of the database counts, also a deleted one, whose vectors are comparable: the same
    fingerprint; a probe that is `comparable`, because a library or a device may give other vectors
    under one fingerprint; and the same metric, because vectors for cosine are stored with length 1.
    A damaged vector is not handed on.
    """
    found: dict[bytes, KnownVector] = {}
    wanted = list(hashes)
    for key, probe in snapshot.rows(_SPACES, (fingerprint, metric)):
        if comparable(probe):
            for crc, digest, cut, data, label in _look_up(snapshot, _STORED, key, wanted, found):
                if _is_sound(data, label, crc):
                    found[digest] = KnownVector(data, bool(cut))
    for key, probe in snapshot.rows(_ORIGINS, (fingerprint, metric)):
        if comparable(probe):
            for crc, digest, cut, data in _look_up(snapshot, _DELETED, key, wanted, found):
                if is_as_remembered(crc, fingerprint, metric, probe, digest, cut, data):
                    found[digest] = KnownVector(data, bool(cut))
    return found


def _look_up(
    snapshot: Snapshot, sql: str, key: int, wanted: Sequence[bytes], found: Mapping[bytes, KnownVector]
) -> list[Any]:
    """Rows of those contents whose vector is not found yet."""
    rows: list[Any] = []
    left = [digest for digest in wanted if digest not in found]
    for placeholders, part in in_lists(left):
        rows += snapshot.rows(f"{sql} AND source_hash IN {placeholders}", (key, *part))
    return rows


def _is_sound(data: object, label: int, crc: object) -> bool:
    return type(data) is bytes and checksum(data, label) == crc


def is_as_remembered(crc: object, *row: object) -> bool:
    """Whether `crc` is that of a remembered vector: fingerprint, metric, probe, source hash, truncated, data."""
    return crc == row_checksum(*row)


_PUT_ORIGINS = """
    INSERT OR IGNORE INTO embedding_origins (fingerprint, metric, probe)
    SELECT fingerprint, metric, coalesce(probe, x'') FROM spaces WHERE fingerprint IS NOT NULL"""
_REMEMBER = """
    WITH origins (space_id, origin_id) AS MATERIALIZED (
        SELECT spaces.id, embedding_origins.id FROM spaces JOIN embedding_origins USING (fingerprint, metric)
        WHERE embedding_origins.probe = coalesce(spaces.probe, x''))
    INSERT OR REPLACE INTO embedding_cache (origin_id, source_hash, truncated, checksum, data)
    SELECT origin_id, source_hash, truncated,
        row_checksum(fingerprint, metric, coalesce(probe, x''), source_hash, truncated, data), data
    FROM record_vectors JOIN vectors USING (label) JOIN origins ON origins.space_id = record_vectors.space_id
    JOIN spaces ON spaces.id = record_vectors.space_id
    WHERE source_hash IS NOT NULL AND is_sound(data, label, vectors.checksum) AND """


def remember_records(transaction: Snapshot, keys: Sequence[int]) -> None:
    """Keep the embedded vectors of records that are about to lose them."""
    condition = "record_key IN (SELECT value FROM json_each(?)) ORDER BY record_key"
    _remember(transaction, condition, (json.dumps(list(keys)),))


def remember_collection(transaction: Snapshot, collection_id: int) -> None:
    """The same for a whole collection, its newest records."""
    condition = (
        "record_key IN (SELECT key FROM records WHERE collection_id = ? ORDER BY key DESC LIMIT ?) ORDER BY record_key"
    )
    _remember(transaction, condition, (collection_id, KEPT))


def _remember(transaction: Snapshot, condition: str, parameters: Sequence[object]) -> None:
    transaction.driver.create_function("row_checksum", -1, row_checksum, deterministic=True)
    transaction.driver.create_function("is_sound", 3, _is_sound, deterministic=True)
    transaction.driver.execute(_PUT_ORIGINS)
    transaction.driver.execute(_REMEMBER + condition, parameters)
    transaction.driver.execute(
        "DELETE FROM embedding_cache WHERE key <= (SELECT max(key) FROM embedding_cache) - ?", (KEPT,)
    )
