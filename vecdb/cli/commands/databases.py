"""`init`, `check`, `reindex`, `vacuum`, `backup`, `upgrade`: a database as a whole."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

import vecdb
from vecdb.cli.options import ExampleCommand, any_collection_option, database_option, format_option
from vecdb.cli.output import Column, counted, note, write_rows
from vecdb.cli.progress import ProgressBar
from vecdb.cli.session import Session, pass_session


@click.command(cls=ExampleCommand, example="vecdb init notes.vecdb")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@database_option
@pass_session
def init(session: Session, path: Path | None) -> None:
    """Make an empty database.

    A database is a folder; by custom its name ends in .vecdb, and then the other commands find it by
    themselves when they run beside it.
    """
    folder = path or session.path
    if folder is None:
        raise click.UsageError("Name the folder to make: vecdb init notes.vecdb")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise vecdb.AlreadyExistsError(f"{folder} exists already; choose another path, or use it as it is")
    vecdb.open(folder, plugins=session.plugins).close()
    note(f"Made {folder}. Next: vecdb --db {folder} index FOLDER")


@click.command(cls=ExampleCommand, example="vecdb check")
@click.option("--fix", is_flag=True, help="Mend what has one right answer; damaged vectors are embedded again.")
@database_option
@format_option
@pass_session
def check(session: Session, fix: bool) -> None:
    """Look for damage, and mend it.

    Compares records, vectors and search indexes with one another. Ends with 1 if something is wrong
    and was not mended.
    """
    with session.open(write=fix) as database, warnings.catch_warnings():
        # What reading warns of is what the report says.
        warnings.filterwarnings("ignore", message=".*run `vecdb check`", category=vecdb.VecdbWarning)
        report = database.check(fix=fix)
    rows = [
        {
            "where": problem.where,
            "what": problem.what,
            "fixed": problem.fixed,
            "advice": "" if problem.fixed else problem.advice,
        }
        for problem in report
    ]
    if rows or session.format != "table":
        text = [Column(key, shrink=True, wrap=True) for key in ("where", "what", "advice")]
        write_rows(session.format, [*text[:2], Column("fixed"), text[2]], rows)
    state = "All is well" if not rows else "Everything was mended" if report else "There are problems"
    sizes = (report.collections, "collection"), (report.records, "record"), (report.vectors, "vector")
    note(f"{state}: {', '.join(counted(*size) for size in sizes)}.")
    if not report:
        raise click.exceptions.Exit(1)


@click.command(cls=ExampleCommand, example="vecdb reindex")
@any_collection_option
@database_option
@pass_session
def reindex(session: Session, collection: str | None) -> None:
    """Build the search indexes anew.

    Never needed for right answers. It frees what deleted records left in the indexes.
    """
    with session.open(write=True) as database:
        for name in [collection] if collection is not None else database.collections():
            with ProgressBar(f"Indexing {name}", "vectors") as progress:
                database.collection(name).reindex(progress=progress)
            note(f"Built the index of {name!r} anew.")


@click.command(cls=ExampleCommand, example="vecdb vacuum")
@database_option
@pass_session
def vacuum(session: Session) -> None:
    """Give back the space of what was deleted.

    Afterwards the deleted bytes are in no file of the database. Needs free space while it runs: about
    twice the size of the database. Others may go on reading.
    """
    with session.open(write=True) as database, ProgressBar("Indexing", "vectors") as progress:
        report = database.vacuum(progress=progress)
    note(f"{report.before / 1e6:,.1f} MB before, {report.after / 1e6:,.1f} MB after.")
    for copy in report.copies:
        note(f"{copy} is a copy from before an upgrade, and still holds what was deleted since; remove it yourself.")


@click.command(cls=ExampleCommand, example="vecdb backup backups/notes-2026")
@click.argument("path", type=click.Path(path_type=Path))
@database_option
@pass_session
def backup(session: Session, path: Path) -> None:
    """Copy the database, also while it is in use.

    PATH is the new folder, best not one more *.vecdb beside the database: with two of them, every
    command needs --db. The copy is complete and of one moment.
    """
    with session.open() as database, ProgressBar("Copying", "pages") as progress:
        database.backup(path, progress=progress)
    note(f"Copied to {path}.")


@click.command(cls=ExampleCommand, example="vecdb upgrade notes.vecdb")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@database_option
@pass_session
def upgrade(session: Session, path: Path | None) -> None:
    """Bring an older database to this version.

    A database made by an older vecdb says when it needs this. Its file is copied first.
    """
    from vecdb.database import upgrade as upgrade_database  # noqa: PLC0415  (imports SQLAlchemy)

    folder = path or session.folder()
    copy = upgrade_database(folder)
    note(f"{folder} is up to date." if copy is None else f"Upgraded {folder}. What it was before is in {copy}.")
