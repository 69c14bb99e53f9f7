"""Damages to rows, by SQL: every table and every column that the schema has, whatever they are called."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.torture.damage_bases import Base
from tests.torture.damage_files import Damage, Refused
from vecdb.storage.engine import DATABASE_FILE

_EXCERPT = 80


def damage_rows(folder: Path, base: Base, bases: Sequence[Base], chance: random.Random) -> Damage:
    """One row changed, deleted or doubled, or a value exchanged between two rows."""
    with closing(sqlite3.connect(folder / DATABASE_FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        table = _Table(connection, chance)
        kind = chance.choice(("changed", "changed", "changed", "exchanged", "copied over", "deleted", "doubled"))
        try:
            what, detail = getattr(table, kind.replace(" ", "_"))()
        except (sqlite3.IntegrityError, sqlite3.OperationalError, OverflowError) as error:
            raise Refused from error
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Damage("row", f"{what} {kind}", detail)


class _Table:
    """One of the tables, with rows."""

    def __init__(self, connection: sqlite3.Connection, chance: random.Random) -> None:
        self._connection = connection
        self._chance = chance
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        counted = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(names)}
        self.name = chance.choice([name for name, count in counted.items() if count])
        self.count = counted[self.name]
        described = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (self.name,)).fetchall()
        self.columns = [name for name, _ in described]
        self.keys = [name for name, primary in described if primary] or ["rowid"]

    def changed(self) -> tuple[str, str]:
        """A value becomes another one."""
        column, [row] = self._column(), self._rows(1)
        before = self._value(column, row)
        after = other_value(before, self._chance)
        self._put(column, row, after)
        return f"{self.name}.{column}", f"{row}: {before!r:.{_EXCERPT}} to {after!r:.{_EXCERPT}}"

    def exchanged(self) -> tuple[str, str]:
        """Two rows exchange a value, or all but their keys."""
        columns = [self._column()] if self._chance.random() < 0.7 else [c for c in self.columns if c not in self.keys]
        first, second = self._rows(2)
        self._connection.execute("BEGIN")
        for column in columns:
            one, other = self._value(column, first), self._value(column, second)
            if one == other and len(columns) == 1:
                raise Refused
            aside = _aside(one, self._chance)  # two rows may not have the same for a moment, where a column is unique
            self._put(column, first, aside)
            row = {**first, column: aside} if column in first else first
            self._put(column, second, one)
            self._put(column, row, other)
        self._connection.execute("COMMIT")
        named = columns[0] if len(columns) == 1 else "*"
        return f"{self.name}.{named}", f"{first} and {second}"

    def copied_over(self) -> tuple[str, str]:
        """A row gets a value of another row."""
        column = self._column()
        first, second = self._rows(2)
        one, other = self._value(column, first), self._value(column, second)
        if one == other:
            raise Refused
        self._put(column, second, one)
        return f"{self.name}.{column}", f"{first} to {second}: {one!r:.{_EXCERPT}} over {other!r:.{_EXCERPT}}"

    def deleted(self) -> tuple[str, str]:
        """A row is gone; not one that nothing refers to, for nothing then says that it was there (RELIABILITY.md)."""
        if self.name == "failures":
            raise Refused
        rows = self._rows(self._chance.choice((1, 1, 1, min(self.count, 3))))
        for row in rows:
            self._connection.execute(f'DELETE FROM "{self.name}" WHERE {self._where(row)}', list(row.values()))
        return self.name, f"{rows}"

    def doubled(self) -> tuple[str, str]:
        """A row stands twice, with another key."""
        [row] = self._rows(1)
        key = self.keys[-1]
        values = {column: self._value(column, row) for column in self.columns}
        if key in values:
            values[key] = other_value(values[key], self._chance) if self._chance.random() < 0.5 else None
            if values[key] is None:
                top = self._connection.execute(f'SELECT max("{key}") FROM "{self.name}"').fetchone()[0]
                values[key] = top + 1 if isinstance(top, int) else other_value(top, self._chance)
        listed = ", ".join(f'"{column}"' for column in values)
        marks = ", ".join("?" * len(values))
        self._connection.execute(f'INSERT INTO "{self.name}" ({listed}) VALUES ({marks})', list(values.values()))
        return self.name, f"{row} as {values.get(key, 'another rowid')!r:.{_EXCERPT}}"

    # --- rows and values ---

    def _column(self) -> str:
        return self._chance.choice(self.columns)

    def _rows(self, count: int) -> list[dict[str, Any]]:
        """The keys of some rows."""
        if self.count < count:
            raise Refused
        listed = ", ".join(f'"{key}"' if key != "rowid" else key for key in self.keys)
        query = f'SELECT {listed} FROM "{self.name}" ORDER BY {listed} LIMIT 1 OFFSET ?'
        places = self._chance.sample(range(self.count), count)
        found = [self._connection.execute(query, (place,)).fetchone() for place in places]
        return [dict(zip(self.keys, row, strict=True)) for row in found]

    def _where(self, row: dict[str, Any]) -> str:
        return " AND ".join(f'"{key}" IS ?' if key != "rowid" else "rowid IS ?" for key in row)

    def _value(self, column: str, row: dict[str, Any]) -> Any:
        query = f'SELECT "{column}" FROM "{self.name}" WHERE {self._where(row)}'
        return self._connection.execute(query, list(row.values())).fetchone()[0]

    def _put(self, column: str, row: dict[str, Any], value: Any) -> None:
        mark = "CAST(? AS TEXT)" if isinstance(value, NotText) else "?"
        statement = f'UPDATE "{self.name}" SET "{column}" = {mark} WHERE {self._where(row)}'
        self._connection.execute(statement, [value, *row.values()])


class NotText(bytes):
    """Bytes that are stored as text, though they are none."""


def _aside(value: Any, chance: random.Random) -> Any:
    number = -chance.getrandbits(40)
    return number if isinstance(value, int) else f"aside {number}" if isinstance(value, str) else b"aside %d" % number


def other_value(value: Any, chance: random.Random) -> Any:
    """A value that differs: by a bit, in length, in type, or altogether."""
    if value is None:
        return chance.choice((0, 1, "", "x", b"x", "{}"))
    choices: list[Any] = [None, 0, -1, 1, 2**31, 2**62, -(2**63), 1.5, "", "x", b"", b"x", "null", "[]", "{}"]
    if isinstance(value, int):
        choices += [value + 1, value - 1, -value, value ^ 1 << chance.randrange(20), str(value), float(value) + 0.5] * 3
    elif isinstance(value, str) and value:
        place = chance.randrange(len(value))
        bit = chr(ord(value[place]) ^ 1 << chance.randrange(5))
        choices += [value[:place] + bit + value[place + 1 :]] * 20
        choices += [value[:place], value[:-1], value + " ", value + value, value.swapcase(), value.encode()] * 2
        choices += [NotText(value.encode() + b"\xff"), "[" * 5000, '{"a":' * 3000, value + "\0"]
    elif isinstance(value, bytes) and value:
        place = chance.randrange(len(value))
        bit = value[place] ^ 1 << chance.randrange(8)
        choices += [value[:place] + bytes([bit]) + value[place + 1 :]] * 20
        choices += [value[:place], value[:-1], value + b"\0", bytes(len(value)), chance.randbytes(len(value))] * 2
    return chance.choice([other for other in choices if type(other) is not type(value) or other != value])
