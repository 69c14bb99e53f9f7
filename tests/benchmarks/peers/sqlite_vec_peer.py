"""sqlite-vec: a virtual table of SQLite, always exact."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import sqlite_vec

from tests.benchmarks.peers.base import Hit, Metadata, Peer, Vector

try:
    import pysqlite3 as sqlite3  # Python's own sqlite3 may be built without loadable extensions
except ImportError:
    import sqlite3

FIELDS = ("year", "tag", "price")


class SqliteVecPeer(Peer):
    """A connection for each thread, as SQLite wants it."""

    packages = ("sqlite-vec",)
    knob = None

    def _connect(self) -> Any:
        connection = sqlite3.connect(str(self.file), isolation_level=None, check_same_thread=False)
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        connection.enable_load_extension(False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA mmap_size=4000000000")
        return connection

    def open(self, folder: Path, dimension: int) -> None:
        self.file = folder / "records.sqlite3"
        self.local = threading.local()

    def create(self, folder: Path, dimension: int) -> None:
        self.open(folder, dimension)
        self._connection().execute(
            f"CREATE VIRTUAL TABLE records USING vec0(id INTEGER PRIMARY KEY, vector FLOAT[{dimension}] "
            "distance_metric=cosine, year INTEGER, tag TEXT, price FLOAT, +document TEXT)"
        )

    def _connection(self) -> Any:
        if not hasattr(self.local, "connection"):
            self.local.connection = self._connect()
        return self.local.connection

    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        rows = zip(ids, documents, metadata, vectors, strict=True)
        connection = self._connection()
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO records(id, document, year, tag, price, vector) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (id, document, *(fields[field] for field in FIELDS), vector.tobytes())
                for id, document, fields, vector in rows
            ],
        )
        connection.execute("COMMIT")

    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        statement = "SELECT id, document, year, tag, price, distance FROM records WHERE vector MATCH ? AND k = ?"
        values: tuple[object, ...] = (query.tobytes(), k)
        if below is not None:
            statement, values = f"{statement} AND price < ?", (*values, below)
        found = self._connection().execute(statement, values)
        return [Hit(row[0], row[1], dict(zip(FIELDS, row[2:5], strict=True))) for row in found]

    def close(self) -> None:
        self._connection().close()
        del self.local
