"""Index files: loading the one that fits the rows, writing a new one and making it known.

A file is written under a temporary name, checked, synced and renamed, and only then named in the
manifest, in one transaction that refuses to put an older file over a newer one. Whatever does not
fit its manifest row is not loaded.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecdb.errors import DiskFullError, StorageError
from vecdb.index.hnsw import HnswIndex
from vecdb.index.hnsw_file import unreachable_in
from vecdb.index.labels import distinct
from vecdb.storage.durable import sync_folder
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.lock import claim, is_abandoned
from vecdb.storage.manifest import (
    IndexFile,
    checksums,
    file_sha256,
    forget_generations,
    index_file,
    index_folder,
    new_name,
    publish,
    published,
    published_names,
    this_platform,
)
from vecdb.storage.spaces import SpaceRow, SpaceState, space_state
from vecdb.types import Labels


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A graph from a file, and which changes of its space it covers.

    `stranded`: labels that the graph cannot find, taken out of it.
    """

    graph: HnswIndex
    last_label: int
    last_removal: int
    stranded: tuple[int, ...]


def load_newest(
    folder: Path, snapshot: Snapshot, space: SpaceRow, state: SpaceState
) -> tuple[LoadedGraph | None, dict[int, str]]:
    """The newest published graph that fits, or None; and what is wrong with newer ones, by their generation."""
    problems: dict[int, str] = {}
    for row in published(snapshot, space.id):
        try:
            file = index_file(row)
            return _load(index_folder(folder) / file.name, file, space, state), problems
        except (StorageError, OSError) as error:
            problems[row["generation"]] = str(error)
    return None, problems


def _load(path: Path, file: IndexFile, space: SpaceRow, state: SpaceState) -> LoadedGraph:
    if (file.platform, file.dimension, file.metric) != (this_platform(), space.dimension, space.metric):
        raise StorageError(f"{file.name} was made for another platform or space")
    if file.last_removal > state.last_removal or file.last_label > state.last_label:
        raise StorageError(f"{file.name} is of another time than the rows")
    if not path.is_file() or path.is_symlink():
        raise StorageError(f"{file.name} is missing")
    if path.stat().st_size != file.size:
        raise StorageError(f"{file.name} was changed")
    try:
        graph = HnswIndex.load(
            path,
            dimension=space.dimension,
            metric=space.metric,
            M=file.M,
            ef_construction=file.ef_construction,
            count=file.count,
            sha256=file.sha256,
            ef=space.index_options.get("ef", file.ef),
            threads=os.cpu_count() or 1,
        )
    except StorageError as error:  # of what does not fit, this says most
        if file_sha256(path) != file.sha256:
            raise StorageError(f"{file.name} was changed") from error
        raise
    graph.remove(np.array(file.unreachable, np.int64))
    return LoadedGraph(graph, file.last_label, file.last_removal, file.unreachable)


def damaged_files(folder: Path, snapshot: Snapshot) -> list[str]:
    """Names of published files that are not as they were published."""
    return [name for name, size, sha256 in checksums(snapshot) if not _is_intact(folder, name, size, sha256)]


def _is_intact(folder: Path, name: str, size: int, sha256: str) -> bool:
    try:
        path = index_folder(folder) / name
        return not path.is_symlink() and path.is_file() and path.stat().st_size == size and file_sha256(path) == sha256
    except (OSError, StorageError):
        return False


class GraphFile:
    """A graph written to a temporary file, not published yet. A context manager that leaves no such file.

    Raises:
        StorageError: it could not be written whole.
    """

    def __init__(self, engine: DatabaseEngine, space: SpaceRow) -> None:
        self._engine = engine
        self._space = space
        self._folder = index_folder(engine.folder)
        self._name = new_name(space.id)
        self._temporary = self._folder / f"{self._name}.tmp"

    def __enter__(self) -> GraphFile:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._temporary.open("xb").close()
            self._claim = claim(self._temporary)  # or others would take it for one that was left behind
        except OSError as error:
            raise _write_error(self._folder, error) from error
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):  # then it is removed when the database is opened again
            self._temporary.unlink(missing_ok=True)
        os.close(self._claim)

    def save(self, graph: HnswIndex) -> None:
        """Write the graph; nobody may change it meanwhile."""
        graph.save(self._temporary)

    def publish(
        self,
        graph: HnswIndex,
        *,
        count: int,
        stranded: Labels,
        last_label: int,
        last_removal: int,
        instead_of: Iterable[int],
    ) -> Labels | None:
        """Make the saved file the newest one.

        Args:
            graph: what was saved; may have grown since.
            count: its nodes at that time, tombstones included.
            stranded: labels that were taken out of it because it could not find them.
            last_label, last_removal: the changes that the file covers.
            instead_of: generations of files that were found not to fit.

        Returns:
            The labels in it that a search cannot reach; None if a newer file was published meanwhile,
            or the space is gone.
        """
        try:
            unreachable = unreachable_in(self._temporary, dimension=self._space.dimension, M=graph.M)
            file = IndexFile(
                space_id=self._space.id,
                name=self._name,
                size=self._temporary.stat().st_size,
                sha256=file_sha256(self._temporary),
                last_label=last_label,
                last_removal=last_removal,
                count=count,
                dimension=self._space.dimension,
                metric=self._space.metric,
                M=graph.M,
                ef_construction=graph.ef_construction,
                ef=graph.ef,
                platform=this_platform(),
                unreachable=tuple(distinct(np.concatenate([stranded, unreachable])).tolist()),
            )
            with self._engine.transaction() as transaction:
                forget_generations(transaction, instead_of)
                if space_state(transaction, self._space.id) is None or not publish(transaction, file):
                    return None
                self._temporary.rename(self._folder / self._name)
                sync_folder(self._folder)
            remove_stray_files(self._engine)
        except OSError as error:
            raise _write_error(self._folder, error) from error
        return unreachable


def _write_error(folder: Path, error: OSError) -> StorageError:
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
    return kind(f"cannot write an index file in {folder}: {error.strerror}; free some space, check its permissions")


def remove_stray_files(engine: DatabaseEngine) -> None:
    """Remove index files that the manifest does not name: of deleted collections, older ones, half written ones.

    Where one cannot be removed, it stays until the next time.
    """
    with engine.exclusive(), engine.snapshot() as snapshot:
        known = published_names(snapshot)
        for path in _entries(engine.folder):
            if path.name in known or path.is_dir():
                continue
            with contextlib.suppress(OSError):
                if path.is_symlink() or path.suffix != ".tmp" or is_abandoned(path):
                    path.unlink()


def remove_leftovers(engine: DatabaseEngine) -> None:
    """What a killed process left of index files; unless somebody is writing now, who will see to it."""
    stray = {path.name for path in _entries(engine.folder)}
    if not stray or not engine.writer_lock.is_free():
        return
    with engine.snapshot() as snapshot:
        stray -= published_names(snapshot)
    if stray:
        with contextlib.suppress(StorageError):
            remove_stray_files(engine)


def _entries(folder: Path) -> list[Path]:
    """What lies in the folder of indexes; nothing where that is a link: what is there belongs to somebody else."""
    try:
        return list(index_folder(folder).iterdir())
    except (OSError, StorageError):
        return []
