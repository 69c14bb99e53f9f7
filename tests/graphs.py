"""A collection with a graph, and what must be true of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np

import vecdb

DIMENSION = 8
COUNT = 300


def vectors(count=COUNT, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def make(folder, count=COUNT, *, kind="hnsw"):
    """A closed database with one collection, whose graph is saved."""
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", dimension=DIMENSION, metric="l2", index=kind)
        collection.add([None] * count, ids=[str(n) for n in range(count)], vectors=vectors(count))
        collection.optimize()


def index_files(folder):
    return sorted((folder / "index").glob("*.hnsw"))


def manifest(folder):
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
        return connection.execute(
            "SELECT name, last_label, last_removal FROM index_files ORDER BY generation"
        ).fetchall()


def assert_right(collection, *, live=range(COUNT), rows=None):
    """The index has exactly the vectors of the rows, and finds each by itself."""
    rows = vectors() if rows is None else rows
    live = list(live)
    index = collection._space("default").index
    assert index.differences() == ([], [])
    found = collection.search_batch(rows[live], k=1, exact=True)
    assert [hits[0].id for hits in found] == [str(n) for n in live]
    found = collection.search_batch(rows[live], k=1, ef=300)
    assert [hits[0].id for hits in found] == [str(n) for n in live]
    assert len(collection.search(rows[0], k=10 * COUNT)) == collection.count()
