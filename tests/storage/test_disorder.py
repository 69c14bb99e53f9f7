"""Keys out of order in a damaged file: reading page after page ends, with an error or a report."""

from __future__ import annotations

import signal
import sqlite3
import struct
import warnings
from contextlib import closing, contextmanager

import numpy as np
import pytest

import vecdb

RECORDS = 3000
TABLES = ["records", "vectors", "record_vectors"]


@contextmanager
def seconds(count):
    """Raise where something goes on for ever."""

    def end(*_):
        raise TimeoutError(f"more than {count} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(count)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def turn_leaves(file, table):
    """Turn round the order of the cells in some leaves of a table, so that keys fall where they should rise."""
    with closing(sqlite3.connect(file)) as connection:
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        [(size,)] = connection.execute("PRAGMA page_size").fetchall()
    data = bytearray(file.read_bytes())
    start = (root - 1) * size
    children = [root]
    if data[start] in (2, 5):  # an inner page: a cell begins with the number of the page that it leads to
        count = struct.unpack_from(">H", data, start + 3)[0]
        cells = struct.unpack_from(f">{count}H", data, start + 12)
        children = [struct.unpack_from(">I", data, start + cell)[0] for cell in cells]
        children.append(struct.unpack_from(">I", data, start + 8)[0])
    for page in children[::2] + children[-1:]:
        place = (page - 1) * size
        assert data[place] in (10, 13)
        count = struct.unpack_from(">H", data, place + 3)[0]
        cells = struct.unpack_from(f">{count}H", data, place + 8)
        struct.pack_into(f">{count}H", data, place + 8, *reversed(cells))
    file.write_bytes(data)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="an endless loop is ended by a signal that Windows has not")
@pytest.mark.parametrize("table", TABLES)
def test_reading_and_checking_end(table, tmp_path):
    folder = tmp_path / "disorder.vecdb"
    with vecdb.open(folder) as database:
        found = database.create_collection("found", dimension=4, metric="l2", index="exact")
        found.add([None] * RECORDS, vectors=np.arange(4.0 * RECORDS).reshape(RECORDS, 4))
    turn_leaves(folder / "vecdb.sqlite3", table)
    with seconds(60), _warnings_apart(), vecdb.open(folder) as database:
        found = database.collection("found")
        calls = [
            lambda: list(found),
            lambda: found.search([0.0] * 4, k=3),
            database.check,
            lambda: database.check(fix=True),
        ]
        outcomes = [_outcome(call) for call in calls]
    report = outcomes[2]
    assert isinstance(report, vecdb.CorruptDatabaseError) or not report


@contextmanager
def _warnings_apart():

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vecdb.VecdbWarning)
        yield


def _outcome(call):
    try:
        return call()
    except vecdb.VecdbError as error:
        return error
