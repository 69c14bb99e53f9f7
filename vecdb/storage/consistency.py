"""Whether the rows fit one another: what SQLite says, references, sequences, watermarks; and mending it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.findings import FIX, RESTORE, Finding, counted
from vecdb.storage.stored_values import LARGEST_SEQUENCE
from vecdb.storage.tables import metadata

# Only what an embedder made can be made again, so only such a link may go.
_EMBEDDED = "space_id IN (SELECT id FROM spaces WHERE embedder IS NOT NULL)"
_ORPHAN = "NOT EXISTS (SELECT 1 FROM record_vectors WHERE record_vectors.label = vectors.label)"
_SEQUENCE = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{}'), 0)"
_COUNTED = {"records": "key", "vectors": "label", "removals": "sequence", "record_changes": "sequence"}
_LABELS, _REMOVALS = _SEQUENCE.format("vectors"), _SEQUENCE.format("removals")
_CHANGES = _SEQUENCE.format("record_changes")
_NO_COUNT = LARGEST_SEQUENCE // 2  # nobody counted so far, and there must be room to go on


@dataclass(frozen=True, slots=True)
class _Rule:
    """A query that must find nothing, and the statements that mend what it finds, if there is one right answer."""

    kind: str
    query: str
    mends: tuple[str, ...] = ()
    advice: str = RESTORE

    def look(self, snapshot: Snapshot) -> list[Finding]:
        rows = [row[0] for row in snapshot.rows(self.query)]
        return counted("rows", self.kind, rows, FIX if self.mends else self.advice)


def _deleting(table: str, condition: str) -> tuple[str, str]:
    return f"SELECT rowid FROM {table} WHERE {condition}", f"DELETE FROM {table} WHERE {condition}"


def _dangling(kind: str, table: str, condition: str) -> _Rule:
    query, mend = _deleting(table, condition)
    return _Rule(kind, query, (mend,))


# What knows the records reads them anew: for after changes that are not logged one by one.
_FORGET_CHANGES = (
    "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'record_changes'",
    "DELETE FROM record_changes",
    f"UPDATE collections SET last_change = {_CHANGES}, change_floor = {_CHANGES}",
)
_NO_ORIGIN = "origin_id NOT IN (SELECT id FROM embedding_origins)"
_NO_COLLECTION = "collection_id NOT IN (SELECT id FROM collections)"
_NO_SPACE = "space_id NOT IN (SELECT id FROM spaces)"
# In this order: what an earlier rule mends may be what a later one looks at; the last one mends in any case, as
# the others may have changed records. Nothing of this comes from a
# crash, only from damage: every transaction leaves all of it right.
_RULES = (
    _Rule(
        "a record refers to a vector that is not there",
        "SELECT record_key FROM record_vectors WHERE label NOT IN (SELECT label FROM vectors)",
        (f"DELETE FROM record_vectors WHERE label NOT IN (SELECT label FROM vectors) AND {_EMBEDDED}",),
    ),
    _Rule(
        "a record's vector is of another space",
        "SELECT record_key FROM record_vectors JOIN vectors USING (label) "
        "WHERE record_vectors.space_id != vectors.space_id",
        (
            "DELETE FROM record_vectors WHERE space_id != "
            f"(SELECT space_id FROM vectors WHERE vectors.label = record_vectors.label) AND {_EMBEDDED}",
        ),
    ),
    _Rule(
        "a vector of a record that is not there",
        "SELECT record_key FROM record_vectors WHERE record_key NOT IN (SELECT key FROM records)",
        ("DELETE FROM record_vectors WHERE record_key NOT IN (SELECT key FROM records)",),
    ),
    _Rule(
        "a record's vector is in a space of another collection",
        "SELECT record_key FROM record_vectors JOIN records ON key = record_key JOIN spaces ON spaces.id = space_id "
        "WHERE spaces.collection_id != records.collection_id",
    ),
    _Rule(
        "a vector belongs to no record",
        f"SELECT label FROM vectors WHERE {_ORPHAN}",
        (
            f"INSERT INTO removals (space_id, label) SELECT space_id, label FROM vectors WHERE {_ORPHAN}",
            f"DELETE FROM vectors WHERE {_ORPHAN}",
            f"UPDATE spaces SET last_removal = {_REMOVALS}",
        ),
    ),
    _Rule(
        "a collection has no space",
        "SELECT name FROM collections WHERE NOT EXISTS (SELECT 1 FROM spaces WHERE collection_id = collections.id)",
    ),
    _Rule(
        "metadata is not a JSON object",
        "SELECT id FROM records WHERE NOT json_valid(metadata) OR json_type(metadata) != 'object'",
        advice="give the record its metadata again (update_metadata), or restore a backup",
    ),
    _Rule(
        "the log of removals names a vector that is there",
        "SELECT label FROM removals JOIN vectors USING (label)",
        ("DELETE FROM removals WHERE label IN (SELECT label FROM vectors)",),
    ),
    _Rule(
        "stored bytes belong to nobody",
        "SELECT hex(hash) FROM blobs WHERE NOT EXISTS (SELECT 1 FROM blob_references WHERE blob_hash = hash)",
        ("DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM blob_references WHERE blob_hash = hash)",),
    ),
    _dangling(
        "a reference to stored bytes from nobody",
        "blob_references",
        "coalesce(record_key NOT IN (SELECT key FROM records), 1) "
        "AND coalesce(failure_key NOT IN (SELECT key FROM failures), 1)",
    ),
    _dangling("a removal of a space that is not there", "removals", _NO_SPACE),
    _dangling("a change in a collection that is not there", "record_changes", _NO_COLLECTION),
    _dangling("an index file of a space that is not there", "index_files", _NO_SPACE),
    _dangling("a remembered vector of unknown origin", "embedding_cache", _NO_ORIGIN),
    _Rule(
        "the next label is one that was given out",
        f"SELECT name FROM spaces WHERE last_label > {_LABELS} OR {_LABELS} < (SELECT max(label) FROM vectors)",
        (
            f"UPDATE spaces SET last_label = coalesce((SELECT max(label) FROM vectors WHERE space_id = spaces.id), 0) "
            f"WHERE last_label > {LARGEST_SEQUENCE}",
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'vectors', 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'vectors')",
            "UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT max(label) FROM vectors), 0), "
            "coalesce((SELECT max(last_label) FROM spaces), 0)) WHERE name = 'vectors'",
        ),
    ),
    _Rule(
        "the next removal is one that was",
        f"SELECT name FROM spaces WHERE last_removal > {_REMOVALS} "
        f"OR {_REMOVALS} < (SELECT max(sequence) FROM removals)",
        (
            "UPDATE spaces SET last_removal = coalesce((SELECT max(sequence) FROM removals "
            f"WHERE space_id = spaces.id), 0) WHERE last_removal > {LARGEST_SEQUENCE}",
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'removals', 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'removals')",
            "UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT max(sequence) FROM removals), 0), "
            "coalesce((SELECT max(last_removal) FROM spaces), 0)) WHERE name = 'removals'",
        ),
    ),
    _Rule(
        "the next record's key is one that was given out",
        f"SELECT max(key) FROM records HAVING max(key) > {_SEQUENCE.format('records')}",
        (
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'records', 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'records')",
            "UPDATE sqlite_sequence SET seq = (SELECT max(key) FROM records) WHERE name = 'records'",
        ),
    ),
    _Rule(
        "the next change of a record is one that was",
        f"SELECT name FROM collections WHERE last_change > {_CHANGES} "
        f"OR {_CHANGES} < (SELECT max(sequence) FROM record_changes)",
        (
            f"DELETE FROM record_changes WHERE sequence > {LARGEST_SEQUENCE}",
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'record_changes', 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'record_changes')",
            "UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT max(sequence) FROM record_changes), 0), "
            f"coalesce((SELECT max(last_change) FROM collections WHERE last_change <= {LARGEST_SEQUENCE}), 0)) "
            "WHERE name = 'record_changes'",
        ),
    ),
    _Rule(
        "a sequence is at its end",
        f"SELECT name FROM sqlite_sequence WHERE seq > {_NO_COUNT} OR typeof(seq) != 'integer'",
        tuple(
            f"UPDATE sqlite_sequence SET seq = coalesce((SELECT max({key}) FROM {table}), 0) "
            f"WHERE name = '{table}' AND (seq > {_NO_COUNT} OR typeof(seq) != 'integer')"
            for table, key in _COUNTED.items()
        ),
    ),
    _Rule(
        "a space is behind its own vectors",
        "SELECT name FROM spaces WHERE last_label < (SELECT max(label) FROM vectors WHERE space_id = spaces.id)",
        (
            "UPDATE spaces SET last_label = max(last_label, coalesce("
            "(SELECT max(label) FROM vectors WHERE space_id = spaces.id), 0))",
        ),
    ),
    _Rule(
        "a space is behind its own removals",
        "SELECT name FROM spaces WHERE removal_floor > last_removal OR last_removal < "
        "(SELECT max(sequence) FROM removals WHERE space_id = spaces.id)",
        (
            "UPDATE spaces SET last_removal = max(last_removal, coalesce("
            "(SELECT max(sequence) FROM removals WHERE space_id = spaces.id), 0))",
            # An index that cannot follow the log compares itself with the rows.
            "UPDATE spaces SET removal_floor = last_removal WHERE removal_floor > last_removal",
        ),
    ),
    _Rule(
        "a collection is behind its own changes",
        "SELECT name FROM collections WHERE typeof(last_change) != 'integer' OR typeof(change_floor) != 'integer' "
        "OR last_change < 0 OR change_floor < 0 OR change_floor > last_change OR last_change < "
        "(SELECT max(sequence) FROM record_changes WHERE collection_id = collections.id)",
        _FORGET_CHANGES,
    ),
)
_MENDED_REFERENCES = {
    ("record_vectors", "vectors"),
    ("record_vectors", "records"),
    ("removals", "spaces"),
    ("record_changes", "collections"),
    ("index_files", "spaces"),
    ("embedding_cache", "embedding_origins"),
    ("blob_references", "records"),
    ("blob_references", "failures"),
}


def check_rows(snapshot: Snapshot) -> list[Finding]:
    """What SQLite itself and the relations between the rows say."""
    messages = [message for (message,) in snapshot.rows("PRAGMA integrity_check(20)") if message != "ok"]
    found = [Finding("database file", message, "", FIX if "index" in message else RESTORE) for message in messages]
    missing = _missing_indexes(snapshot)
    found += [Finding("database file", f"the index {name!r} is missing", "", FIX) for name in missing]
    for table, row, parent, _ in snapshot.rows("PRAGMA foreign_key_check"):
        advice = FIX if (table, parent) in _MENDED_REFERENCES else RESTORE
        found.append(Finding(f"table {table}", f"row {row} refers to a missing row of {parent}", "", advice))
    return found + [finding for rule in _RULES for finding in rule.look(snapshot)]


def mend_rows(engine: DatabaseEngine) -> None:
    """Mend what `check_rows` can find and what has one right answer."""
    with engine.snapshot() as snapshot:
        missing = _missing_indexes(snapshot)
        broken = any("index" in message for (message,) in snapshot.rows("PRAGMA integrity_check(20)"))
    with engine.transaction() as transaction:
        for table in metadata.tables.values():
            for index in table.indexes:
                if index.name in missing:
                    index.create(transaction.connection)
        for rule in _RULES:
            for statement in rule.mends:
                transaction.driver.execute(statement)
    if broken:
        with engine.transaction() as transaction:
            try:
                transaction.driver.execute("REINDEX")
                for statement in _FORGET_CHANGES:  # by a broken index, records may have been overlooked
                    transaction.driver.execute(statement)
            except sqlite3.IntegrityError:
                return  # two rows where there must be one: which of them is right, only a backup tells


def _missing_indexes(snapshot: Snapshot) -> list[str]:
    there = {name for (name,) in snapshot.rows("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    wanted = [str(index.name) for table in metadata.tables.values() for index in table.indexes]
    return sorted(set(wanted) - there)


def counts(snapshot: Snapshot) -> tuple[int, int, int]:
    """Number of collections, records and distinct vectors."""
    (found,) = snapshot.rows(
        "SELECT (SELECT count(*) FROM collections), (SELECT count(*) FROM records), (SELECT count(*) FROM vectors)"
    )
    return found[0], found[1], found[2]
