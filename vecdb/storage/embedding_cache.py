"""Nothing is embedded twice: the vectors of contents that are stored, or were and are deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vecdb.storage.engine import Snapshot
from vecdb.vectors import checksum

# Vectors of deleted contents, the newest; more would make a churning database grow without end.
KEPT = 100_000
_AT_ONCE = 500


class KnownVector(NamedTuple):
    """The bytes of a vector, and whether it is of the content's beginning only."""

    data: bytes
    truncated: bool


def known_vectors(
    snapshot: Snapshot, fingerprint: str, metric: str, hashes: Iterable[bytes]
) -> dict[bytes, KnownVector]:
    """The vectors of contents that were embedded before, by source hash.

    Any space of the database counts whose vectors are comparable: the same fingerprint, and the
    same metric, because vectors for cosine are stored with length 1. A damaged vector is not handed on.
    """
    found: dict[bytes, KnownVector] = {}
    wanted = list(hashes)
    spaces = snapshot.rows("SELECT id FROM spaces WHERE fingerprint = ? AND metric = ?", (fingerprint, metric))
    for (space_id,) in spaces:
        _look_up(
            snapshot,
            "SELECT source_hash, data, checksum, truncated FROM record_vectors JOIN vectors USING (label) "
            "WHERE record_vectors.space_id = ?",
            (space_id,),
            wanted,
            found,
        )
    deleted = "SELECT source_hash, data, checksum, truncated FROM embedding_cache WHERE fingerprint = ? AND metric = ?"
    _look_up(snapshot, deleted, (fingerprint, metric), [digest for digest in wanted if digest not in found], found)
    return found


def _look_up(
    snapshot: Snapshot,
    sql: str,
    parameters: Sequence[object],
    wanted: Sequence[bytes],
    found: dict[bytes, KnownVector],
) -> None:
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        rows = snapshot.rows(f"{sql} AND source_hash IN ({','.join('?' * len(part))})", (*parameters, *part))
        found.update((digest, KnownVector(data, bool(cut))) for digest, data, crc, cut in rows if checksum(data) == crc)


_REMEMBER = """
    INSERT OR REPLACE INTO embedding_cache (fingerprint, metric, source_hash, truncated, checksum, data)
    SELECT fingerprint, metric, source_hash, truncated, checksum, data
    FROM record_vectors JOIN vectors USING (label) JOIN spaces ON spaces.id = record_vectors.space_id
    WHERE source_hash IS NOT NULL AND fingerprint IS NOT NULL AND """


def remember_records(transaction: Snapshot, keys: Sequence[int]) -> None:
    """Keep the embedded vectors of records that are about to lose them."""
    condition = "record_key IN (SELECT value FROM json_each(?)) ORDER BY record_key"
    transaction.driver.execute(_REMEMBER + condition, (json.dumps(list(keys)),))
    _prune(transaction)


def remember_collection(transaction: Snapshot, collection_id: int) -> None:
    """The same for a whole collection, its newest records."""
    condition = (
        "record_key IN (SELECT key FROM records WHERE collection_id = ? ORDER BY key DESC LIMIT ?) ORDER BY record_key"
    )
    transaction.driver.execute(_REMEMBER + condition, (collection_id, KEPT))
    _prune(transaction)


def _prune(transaction: Snapshot) -> None:
    transaction.driver.execute(
        "DELETE FROM embedding_cache WHERE key <= (SELECT max(key) FROM embedding_cache) - ?", (KEPT,)
    )
