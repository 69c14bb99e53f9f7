"""The manifest of index files: what was published, and that it is the very file (SHA-256)."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select

from vecdb.errors import CorruptDatabaseError
from vecdb.storage.checksums import is_sealed, seal
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


def published(snapshot: Snapshot, space_id: int) -> list[RowMapping]:
    """The rows of the index files of a space, newest first; read each with `index_file`."""
    newest_first = index_files.c.generation.desc()
    query = select(index_files).where(index_files.c.space_id == space_id).order_by(newest_first)
    return list(snapshot.execute(query).mappings())


def index_file(row: RowMapping) -> IndexFile:
    """A row of the manifest.

    Raises:
        CorruptDatabaseError: it is not as it was published.
    """
    if not is_sealed(index_files, row):
        raise CorruptDatabaseError(f"the manifest's row of {row['name']!r:.60} was changed")
    values: dict[str, Any] = {name: row[name] for name in IndexFile.__dataclass_fields__}
    return IndexFile(**{**values, "unreachable": tuple(json.loads(row["unreachable"]))})


def publish(transaction: Snapshot, file: IndexFile) -> bool:
    """Make `file` the newest one, unless a newer one was published meanwhile; keep one generation back."""
    current = published(transaction, file.space_id)
    for row in filter(partial(is_sealed, index_files), current[:1]):
        if row["last_label"] > file.last_label or row["last_removal"] > file.last_removal:
            return False
    values = {**asdict(file), "unreachable": json.dumps(file.unreachable)}
    values["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    result = transaction.execute(insert(index_files).values(**values))
    seal(transaction, index_files, int(result.inserted_primary_key[0]))  # type: ignore[index]
    for old in current[KEPT_GENERATIONS - 1 :]:
        transaction.execute(delete(index_files).where(index_files.c.generation == old["generation"]))
    return True


def drop_older_generations(transaction: Snapshot) -> None:
    """Keep the newest file of each space only: an older one holds vectors that are deleted."""
    newest = select(func.max(index_files.c.generation)).group_by(index_files.c.space_id)
    transaction.execute(delete(index_files).where(index_files.c.generation.not_in(newest)))


def withdraw(transaction: Snapshot, space_id: int) -> None:
    """Forget all index files of a space."""
    transaction.execute(delete(index_files).where(index_files.c.space_id == space_id))


def checksums(snapshot: Snapshot) -> list[tuple[str, int, str]]:
    """(name, size, SHA-256) of all published files."""
    return snapshot.rows("SELECT name, size, sha256 FROM index_files")


def forget(transaction: Snapshot, names: Iterable[str]) -> None:
    """Take index files out of the manifest, by their names."""
    transaction.execute(delete(index_files).where(index_files.c.name.in_(list(names))))


def published_names(snapshot: Snapshot) -> set[str]:
    """Names of all index files that the manifest knows."""
    return set(snapshot.execute(select(index_files.c.name)).scalars())
