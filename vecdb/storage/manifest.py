"""The manifest of index files: what was published, and that it is the very file (SHA-256)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select

from vecdb.errors import CorruptDatabaseError, StorageError
from vecdb.storage.checksums import is_sealed, seal
from vecdb.storage.engine import Snapshot
from vecdb.storage.stored_values import (
    INDEX_LIMITS,
    MAX_INTEGER,
    as_integer,
    as_integers,
    as_json_array,
    as_one_of,
    as_text,
)
from vecdb.storage.tables import index_files
from vecdb.types import METRICS
from vecdb.vectors import MAX_DIMENSION

INDEX_FOLDER = "index"
KEPT_GENERATIONS = 2
_NAME = re.compile(r"[0-9]{1,19}-[0-9a-f]{32}\.hnsw")
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


def new_name(space_id: int) -> str:
    """A name for an index file that no other has."""
    return f"{space_id}-{uuid.uuid4().hex}.hnsw"


def is_index_name(name: Any) -> bool:
    """Whether a stored value is a name as `new_name` makes it: never a path."""
    return type(name) is str and _NAME.fullmatch(name) is not None


def index_folder(folder: Path) -> Path:
    """Where the index files of the database in `folder` lie.

    Raises:
        StorageError: it leads elsewhere. In a stranger's database it may be a link to somebody's files.
    """
    found = folder / INDEX_FOLDER
    if os.path.realpath(found) != os.path.join(os.path.realpath(folder), INDEX_FOLDER):  # noqa: PTH118
        raise StorageError(f"{found} is a link to another place; remove it, and a folder is made in its place")
    return found


def published(snapshot: Snapshot, space_id: int) -> list[dict[str, Any]]:
    """The rows of the index files of a space, newest first; read each with `index_file`."""
    return snapshot.rows_of(index_files, "WHERE space_id = ? ORDER BY generation DESC", (space_id,))


def index_file(row: Mapping[str, Any]) -> IndexFile:
    """A row of the manifest, each value checked: a stranger may have written it.

    Raises:
        CorruptDatabaseError: it is not as it was published, or names no index file.
    """
    if not is_sealed(index_files, row):
        raise CorruptDatabaseError(f"the manifest's row of {row['name']!r:.60} was changed")
    name = row["name"]
    if not is_index_name(name):
        raise CorruptDatabaseError(f"{name!r:.60} is not the name of an index file; run `vecdb reindex`")

    def number(column: str, lowest: int, highest: int = MAX_INTEGER) -> int:
        return as_integer(row[column], lowest, highest, what=f"{column} of the index file {name}")

    M, count = number("M", *INDEX_LIMITS["M"]), number("count", 0)
    unreachable = as_json_array(row["unreachable"], what=f"the unreachable labels of {name}")
    if len(unreachable) > count:
        raise CorruptDatabaseError(f"{name} has more unreachable labels than vectors; run `vecdb reindex`")
    return IndexFile(
        space_id=row["space_id"],
        name=name,
        size=number("size", 0),
        sha256=as_text(row["sha256"], what=f"the checksum of {name}"),
        last_label=number("last_label", 0),
        last_removal=number("last_removal", 0),
        count=count,
        dimension=number("dimension", 1, MAX_DIMENSION),
        metric=as_one_of(row["metric"], METRICS, what=f"the metric of {name}"),
        M=M,
        ef_construction=number("ef_construction", *INDEX_LIMITS["ef_construction"]),
        ef=number("ef", *INDEX_LIMITS["ef"]),
        platform=as_text(row["platform"], what=f"the platform of {name}"),
        unreachable=tuple(as_integers(unreachable, what=f"the unreachable labels of {name}").tolist()),
    )


def publish(transaction: Snapshot, file: IndexFile) -> bool:
    """Make `file` the newest one, unless a newer one was published meanwhile; keep one generation back."""
    current = published(transaction, file.space_id)
    with contextlib.suppress(CorruptDatabaseError):
        newest = index_file(current[0]) if current else file
        if newest.last_label > file.last_label or newest.last_removal > file.last_removal:
            return False
    values = {**asdict(file), "unreachable": json.dumps(file.unreachable, separators=(",", ":"))}
    values["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    seal(transaction, index_files, transaction.insert(index_files, values))
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
    """(name, size, SHA-256) of all published files; what else a stranger wrote there is none."""
    rows = snapshot.rows("SELECT name, size, sha256 FROM index_files")
    return [(name, size, sha256) for name, size, sha256 in rows if is_index_name(name)]


def forget(transaction: Snapshot, names: Iterable[str]) -> None:
    """Take index files out of the manifest, by their names."""
    transaction.execute(delete(index_files).where(index_files.c.name.in_(list(names))))


def forget_generations(transaction: Snapshot, generations: Iterable[int]) -> None:
    """The same, by their generations."""
    transaction.execute(delete(index_files).where(index_files.c.generation.in_(list(generations))))


def published_names(snapshot: Snapshot) -> set[str]:
    """Names of all index files that the manifest knows."""
    return {name for name, _, _ in checksums(snapshot)}
