"""`get`, `delete`, `count`: records by their ids or by a filter."""

from __future__ import annotations

from typing import Any

import click

from vecdb.cli.options import (
    ExampleCommand,
    any_collection_option,
    collection_option,
    database_option,
    format_option,
    where_option,
    yes_option,
)
from vecdb.cli.output import Column, counted, note, plain, write_fields, write_rows
from vecdb.cli.session import Session, pass_session, the_collection
from vecdb.collection import Collection
from vecdb.database import Database
from vecdb.types import Record


@click.command(cls=ExampleCommand, example="vecdb get a b --format jsonl")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--vectors", is_flag=True, help="Their vectors as well.")
@any_collection_option
@database_option
@format_option
@pass_session
def get(session: Session, ids: tuple[str, ...], vectors: bool, collection: str | None) -> None:
    """Show records by their ids.

    Ends with 1 if one of them does not exist.
    """
    with session.open() as database:
        records = [record for found in _chosen(database, collection) for record in found.get(ids)]
    if session.format == "table":
        for number, record in enumerate(records):
            if number:
                click.echo()
            write_fields("table", _fields(record, vectors=vectors))
    else:
        columns = [Column("id"), Column("content"), Column("metadata")]
        rows: list[dict[str, Any]] = [
            {"id": record.id, "content": record.content, "metadata": record.metadata} for record in records
        ]
        if vectors:
            columns += [Column("vectors"), Column("truncated")]
            rows = [
                {**row, "vectors": record.vectors, "truncated": record.truncated}
                for row, record in zip(rows, records, strict=True)
            ]
        write_rows(session.format, columns, rows)
    missing = [id for id in ids if id not in {record.id for record in records}]
    if missing:
        note(f"There is no record {', '.join(map(repr, missing))}.")
        raise click.exceptions.Exit(1)


def _fields(record: Record, *, vectors: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": record.id}
    fields |= {f"  {key}": plain(value) for key, value in record.metadata.items()}
    if isinstance(record.content, dict):
        fields |= {f"content.{name}": item for name, item in record.content.items()}
    elif record.content is not None:
        fields["content"] = record.content
    if record.truncated:
        fields["truncated"] = f"in {', '.join(record.truncated)}: only the beginning was embedded"
    if vectors and record.vectors is not None:
        by_space = record.vectors if isinstance(record.vectors, dict) else {"vector": record.vectors}
        for name, vector in by_space.items():
            fields[name] = " ".join(f"{number:.4g}" for number in vector)
    return fields


@click.command(
    cls=ExampleCommand,
    example="vecdb delete a b --collection notes --yes\n"
    'vecdb delete --where "year<2000" --collection notes --yes',
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@where_option
@yes_option
@collection_option
@database_option
@pass_session
def delete(
    session: Session, ids: tuple[str, ...], where: dict[str, Any] | None, yes: bool, collection: str | None
) -> None:
    """Delete records, by ids or by a filter.

    With both, those that meet both. Ends with 1 if ids are given and none of them exists.
    """
    if not ids and where is None:
        raise click.UsageError("Give ids, or --where.")
    with session.open(write=True) as database:
        found = the_collection(database, collection)
        known = _known(found, ids, where)
        if not known:
            note("Nothing matches.")
            raise click.exceptions.Exit(1 if ids else 0)
        if not yes:
            what = f"the record {ids[0]!r}" if len(ids) == 1 else counted(known, "record")
            click.confirm(f"Delete {what} from {found.name!r}?", abort=True, err=True)
        deleted = found.delete(list(ids) or None, where)
    note(f"Deleted {counted(deleted, 'record')}.")


def _known(collection: Collection, ids: tuple[str, ...], where: dict[str, Any] | None) -> int:
    """How many records a deletion concerns, at most; without a filter, it forgets failures with these ids too."""
    if not ids:
        return collection.count(where)
    known = {record.id for record in collection.get(ids)}
    if where is None:
        known |= {failure.id for failure in collection.failures()} & set(ids)
    return len(known)


@click.command(cls=ExampleCommand, example='vecdb count --where "year>=2020"')
@where_option
@any_collection_option
@database_option
@format_option
@pass_session
def count(session: Session, where: dict[str, Any] | None, collection: str | None) -> None:
    """Count records.

    With --where, those that fit.
    """
    with session.open() as database:
        number = sum(found.count(where) for found in _chosen(database, collection))
    if session.format == "table":
        click.echo(number)
    else:
        write_fields(session.format, {"count": number})


def _chosen(database: Database, name: str | None) -> list[Collection]:
    """The collection of this name, or all."""
    return [database.collection(known) for known in ([name] if name is not None else database.collections())]
