"""`vecdb failures`."""

from __future__ import annotations

import click

from vecdb.cli.options import ExampleCommand, any_collection_option, database_option, format_option
from vecdb.cli.output import Column, counted, note, write_rows
from vecdb.cli.progress import ProgressBar
from vecdb.cli.session import Session, pass_session


@click.group()
def failures() -> None:
    """What could not be embedded, and trying again."""


@failures.command("list", cls=ExampleCommand, example="vecdb failures list")
@any_collection_option
@database_option
@format_option
@pass_session
def list_failures(session: Session, collection: str | None) -> None:
    """List what `vecdb index` and `vecdb add` set aside, with the reason."""
    with session.open() as database:
        names = [collection] if collection is not None else database.collections()
        rows = [
            {
                "collection": name,
                "id": failure.id,
                "error": failure.error,
                "content": failure.content,
                "metadata": failure.metadata,
                "retryable": failure.retryable,
            }
            for name in names
            for failure in database.collection(name).failures()
        ]
    if not rows:
        note("There is no failure.")
    if rows or session.format != "table":
        error = Column("error", shrink=True, least=30, weight=2, wrap=True)
        write_rows(session.format, [Column("collection"), Column("id", shrink=True), error], rows)


@failures.command(cls=ExampleCommand, example="vecdb failures retry")
@any_collection_option
@database_option
@pass_session
def retry(session: Session, collection: str | None) -> None:
    """Try again what was set aside; what can be embedded now goes in."""
    done = left = 0
    with session.open(write=True) as database:
        for name in [collection] if collection is not None else database.collections():
            found = database.collection(name)
            with ProgressBar("Embedding", "records") as progress:
                report = found.retry_failures(progress=progress)
            found.optimize()
            done += report.added + report.updated
            left += len(found.failures())
    note(f"{counted(done, 'record')} went in, {left:,} remain set aside.")
