"""The first schema. What each row means is said in vecdb/storage/tables.py."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables on an empty database."""
    op.create_table(
        "properties",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "collections",
        _key("id"),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    _make_spaces()
    _make_records_and_vectors()
    _make_contents_and_failures()
    _make_index_files()


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=True)


def _owner(name: str, target: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, sa.ForeignKey(target, ondelete="CASCADE"), nullable=nullable)


def _make_spaces() -> None:
    op.create_table(
        "spaces",
        _key("id"),
        _owner("collection_id", "collections.id"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("embedder", sa.Text),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text),
        sa.Column("probe", sa.LargeBinary),
        sa.Column("environment", sa.Text),
        sa.Column("weights", sa.Text),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("index_kind", sa.Text, nullable=False),
        sa.Column("index_options", sa.Text, nullable=False),
        sa.Column("last_label", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("last_removal", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("removal_floor", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.UniqueConstraint("collection_id", "name"),
        sqlite_autoincrement=True,
    )


def _make_records_and_vectors() -> None:
    op.create_table(
        "records",
        _key("key"),
        _owner("collection_id", "collections.id"),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("content", sa.Text),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.UniqueConstraint("collection_id", "id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vectors",
        _key("label"),
        _owner("space_id", "spaces.id"),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("checksum", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("space_id", "hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("vectors_by_space", "vectors", ["space_id"])
    op.create_table(
        "record_vectors",
        sa.Column("record_key", sa.Integer, sa.ForeignKey("records.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("space_id", sa.Integer, sa.ForeignKey("spaces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("label", sa.Integer, sa.ForeignKey("vectors.label"), nullable=False),
        sa.Column("source_hash", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_index("record_vectors_by_label", "record_vectors", ["label"])
    op.create_index(
        "record_vectors_by_source",
        "record_vectors",
        ["space_id", "source_hash"],
        sqlite_where=sa.text("source_hash IS NOT NULL"),
    )
    op.create_table(
        "removals",
        _key("sequence"),
        _owner("space_id", "spaces.id"),
        sa.Column("label", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("removals_by_space", "removals", ["space_id"])


def _make_contents_and_failures() -> None:
    op.create_table(
        "blobs",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "failures",
        _key("key"),
        _owner("collection_id", "collections.id"),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Integer),
        sa.Column("content", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("retryable", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("failures_by_collection", "failures", ["collection_id"])
    op.create_table(
        "blob_references",
        _key("key"),
        sa.Column("blob_hash", sa.LargeBinary, sa.ForeignKey("blobs.hash"), nullable=False),
        _owner("record_key", "records.key", nullable=True),
        _owner("failure_key", "failures.key", nullable=True),
    )
    op.create_index("blob_references_by_blob", "blob_references", ["blob_hash"])
    op.create_index("blob_references_by_record", "blob_references", ["record_key"])
    op.create_index("blob_references_by_failure", "blob_references", ["failure_key"])


def _make_index_files() -> None:
    op.create_table(
        "index_files",
        _key("generation"),
        _owner("space_id", "spaces.id"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("last_label", sa.Integer, nullable=False),
        sa.Column("last_removal", sa.Integer, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("M", sa.Integer, nullable=False),
        sa.Column("ef_construction", sa.Integer, nullable=False),
        sa.Column("ef", sa.Integer, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("unreachable", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("index_files_by_space", "index_files", ["space_id"])
