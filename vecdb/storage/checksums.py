"""Checksums of rows: SQLite does not notice a flipped bit in a value, or a row that lost its place.

Each is CRC-32 (ISO 3309) over the columns that say what a row means and where it belongs. NUL cannot
stand in stored text, so it separates. Vectors have a checksum of their bytes (`vecdb.vectors.checksum`).
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table

from vecdb.storage.engine import Snapshot

_LINK = struct.Struct("<qqqq")
# Watermarks change with every write; `consistency` compares them with what they count.
_NOT_SEALED = {"checksum", "last_label", "last_removal", "removal_floor", "last_change", "change_floor"}


def content_checksum(  # noqa: PLR0917  (the columns, in their order)
    key: int, collection_id: int, id: str, kind: int, content: str | None, vector_count: int
) -> int:
    """Of a record's id and content, where they belong, and how many vectors it has."""
    return zlib.crc32(f"{key}\0{collection_id}\0{id}\0{kind}\0{vector_count}\0{content}".encode())


def metadata_checksum(key: int, metadata: str) -> int:
    """Of a record's metadata, apart from its content: one changes without the other."""
    return zlib.crc32(f"{key}\0{metadata}".encode())


def link_checksum(record_key: int, space_id: int, label: int, source_hash: bytes | None, truncated: int) -> int:
    """Of the row that says which vector a record has."""
    return zlib.crc32(_LINK.pack(record_key, space_id, label, truncated) + (source_hash or b""))


# --- rows of small tables -----------------------------------------------------------------------


def seal(transaction: Snapshot, table: Table, key: int) -> None:
    """Give a row, by its key, the checksum of what it holds now."""
    columns, identity = ", ".join(_sealed(table)), next(iter(table.primary_key)).name
    (row,) = transaction.rows(f"SELECT {columns} FROM {table.name} WHERE {identity} = ?", (key,))
    transaction.driver.execute(
        f"UPDATE {table.name} SET checksum = ? WHERE {identity} = ?", (row_checksum(*row), key)
    )


def is_sealed(table: Table, row: Mapping[str, Any]) -> bool:
    """Whether a row (all columns by name) is as it was when it was sealed."""
    return bool(row["checksum"] == row_checksum(*(row[name] for name in _sealed(table))))


def row_checksum(*values: Any) -> int:
    """Of the columns (text, numbers, bytes, None) of a row, in their order."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


@functools.cache
def _sealed(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in _NOT_SEALED]
