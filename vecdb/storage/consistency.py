"""Finding what is inconsistent in the rows, and mending what can be mended."""

from __future__ import annotations

from dataclasses import dataclass

from vecdb.storage.engine import Snapshot
from vecdb.types import Problem
from vecdb.vectors import checksum, vector_hash

_STRIDE = 4096

# What each query finds must not exist. Orphans come from damage only: every write removes its own.
_MUST_BE_EMPTY = {
    "a vector belongs to no record": (
        "SELECT label FROM vectors WHERE NOT EXISTS "
        "(SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)"
    ),
    "a record's vector is of another space": (
        "SELECT record_key FROM record_vectors JOIN vectors USING (label) "
        "WHERE record_vectors.space_id != vectors.space_id"
    ),
    "a record's vector is in a space of another collection": (
        "SELECT record_key FROM record_vectors JOIN records ON key = record_key JOIN spaces ON spaces.id = space_id "
        "WHERE spaces.collection_id != records.collection_id"
    ),
    "a record has no vector in any space": (
        "SELECT id FROM records WHERE NOT EXISTS (SELECT 1 FROM record_vectors WHERE record_key = key)"
    ),
    "metadata is not a JSON object": (
        "SELECT id FROM records WHERE NOT json_valid(metadata) OR json_type(metadata) != 'object'"
    ),
    "the log of removals names a vector that is there": "SELECT label FROM removals JOIN vectors USING (label)",
    "a space is behind its own vectors": (
        "SELECT name FROM spaces WHERE last_label < (SELECT max(label) FROM vectors WHERE space_id = spaces.id)"
    ),
    "stored bytes belong to nobody": (
        "SELECT hex(hash) FROM blobs WHERE NOT EXISTS (SELECT 1 FROM blob_references WHERE blob_hash = hash)"
    ),
}
_MENDS = {
    "a vector belongs to no record": (
        "INSERT INTO removals (space_id, label) SELECT space_id, label FROM vectors WHERE NOT EXISTS "
        "(SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)",
        "DELETE FROM vectors WHERE NOT EXISTS "
        "(SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)",
        "UPDATE spaces SET last_removal = (SELECT seq FROM sqlite_sequence WHERE name = 'removals')",
    ),
    "a space is behind its own vectors": (
        "UPDATE spaces SET last_label = max(last_label, coalesce("
        "(SELECT max(label) FROM vectors WHERE space_id = spaces.id), 0))",
    ),
    "the log of removals names a vector that is there": (
        "DELETE FROM removals WHERE label IN (SELECT label FROM vectors)",
    ),
    "stored bytes belong to nobody": (
        "DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM blob_references WHERE blob_hash = hash)",
    ),
}
_RESTORE = "restore a backup"


@dataclass(frozen=True, slots=True)
class DamagedVector:
    """A vector whose bytes do not fit their checksum."""

    label: int
    space_id: int


def check_rows(snapshot: Snapshot) -> list[Problem]:
    """What SQLite itself and the relations between the rows say."""
    found = [
        Problem("database file", message, advice=_RESTORE)
        for (message,) in snapshot.rows("PRAGMA integrity_check(20)")
        if message != "ok"
    ]
    found += [
        Problem(f"table {table}", f"row {row} refers to a missing row of {parent}", advice=_RESTORE)
        for table, row, parent, _ in snapshot.rows("PRAGMA foreign_key_check")
    ]
    for what, query in _MUST_BE_EMPTY.items():
        rows = snapshot.rows(f"{query} LIMIT 20")
        if rows:
            advice = "run `vecdb check --fix`" if what in _MENDS else _RESTORE
            found.append(Problem("rows", f"{what} ({len(rows)} found, first: {rows[0][0]})", advice=advice))
    return found


def mend_rows(transaction: Snapshot) -> None:
    """Mend what `check_rows` can find and what has one right answer."""
    for statements in _MENDS.values():
        for statement in statements:
            transaction.driver.execute(statement)


def damaged_vectors(snapshot: Snapshot) -> list[DamagedVector]:
    """Every vector whose bytes do not fit their checksum, hash or dimension."""
    damaged: list[DamagedVector] = []
    after = 0
    while rows := snapshot.rows(
        "SELECT label, space_id, hash, checksum, data, dimension FROM vectors JOIN spaces ON spaces.id = space_id "
        "WHERE label > ? ORDER BY label LIMIT ?",
        (after, _STRIDE),
    ):
        for label, space_id, digest, crc, data, dimension in rows:
            if len(data) != 4 * dimension or checksum(data) != crc or vector_hash(data) != digest:
                damaged.append(DamagedVector(label, space_id))
        after = rows[-1][0]
    return damaged


def counts(snapshot: Snapshot) -> tuple[int, int, int]:
    """Number of collections, records and distinct vectors."""
    (found,) = snapshot.rows(
        "SELECT (SELECT count(*) FROM collections), (SELECT count(*) FROM records), (SELECT count(*) FROM vectors)"
    )
    return found[0], found[1], found[2]
