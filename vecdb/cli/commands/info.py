"""`vecdb info`."""

from __future__ import annotations

import importlib.metadata
import platform
import sqlite3
from pathlib import Path
from typing import Any

import click
import numpy as np

import vecdb
from vecdb.cli.options import ExampleCommand, database_option, embedder_title, format_option
from vecdb.cli.output import Column, write_fields, write_rows
from vecdb.cli.session import Session, pass_session
from vecdb.collection import Collection
from vecdb.storage.vacuum import size_of
from vecdb.types import SpaceInfo

_LIBRARIES = ("hnswlib", "numpy", "sqlalchemy", "pluggy", "click")


@click.command(cls=ExampleCommand, example="vecdb info --format json")
@database_option
@format_option
@pass_session
def info(session: Session) -> None:
    """Show versions, sizes and the state of everything.

    It is what to send along with a question, and works without a database as well. "pending": vectors
    that are searched exactly because the graph does not hold them yet. With --format, sizes are in bytes.
    """
    fields: dict[str, Any] = {
        "vecdb": vecdb.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in _LIBRARIES},
    }
    broken = {status.name: status.error for status in session.plugins.listing() if status.error}
    fields["plugins"] = [status.name for status in session.plugins.listing() if not status.error]
    if broken or session.format != "table":
        fields["broken plugins"] = broken
    rows: list[dict[str, Any]] = []
    if (folder := _folder(session)) is not None:
        with session.open() as database:
            fields |= {
                "database": str(folder),
                "size": size_of(folder),
                "size of indexes": size_of(folder / "index"),
                "durability": "full (what is acknowledged survives a power loss)",
                "failures": sum(len(database.collection(name).failures()) for name in database.collections()),
            }
            rows = [row for name in database.collections() for row in _spaces(session, database.collection(name))]
    if session.format != "table":
        named = {key.replace(" ", "_"): value for key, value in fields.items()}
        write_fields(session.format, {**named, "spaces": rows} if folder is not None else named)
        return
    sizes = [name for name in ("size", "size of indexes") if name in fields]
    write_fields("table", fields | {name: f"{fields[name] / 1e6:,.1f} MB" for name in sizes})
    if rows:
        click.echo()
        columns = [Column("collection", shrink=True), Column("space"), Column("records", "right")]
        columns += [Column("vectors", "right"), Column("index"), Column("pending", "right"), Column("embedder")]
        write_rows("table", columns, rows)


def _folder(session: Session) -> Path | None:
    try:
        folder = session.folder()
    except click.UsageError:
        return None
    # One that was named must be there: opening it says what is wrong.
    return folder


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _spaces(session: Session, collection: Collection) -> list[dict[str, Any]]:
    return [
        {
            "collection": collection.name,
            "space": space.name,
            "records": len(collection),
            "vectors": space.vectors,
            **_index_state(collection, space),
            "embedder": embedder_title(session, space.embedder),
        }
        for space in collection.spaces.values()
    ]


def _index_state(collection: Collection, space: SpaceInfo) -> dict[str, Any]:
    """Which index a search uses now, and how many vectors it does not hold yet."""
    if not space.vectors:
        return {"index": space.index, "pending": 0}
    query = np.ones(space.dimension, np.float32)
    plan = collection.explain(query, k=1, space=space.name)
    in_graph = plan.strategy == "graph"
    return {
        "index": "hnsw" if in_graph else "exact",
        "pending": plan.vectors - plan.indexed if in_graph else 0,
    }
