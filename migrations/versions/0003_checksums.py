"""Checksums of rows, so that what changed by itself is noticed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_AT_ONCE = 10_000
_LINK = struct.Struct("<qqqq")
_ROWS = {
    "collections": "id, name, created_at",
    "spaces": "id, collection_id, name, source, embedder, options, fingerprint, probe, environment, weights, "
    "dimension, metric, index_kind, index_options",
    "failures": "key, collection_id, id, kind, content, metadata, error, retryable, created_at",
}


def upgrade() -> None:
    """Add the columns and fill them from what is stored now; index files are made anew from the rows."""
    for table in ("collections", "spaces", "record_vectors", "failures", "index_files"):
        _add(table, "checksum")
    _add("records", "vector_count")
    _add("records", "content_checksum")
    _add("records", "metadata_checksum")
    for table, columns in _ROWS.items():
        key = columns.partition(",")[0]
        update, select = f"UPDATE {table} SET checksum = ? WHERE {key} = ?", f"SELECT {columns} FROM {table}"  # noqa: S608
        _fill(update, select, _row)
    op.execute(
        "UPDATE records SET vector_count = (SELECT count(*) FROM record_vectors WHERE record_key = records.key)"
    )
    _fill(
        "UPDATE records SET content_checksum = ?, metadata_checksum = ? WHERE key = ?",
        "SELECT key, collection_id, id, kind, content, vector_count, metadata FROM records",
        _record,
    )
    _fill(
        "UPDATE record_vectors SET checksum = ? WHERE record_key = ? AND space_id = ?",
        "SELECT record_key, space_id, label, source_hash, truncated FROM record_vectors",
        _link,
    )
    _fill("UPDATE vectors SET checksum = ? WHERE label = ?", "SELECT label, checksum, data FROM vectors", _vector)
    # These are caches.
    for table in ("index_files", "embedding_cache", "embedding_origins"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608


def _add(table: str, column: str) -> None:
    op.add_column(table, sa.Column(column, sa.Integer, nullable=False, server_default=sa.text("0")))


def _fill(update: str, select: str, values: Callable[..., tuple[int, ...]]) -> None:
    connection = op.get_bind()
    rows = connection.exec_driver_sql(select)
    while batch := rows.fetchmany(_AT_ONCE):
        connection.exec_driver_sql(update, [values(*row) for row in batch])


# The formulas of vecdb/storage/checksums.py as they are in this version.


def _row(key: int, *values: Any) -> tuple[int, ...]:
    return zlib.crc32(repr((key, *values)).encode("utf-8", "surrogatepass")), key


def _record(*row: Any) -> tuple[int, ...]:
    key, collection_id, id, kind, content, vector_count, metadata = row
    of_content = zlib.crc32(f"{key}\0{collection_id}\0{id}\0{kind}\0{vector_count}\0{content}".encode())
    return of_content, zlib.crc32(f"{key}\0{metadata}".encode()), key


def _vector(label: int, checksum: int, data: bytes) -> tuple[int, ...]:
    """One that was damaged before stays so."""
    return zlib.crc32(data, label & 0xFFFFFFFF) ^ zlib.crc32(data) ^ checksum, label


def _link(record_key: int, space_id: int, label: int, source_hash: bytes | None, truncated: int) -> tuple[int, ...]:
    found = zlib.crc32(_LINK.pack(record_key, space_id, label, truncated) + (source_hash or b""))
    return found, record_key, space_id
