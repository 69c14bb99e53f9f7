"""Whether a file is ours, of our schema, and without code of somebody else.

A database file may come from a stranger. Triggers and views are code that runs on our statements, virtual
tables run the code of SQLite's extensions on a stranger's tables, and so do generated columns, CHECK
constraints and indexes on expressions. So nothing may be in the schema but what vecdb puts there.
`trusted_schema=OFF` alone does not keep a trigger from deleting rows.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, Table, UniqueConstraint

from vecdb.errors import CorruptDatabaseError
from vecdb.storage.tables import metadata

APPLICATION_ID = 0x76656364  # "vecd", shown by `file`
VERSION_TABLE = "alembic_version"

_ADVICE = "do not use this file, restore a backup"
_OF_SQLITE = re.compile(r"sqlite_(sequence|stat[134])")
# What the text of a table's or an index's SQL must not hold; no name of ours is one of these words.
_FOREIGN_SQL = re.compile(r"--|/\*|\b(?:CHECK|COLLATE|CONFLICT|GENERATED|STRICT)\b", re.IGNORECASE)
_WITHOUT_ROWID = re.compile(r"\bWITHOUT\s+ROWID\b", re.IGNORECASE)
_AUTOINCREMENT = re.compile(r"\bAUTOINCREMENT\b", re.IGNORECASE)
_CONDITION = re.compile(r"\bWHERE\b(.*)", re.IGNORECASE | re.DOTALL)

_SCHEMA = "SELECT type, name, rootpage, sql FROM sqlite_schema"
_OF_EACH_TABLE = "SELECT master.name, {} FROM sqlite_schema AS master, {} WHERE master.type = 'table'"
_COLUMNS = _OF_EACH_TABLE.format(
    'found.name, found.type, "notnull", dflt_value, pk, hidden', "pragma_table_xinfo(master.name) AS found"
)
_REFERENCES = _OF_EACH_TABLE.format(
    '"from", "table", "to", on_update, on_delete', "pragma_foreign_key_list(master.name) AS found"
)
_INDEXES = _OF_EACH_TABLE.format(
    'listed.name, listed."unique", origin, found.name, "desc", coll, cid',
    "pragma_index_list(master.name) AS listed, pragma_index_xinfo(listed.name) AS found",
) + " AND found.key"
_EXPRESSION = -2  # in place of a column's number


@dataclass(frozen=True, slots=True)
class _Schema:
    """What a file's schema holds, without code: SQL by name, columns and columns of indexes by table."""

    tables: Mapping[str, str]
    made_indexes: Mapping[str, str]
    columns: Mapping[str, Sequence[tuple[Any, ...]]]
    indexes: Mapping[str, Sequence[tuple[Any, ...]]]


def require_no_code(connection: sqlite3.Connection, file: Path) -> None:
    """Raise if anything in the schema could run: for files of any schema version.

    Raises:
        CorruptDatabaseError: names what is there.
    """
    _without_code(connection, file)


def _without_code(connection: sqlite3.Connection, file: Path) -> _Schema:
    tables: dict[str, str] = {}
    made_indexes: dict[str, str] = {}
    # Nothing may be asked of the tables before this: asking a virtual table runs its module.
    for kind, name, root, sql in connection.execute(_SCHEMA).fetchall():
        if kind in ("trigger", "view"):
            raise _foreign(file, f"a {kind}, {_shown(name)}")
        if type(name) is not str or type(root) is not int or root < 1 or not _begins(kind, sql):
            raise _foreign(file, f"what is neither a table nor an index, {_shown(name)}")
        if sql is not None and _FOREIGN_SQL.search(sql):
            raise _foreign(file, f"code in the definition of {_shown(name)}")
        if kind == "table":
            tables[name] = sql
        elif sql is not None:
            made_indexes[name] = sql
    columns, indexes = _by_table(connection, _COLUMNS), _by_table(connection, _INDEXES)
    for table, found in columns.items():
        for name, *_, hidden in found:
            if hidden:
                raise _foreign(file, f"a generated or hidden column, {_shown(table)}.{_shown(name)}")
    for found in indexes.values():
        for name, *_, column in found:
            if column == _EXPRESSION:
                raise _foreign(file, f"an index on an expression, {_shown(name)}")
    return _Schema(tables, made_indexes, columns, indexes)


def _begins(kind: Any, sql: Any) -> bool:
    """Whether the SQL of an entry makes what the entry says: SQLite itself goes by the SQL."""
    if kind == "table":
        return type(sql) is str and sql.startswith("CREATE TABLE ")
    return kind == "index" and (
        sql is None or (type(sql) is str and sql.startswith(("CREATE INDEX ", "CREATE UNIQUE INDEX ")))
    )


def require_schema(connection: sqlite3.Connection, file: Path) -> None:
    """Raise unless the tables are those of `tables.py`, and nothing else is there.

    An index that is missing is no reason: it costs time, and `check` finds it.

    Raises:
        CorruptDatabaseError: names what is missing, or should not be there.
    """
    schema = _without_code(connection, file)
    expected = _expected()
    missing = sorted(expected.keys() - schema.tables.keys())
    if missing:
        raise CorruptDatabaseError(f"{file} lacks the table {missing[0]!r}; restore a backup")
    unknown = sorted(name for name in schema.tables.keys() - expected.keys() if not _OF_SQLITE.fullmatch(name))
    if unknown:
        raise _foreign(file, f"a table that is not vecdb's, {_shown(unknown[0])}")
    references = _by_table(connection, _REFERENCES)
    known = _expected_indexes()
    for name, shape in expected.items():
        sql = schema.tables[name]
        constraints, indexes = _told_apart(schema.indexes.get(name, ()))
        found = _Shape(
            columns=tuple(schema.columns.get(name, ())),
            references=frozenset(references.get(name, ())),
            unique=frozenset(constraints),
            without_rowid=bool(_WITHOUT_ROWID.search(sql)),
            counts_on=bool(_AUTOINCREMENT.search(sql)),
        )
        if found != shape:
            raise CorruptDatabaseError(f"{file}: the table {name!r} is not as vecdb makes it; restore a backup")
        for index in indexes:
            condition = _CONDITION.search(schema.made_indexes.get(index[0], ""))
            if known.get((name, index)) != ("".join(condition[1].split()).upper() if condition else ""):
                raise _foreign(file, f"an index that is not vecdb's, {_shown(index[0])}")


def stored_revision(connection: sqlite3.Connection, file: Path) -> str:
    """The revision that alembic's table names.

    Raises:
        CorruptDatabaseError: it does not name one.
    """
    try:
        rows = connection.execute(f"SELECT * FROM {VERSION_TABLE} LIMIT 2").fetchall()
    except sqlite3.OperationalError as error:
        raise CorruptDatabaseError(f"{file} has no readable table {VERSION_TABLE!r}; restore a backup") from error
    if len(rows) != 1 or len(rows[0]) != 1 or type(rows[0][0]) is not str:
        raise CorruptDatabaseError(f"{file}: the table {VERSION_TABLE!r} does not name one schema; restore a backup")
    return str(rows[0][0])


def _foreign(file: Path, what: str) -> CorruptDatabaseError:
    return CorruptDatabaseError(f"{file} holds {what}, which vecdb never makes; {_ADVICE}")


def _shown(name: Any) -> str:
    return f"{name!r:.80}"


def _by_table(connection: sqlite3.Connection, query: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rest of each row, by its first value."""
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for table, *row in connection.execute(query):
        groups.setdefault(table, []).append(tuple(row))
    return groups


# --- what it should be --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """What decides how a table behaves.

    Attributes:
        columns: (name, type, not null, default, place in the primary key, hidden) in order.
        references: (column, table, its column, on update, on delete).
        unique: columns of each UNIQUE constraint, and of a primary key that is not the row's number.
        counts_on: whether keys are never given out again.
    """

    columns: tuple[tuple[Any, ...], ...]
    references: frozenset[tuple[Any, ...]]
    unique: frozenset[tuple[str, ...]]
    without_rowid: bool
    counts_on: bool


_MadeIndex = tuple[str, int, tuple[tuple[str, int, str], ...]]  # name, unique, (column, descending, collation) each


def _told_apart(rows: Iterable[Sequence[Any]]) -> tuple[list[tuple[str, ...]], list[_MadeIndex]]:
    """The columns of each constraint of a table, and the indexes that CREATE INDEX made."""
    keys: dict[tuple[str, int, str], list[tuple[str, int, str]]] = {}
    for name, unique, origin, *column, _ in rows:
        keys.setdefault((name, unique, origin), []).append((column[0], column[1], column[2]))
    constraints = [tuple(name for name, *_ in key) for (_, _, origin), key in keys.items() if origin != "c"]
    return constraints, [(name, unique, tuple(key)) for (name, unique, origin), key in keys.items() if origin == "c"]


@cache
def _expected() -> Mapping[str, _Shape]:
    found = {name: _shape(table) for name, table in metadata.tables.items()}
    version = (("version_num", "VARCHAR(32)", 1, None, 1, 0),)
    found[VERSION_TABLE] = _Shape(version, frozenset(), frozenset({("version_num",)}), False, False)
    return found


def _shape(table: Table) -> _Shape:
    key = [column.name for column in table.primary_key.columns]
    unique = {tuple(c.name for c in rule.columns) for rule in table.constraints if isinstance(rule, UniqueConstraint)}
    first = table.primary_key.columns[0]
    if not (len(key) == 1 and isinstance(first.type, Integer)):
        unique.add(tuple(key))
    return _Shape(
        columns=tuple(_column(column, key) for column in table.columns),
        references=frozenset(
            (
                reference.parent.name,
                reference.column.table.name,
                reference.column.name,
                reference.onupdate or "NO ACTION",
                reference.ondelete or "NO ACTION",
            )
            for reference in table.foreign_keys
        ),
        unique=frozenset(unique),
        without_rowid=not table.dialect_options["sqlite"]["with_rowid"],
        counts_on=bool(table.dialect_options["sqlite"]["autoincrement"]),
    )


def _column(column: Column[Any], key: Sequence[str]) -> tuple[Any, ...]:
    kind = "BLOB" if column.type.__class__.__name__ == "LargeBinary" else str(column.type)
    default = getattr(getattr(column.server_default, "arg", None), "text", None)
    place = key.index(column.name) + 1 if column.primary_key else 0
    return column.name, kind, int(not column.nullable), default, place, 0


@cache
def _expected_indexes() -> Mapping[tuple[str, _MadeIndex], str]:
    """The condition of each index: "" where it has all rows; without white space, in capitals."""
    found: dict[tuple[str, _MadeIndex], str] = {}
    for table in metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"]["where"]
            key = tuple((column.name, 0, "BINARY") for column in index.columns)
            condition = "" if where is None else str(where).replace(f"{table.name}.", "")
            found[table.name, (str(index.name), int(index.unique), key)] = "".join(condition.split()).upper()
    return found
