"""What all commands of one call share: which database, how results are printed, which plugins."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

import vecdb

if TYPE_CHECKING:
    from vecdb.collection import Collection
    from vecdb.database import Database
    from vecdb.plugins import Plugins

DATABASE_VARIABLE = "VECDB_DB"


class Session:
    """One call of `vecdb`.

    Attributes:
        path: the database's folder as given with --db or in VECDB_DB, or None.
        format: how results are printed: "table", "json", "jsonl" or "csv".
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self.format = "table"

    @cached_property
    def plugins(self) -> Plugins:
        """The installed plugins."""
        return vecdb.Plugins()

    def folder(self) -> Path:
        """The database's folder: the one given, else the only `*.vecdb` folder here."""
        if self.path is not None:
            return self.path
        found = sorted(path for path in Path().glob("*.vecdb") if path.is_dir())
        if len(found) == 1:
            return found[0]
        named = ", ".join(str(path) for path in found[:5])
        problem = f"there are several databases here ({named})" if found else "there is no database (*.vecdb) here"
        raise click.UsageError(f"{problem}; name one with --db PATH, or set {DATABASE_VARIABLE}.")

    def open(self, *, write: bool = False, create: bool = False) -> Database:
        """The database, read-only unless `write`; one that does not exist is made only if `create`."""
        folder = self.folder()
        if not create and not folder.exists():
            raise vecdb.NotFoundError(
                f"there is no database at {folder}; make one with `vecdb --db {folder} init`, or correct the path"
            )
        return vecdb.open(folder, read_only=not write, plugins=self.plugins)


pass_session = click.make_pass_decorator(Session, ensure=True)


def the_collection(database: Database, name: str | None) -> Collection:
    """The collection of this name; without a name, the only one."""
    if name is not None:
        return database.collection(name)
    names = database.collections()
    if len(names) == 1:
        return database.collection(names[0])
    if not names:
        raise vecdb.CollectionNotFoundError(
            f"{database.path} has no collection yet; fill it with `vecdb index PATH`, or make one with "
            "`vecdb collections create NAME --embedder EMBEDDER`"
        )
    raise click.UsageError(f"the database has several collections ({', '.join(names)}); name one with --collection.")
