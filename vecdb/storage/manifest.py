"""The manifest of index files: what was published, and that it is the very file (SHA-256)."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select

from vecdb.storage.engine import Snapshot
from vecdb.storage.tables import index_files

KEPT_GENERATIONS = 2
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A published index file: which changes of the space it covers, and what it must look like.

    `ef`: what a search needs for the promised recall. `unreachable`: labels that the graph
    holds but cannot find; they are searched exactly.
    """

    space_id: int
    name: str
    size: int
    sha256: str
    last_label: int
    last_removal: int
    count: int
    dimension: int
    metric: str
    M: int
    ef_construction: int
    ef: int
    platform: str
    unreachable: tuple[int, ...]


def this_platform() -> str:
    """What decides the layout of an index file: a file of another one is not loaded."""
    return f"{platform.machine()}-{sys.byteorder}-endian-{sys.maxsize.bit_length() + 1}-bit"


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def published(snapshot: Snapshot, space_id: int) -> list[IndexFile]:
    """The index files of a space, newest first."""
    rows = snapshot.execute(
        select(index_files).where(index_files.c.space_id == space_id).order_by(index_files.c.generation.desc())
    ).mappings()
    return [_index_file(row) for row in rows]


def _index_file(row: RowMapping) -> IndexFile:
    values: dict[str, Any] = {name: row[name] for name in IndexFile.__dataclass_fields__}
    return IndexFile(**{**values, "unreachable": tuple(json.loads(row["unreachable"]))})


def publish(transaction: Snapshot, file: IndexFile) -> bool:
    """Make `file` the newest one, unless a newer one was published meanwhile; keep one generation back."""
    current = published(transaction, file.space_id)
    if current and (current[0].last_label > file.last_label or current[0].last_removal > file.last_removal):
        return False
    row = {**asdict(file), "unreachable": json.dumps(file.unreachable)}
    row["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    transaction.execute(insert(index_files).values(**row))
    for old in current[KEPT_GENERATIONS - 1 :]:
        transaction.execute(delete(index_files).where(index_files.c.name == old.name))
    return True


def withdraw(transaction: Snapshot, space_id: int) -> None:
    """Forget all index files of a space."""
    transaction.execute(delete(index_files).where(index_files.c.space_id == space_id))


def published_names(snapshot: Snapshot) -> set[str]:
    """Names of all index files that the manifest knows."""
    return set(snapshot.execute(select(index_files.c.name)).scalars())
