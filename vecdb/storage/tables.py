"""The tables. What each row means is said here once; `migrations/` makes the same ones."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()


def _id_column(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=True)


def _checksum_column(name: str = "checksum") -> Column[int]:
    """See checksums.py; 0 only while a migration adds the column."""
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _reference(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, ForeignKey(target, ondelete="CASCADE"), nullable=nullable)


# Facts about the database: its random id, who made it and when.
properties = Table(
    "properties",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# last_change: the newest change of a record that was there before (see record_changes); what knows older
# records takes the changes in. change_floor: changes up to here are forgotten; what is older must be loaded anew.
# checksum: of everything but these two.
collections = Table(
    "collections",
    metadata,
    _id_column("id"),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Text, nullable=False),
    _checksum_column(),
    Column("last_change", Integer, nullable=False, server_default=text("0")),
    Column("change_floor", Integer, nullable=False, server_default=text("0")),
    sqlite_autoincrement=True,
)

# last_label, last_removal: the newest change of the space; an index compares them with its own.
# removal_floor: removals up to here are forgotten; an index that is older must be loaded anew.
# checksum: of everything but these three.
spaces = Table(
    "spaces",
    metadata,
    _id_column("id"),
    _reference("collection_id", "collections.id"),
    Column("name", Text, nullable=False),
    Column("source", Text),
    Column("embedder", Text),
    Column("options", Text, nullable=False),
    Column("fingerprint", Text),
    Column("probe", LargeBinary),
    Column("environment", Text),
    Column("weights", Text),
    Column("dimension", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("index_kind", Text, nullable=False),
    Column("index_options", Text, nullable=False),
    Column("last_label", Integer, nullable=False, server_default=text("0")),
    Column("last_removal", Integer, nullable=False, server_default=text("0")),
    Column("removal_floor", Integer, nullable=False, server_default=text("0")),
    _checksum_column(),
    UniqueConstraint("collection_id", "name"),
    sqlite_autoincrement=True,
)

# kind: 0 nothing, 1 text, 2 JSON that describes files, images, sounds and fields (see contents.py).
# vector_count: in how many spaces it has a vector.
# A key is never reused, and keeps its place when the record is replaced: it is the insertion order.
records = Table(
    "records",
    metadata,
    _id_column("key"),
    _reference("collection_id", "collections.id"),
    Column("id", Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("content", Text),
    Column("content_hash", LargeBinary, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("vector_count", Integer, nullable=False, server_default=text("0")),
    _checksum_column("content_checksum"),
    _checksum_column("metadata_checksum"),
    UniqueConstraint("collection_id", "id"),
    sqlite_autoincrement=True,
)

# Which records changed, in order: replaced, with other metadata, with another vector, deleted. New records
# are not named here: their keys rise.
record_changes = Table(
    "record_changes",
    metadata,
    _id_column("sequence"),
    _reference("collection_id", "collections.id"),
    Column("record_key", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("record_changes_by_collection", record_changes.c.collection_id)

# One row for each distinct vector of a space: identical vectors would destroy an HNSW graph.
# A label is never reused and its vector never changes.
vectors = Table(
    "vectors",
    metadata,
    _id_column("label"),
    _reference("space_id", "spaces.id"),
    Column("hash", LargeBinary, nullable=False),
    Column("checksum", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("space_id", "hash"),
    sqlite_autoincrement=True,
)
Index("vectors_by_space", vectors.c.space_id)

# Which vector a record has in a space. source_hash: of the content that was embedded, so that equal
# content is embedded once; NULL where the caller brought the vector. truncated: 1 where it is of the
# content's beginning only.
record_vectors = Table(
    "record_vectors",
    metadata,
    Column("record_key", Integer, ForeignKey("records.key", ondelete="CASCADE"), primary_key=True),
    Column("space_id", Integer, ForeignKey("spaces.id", ondelete="CASCADE"), primary_key=True),
    Column("label", Integer, ForeignKey("vectors.label"), nullable=False),
    Column("source_hash", LargeBinary),
    Column("truncated", Integer, nullable=False, server_default=text("0")),
    _checksum_column(),
    sqlite_with_rowid=False,
)
Index("record_vectors_by_label", record_vectors.c.label)
Index(
    "record_vectors_by_source",
    record_vectors.c.space_id,
    record_vectors.c.source_hash,
    sqlite_where=record_vectors.c.source_hash.is_not(None),
)

# What made the vectors of the cache, as their space said it; the space itself may be deleted.
embedding_origins = Table(
    "embedding_origins",
    metadata,
    _id_column("id"),
    Column("fingerprint", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("probe", LargeBinary, nullable=False),
    UniqueConstraint("fingerprint", "metric", "probe"),
    sqlite_autoincrement=True,
)

# Vectors of contents that no record has any more, newest last: what comes back is not embedded again.
embedding_cache = Table(
    "embedding_cache",
    metadata,
    _id_column("key"),
    _reference("origin_id", "embedding_origins.id"),
    Column("source_hash", LargeBinary, nullable=False),
    Column("truncated", Integer, nullable=False),
    Column("checksum", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("origin_id", "source_hash"),
    sqlite_autoincrement=True,
)

# What an index must forget, in order.
removals = Table(
    "removals",
    metadata,
    _id_column("sequence"),
    _reference("space_id", "spaces.id"),
    Column("label", Integer, nullable=False),
    sqlite_autoincrement=True,
)
Index("removals_by_space", removals.c.space_id)

# Bytes of images, sounds and copied files, each stored once.
blobs = Table(
    "blobs",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

failures = Table(
    "failures",
    metadata,
    _id_column("key"),
    _reference("collection_id", "collections.id"),
    Column("id", Text, nullable=False),
    Column("kind", Integer),
    Column("content", Text),
    Column("metadata", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("retryable", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    _checksum_column(),
    sqlite_autoincrement=True,
)
Index("failures_by_collection", failures.c.collection_id)

# Who still needs a blob: a record, or a failure.
blob_references = Table(
    "blob_references",
    metadata,
    _id_column("key"),
    Column("blob_hash", LargeBinary, ForeignKey("blobs.hash"), nullable=False),
    _reference("record_key", "records.key", nullable=True),
    _reference("failure_key", "failures.key", nullable=True),
)
Index("blob_references_by_blob", blob_references.c.blob_hash)
Index("blob_references_by_record", blob_references.c.record_key)
Index("blob_references_by_failure", blob_references.c.failure_key)

# Published index files, newest last; a file that does not fit its row is not loaded.
index_files = Table(
    "index_files",
    metadata,
    _id_column("generation"),
    _reference("space_id", "spaces.id"),
    Column("name", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("last_label", Integer, nullable=False),
    Column("last_removal", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("M", Integer, nullable=False),
    Column("ef_construction", Integer, nullable=False),
    Column("ef", Integer, nullable=False),
    Column("platform", Text, nullable=False),
    Column("unreachable", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    _checksum_column(),
    sqlite_autoincrement=True,
)
Index("index_files_by_space", index_files.c.space_id)
