"""`vecdb collections`."""

from __future__ import annotations

from typing import Any

import click

from vecdb.cli.options import (
    ExampleCommand,
    complete_collections,
    complete_embedders,
    database_option,
    embedder_title,
    format_option,
    key_value_option,
    typed_reference,
    yes_option,
)
from vecdb.cli.output import Column, counted, note, write_fields, write_rows
from vecdb.cli.session import Session, pass_session
from vecdb.types import INDEX_KINDS, METRICS


@click.group()
def collections() -> None:
    """List, make, show and delete collections."""


@collections.command("list", cls=ExampleCommand, example="vecdb collections list")
@database_option
@format_option
@pass_session
def list_collections(session: Session) -> None:
    """List the collections with what they hold."""
    with session.open() as database:
        rows = [
            {
                "collection": found.name,
                "records": len(found),
                "space": space.name,
                "vectors": space.vectors,
                "embedder": embedder_title(session, space.embedder),
                "dimension": space.dimension,
                "metric": space.metric,
            }
            for found in map(database.collection, database.collections())
            for space in found.spaces.values()
        ]
    if not rows:
        note("There is no collection yet.")
    columns = [
        Column("collection", shrink=True),
        Column("records", "right"),
        Column("space"),
        Column("vectors", "right"),
        Column("embedder"),
        Column("dimension", "right"),
        Column("metric"),
    ]
    if rows or session.format != "table":
        write_rows(session.format, columns, rows)


@collections.command(
    cls=ExampleCommand,
    example="vecdb collections create points --dimension 3 --metric l2\n"
    "vecdb collections create sounds --embedder mfcc --option n_mfcc=13 --filter-field year",
)
@click.argument("name")
@click.option("--embedder", "-e", metavar="NAME[:MODEL]", shell_complete=complete_embedders, help="Makes the vectors.")
@key_value_option("--option", "An option of the embedder; see `vecdb embedders show NAME`. Repeatable.")
@click.option("--dimension", type=int, help="Length of the vectors that you bring; without an embedder.")
@click.option("--metric", type=click.Choice(METRICS), help="Default: the embedder's first, else cosine.")
@click.option(
    "--index",
    type=click.Choice(INDEX_KINDS),
    default="auto",
    show_default=True,
    help="auto: exact up to 20,000 vectors, then HNSW.",
)
@click.option("--M", "M", type=int, help="HNSW: links of each vector (16).")
@click.option("--ef-construction", type=int, help="HNSW: candidates while building (200).")
@click.option("--ef", type=int, help="HNSW: candidates of a search.")
@click.option("--filter-field", multiple=True, help="A field of the metadata that filters will use. Repeatable.")
@database_option
@pass_session
def create(
    session: Session,
    /,
    *,
    name: str,
    embedder: str | None,
    option: dict[str, str],
    dimension: int | None,
    metric: Any,
    index: Any,
    filter_field: tuple[str, ...],
    **index_options: int | None,
) -> None:
    """Make the collection NAME.

    It needs an embedder, which then makes the vectors of all its records and queries; or --dimension,
    for vectors that you bring.
    """
    if embedder is None and dimension is None:
        raise click.UsageError("Give --embedder, or --dimension for vectors that you bring.")
    if embedder is None and option:
        raise click.UsageError("--option goes with --embedder.")
    with session.open(write=True, create=True) as database:
        made = database.create_collection(
            name,
            embedder=typed_reference(session, embedder, option) if embedder else None,
            dimension=dimension,
            metric=metric,
            index=index,
            index_options={key: value for key, value in index_options.items() if value is not None} or None,
            filter_fields=filter_field,
        )
        space = next(iter(made.spaces.values()))
        note(f"Made the collection {name!r}: vectors of {space.dimension} numbers, metric {space.metric}.")


@collections.command(cls=ExampleCommand, example="vecdb collections show notes")
@click.argument("name", shell_complete=complete_collections)
@database_option
@format_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show everything that is remembered of the collection NAME."""
    with session.open() as database:
        found = database.collection(name)
        fields: dict[str, Any] = {"collection": name, "records": len(found), "failures": len(found.failures())}
        if found.filter_fields or session.format != "table":
            fields["filter_fields"] = list(found.filter_fields)
        for space in found.spaces.values():
            described = {
                "source": space.source,
                "embedder": space.embedder,
                "options": {key: value for key, value in space.options.items() if value is not None},
                "fingerprint": space.fingerprint,
                "dimension": space.dimension,
                "metric": space.metric,
                "index": space.index,
                "index_options": dict(space.index_options),
                "vectors": space.vectors,
            }
            if session.format == "table":
                fields |= {"": None, "space": space.name} | {k: v for k, v in described.items() if v not in (None, {})}
            else:
                fields.setdefault("spaces", {})[space.name] = described
    write_fields(session.format, fields)


@collections.command(cls=ExampleCommand, example="vecdb collections delete old --yes")
@click.argument("name", shell_complete=complete_collections)
@yes_option
@database_option
@pass_session
def delete(session: Session, name: str, yes: bool) -> None:
    """Delete the collection NAME with all its records."""
    with session.open(write=True) as database:
        found = database.collection(name)
        if not yes:
            click.confirm(f"Delete {name!r} with {counted(len(found), 'record')}?", abort=True, err=True)
        database.delete_collection(name)
    note(f"Deleted {name!r}.")
