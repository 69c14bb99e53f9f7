"""How connections to a database file begin, and what they are set to.

SQLAlchemy's default engine for SQLite loses updates (it begins transactions late and deferred), so the driver is put
in autocommit mode and the `begin` event says BEGIN, or BEGIN IMMEDIATE for writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Literal

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

Durability = Literal["full", "normal"]

CHECKPOINT_BYTES = 64 * 1024 * 1024
_CACHE_KIB = 8 * 1024  # of pages for each connection; four times as many gain nothing beside the cache of the system


def beginning_with(begin: str | None, connect: Callable[[], sqlite3.Connection]) -> Engine:
    """An engine whose transactions begin with `begin`, on autocommitting connections made by `connect`."""
    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=NullPool)

    if begin is not None:

        def on_begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        event.listen(engine, "begin", on_begin)
    return engine


def configure(connection: sqlite3.Connection, durability: Durability) -> None:
    """The settings that every connection needs."""
    for pragma, value in {
        "synchronous": "FULL" if durability == "full" else "NORMAL",
        "foreign_keys": "ON",
        "trusted_schema": "OFF",
        "cell_size_check": "ON",
        "wal_autocheckpoint": 0,
        "journal_size_limit": CHECKPOINT_BYTES,
        "cache_size": -_CACHE_KIB,
        "temp_store": "MEMORY",
    }.items():
        connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
