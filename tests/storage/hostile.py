"""Databases as a stranger could make them: any value in any column, with checksums that are right."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import numpy as np
from sqlalchemy import Integer

import vecdb
from tests.storage.embedders import plugins_for_tests
from vecdb.storage.checksums import content_checksum, link_checksum, metadata_checksum, row_checksum
from vecdb.storage.engine import DATABASE_FILE
from vecdb.storage.tables import metadata
from vecdb.vectors import checksum

WATERMARKS = ("last_label", "last_removal", "removal_floor", "last_change", "change_floor")
WHERE = {"n": {"$gte": 1}}
QUERIES = {"texts": "one", "graph": [1.0, 2, 3, 4], "pictures": vecdb.Image(b"picture"), "good": [1.0, 2.0]}


def make(folder):
    """A database with something in every table."""
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        texts = database.create_collection("texts", embedder="counting")
        texts.add(["one", "two", "three"], ids=list("abc"), metadata=[{"n": 1}, {"n": 2}, {}])
        texts.add(["gone"], ids=["gone"])
        texts.delete(["gone"])
        texts.ingest([vecdb.Record("f", "unreadable", {"n": 1})], on_error="quarantine")
        graph = database.create_collection("graph", dimension=4, index="hnsw", metric="l2")
        graph.add([None] * 60, vectors=np.random.default_rng(0).standard_normal((60, 4)))
        graph.optimize()
        spaces = {"default": {"embedder": "bytes", "source": "picture"}, "brought": {"dimension": 2}}
        pictures = database.create_collection("pictures", spaces=spaces)
        content = {"picture": vecdb.Image(b"picture"), "title": "a text"}
        pictures.add([content], ids=["p"], vectors={"brought": [[1, 2]]})
        database.create_collection("good", dimension=2).add(["sound"], ids=["g"], vectors=[[1, 2]])
    return folder


def plant(folder, table, column, value, where="1"):
    """Write a value into a column of one row, whatever its declared type, and make the checksums right."""
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        execute = connection.execute

        def define(sql):
            execute("UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?", (sql, table))
            (version,) = execute("PRAGMA schema_version").fetchone()
            execute(f"PRAGMA schema_version = {version + 1}")

        execute("PRAGMA writable_schema = ON")
        (sql,) = execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)).fetchone()
        keys = [c.name for c in metadata.tables[table].primary_key]
        key = ", ".join(keys)
        if keys != [column] or not isinstance(metadata.tables[table].c[column].type, Integer):
            # Without a declared type and NOT NULL, the value stays what it is.
            define(re.sub(rf'([\s(]"?{column}"?) (TEXT|INTEGER|BLOB)(?: NOT NULL)?', r"\1 BLOB", sql, count=1))
        chosen = f"({key}) = (SELECT {key} FROM {table} WHERE {where} LIMIT 1)"
        execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {chosen}", (value,))
        define(sql)
        reseal(connection)


def reseal(connection):
    """Make every checksum of the rows right, as whoever knows vecdb can do."""
    execute = connection.execute
    for table in metadata.tables.values():
        columns = [column.name for column in table.columns]
        if table.name == "records":
            for *columns, text in execute(
                "SELECT key, collection_id, id, kind, content, vector_count, metadata FROM records"
            ).fetchall():
                key = columns[0]
                sums = content_checksum(*columns), metadata_checksum(key, text)
                execute("UPDATE records SET content_checksum = ?, metadata_checksum = ? WHERE key = ?", (*sums, key))
        elif table.name == "record_vectors":
            for row in execute("SELECT record_key, space_id, label, source_hash, truncated FROM record_vectors"):
                try:
                    crc = link_checksum(*row)
                except Exception:  # there is no right checksum of such a row
                    continue
                execute("UPDATE record_vectors SET checksum = ? WHERE record_key = ? AND space_id = ?", (crc, *row[:2]))
        elif table.name == "vectors":
            for label, data in execute("SELECT label, data FROM vectors").fetchall():
                if isinstance(data, bytes):
                    execute("UPDATE vectors SET checksum = ? WHERE label = ?", (checksum(data, label), label))
        elif table.name == "embedding_cache":
            for key, *row in execute(
                "SELECT key, fingerprint, metric, probe, source_hash, truncated, data "
                "FROM embedding_cache JOIN embedding_origins ON id = origin_id"
            ).fetchall():
                execute("UPDATE embedding_cache SET checksum = ? WHERE key = ?", (row_checksum(*row), key))
        elif "checksum" in columns:
            sealed = [c for c in columns if c != "checksum" and c not in WATERMARKS]
            for row in execute(f"SELECT {', '.join(sealed)} FROM {table.name}").fetchall():
                execute(f"UPDATE {table.name} SET checksum = ? WHERE {sealed[0]} = ?", (row_checksum(*row), row[0]))


def uses(folder):
    """(name, call) of everything that reads a database, and mends it."""
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        yield "collections", database.collections
        for name, query in QUERIES.items():

            def on(call, name=name):
                return lambda: call(database.collection(name))

            yield f"{name}.spaces", on(lambda collection: collection.spaces)
            yield f"iter({name})", on(list)
            yield f"{name}.get", on(lambda collection: collection.get(["a", "b", "p", "g"]))
            yield f"{name}.count", on(lambda collection: (len(collection), collection.count({"n": 1})))
            yield f"{name}.search", on(lambda collection, query=query: collection.search(query, k=70))
            yield f"{name}.search where", on(lambda collection, query=query: collection.search(query, where=WHERE))
            yield f"{name}.explain", on(lambda collection, query=query: collection.explain(query))
            yield f"{name}.failures", on(lambda collection: collection.failures())
        yield "check", database.check
        yield "backup", lambda: database.backup(folder.with_name("copy.vecdb"))
        yield "check(fix=True)", lambda: database.check(fix=True)
