"""`vecdb add`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from vecdb.cli.options import (
    ExampleCommand,
    collection_option,
    complete_embedders,
    database_option,
    format_option,
    key_value_option,
    typed_reference,
)
from vecdb.cli.output import note, write_fields
from vecdb.cli.progress import ProgressBar
from vecdb.cli.records_in import guess_format, read_records
from vecdb.cli.session import Session, pass_session, the_collection
from vecdb.collection import Collection
from vecdb.database import Database
from vecdb.errors import InvalidInputError

_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}


@click.command(
    cls=ExampleCommand,
    example="vecdb demo --limit 600\n"
    'echo "The cat sat on the mat." | '
    "vecdb add --db demo.vecdb -c notes -e fasttext:demo.vecdb/models/docstrings.bin\n"
    """printf 'id,content,year\\nx,The dog barks.,1950\\n' | vecdb add --db demo.vecdb -c notes --input csv""",
)
@click.argument("file", default="-", type=click.File(encoding="utf-8-sig", errors="strict"))
@click.option(
    "--input",
    "kind",
    type=click.Choice(["lines", "jsonl", "json", "csv"]),
    help="What the input is. Default: by the file's suffix; else JSON if it begins so, else lines.",
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "quarantine"]),
    default="raise",
    show_default=True,
    help="At a bad record: stop, or set it aside (see `vecdb failures`).",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Records for each transaction (1000).")
@collection_option
@click.option(
    "--embedder",
    "-e",
    metavar="NAME[:MODEL]",
    shell_complete=complete_embedders,
    help="For the collection, if it has to be made.",
)
@key_value_option("--option", "An option of the embedder. Repeatable.")
@database_option
@format_option
@pass_session
def add(
    session: Session,
    *,
    file: TextIO,
    kind: Any,
    on_error: Any,
    batch_size: int | None,
    collection: str | None,
    embedder: str | None,
    option: dict[str, str],
) -> None:
    """Put records in, from lines, JSON lines or CSV.

    They come from FILE, or from what is piped in. Records with known ids are replaced.

    \b
    lines  each line is the content of a record
    jsonl  {"id": "a", "content": "The cat", "metadata": {"year": 2020}}, an object a line;
           "text" is as good as "content", and any other value is metadata;
           "vector" for a collection without an embedder
    json   a list of such objects
    csv    columns named like that; cells are read like values of --where (2020, true), empty
           ones are left out

    Records without an id get one. Batch after batch is stored, so that a run that was interrupted can
    be repeated (with ids): what is there already is passed over.
    """
    if option and not embedder:
        raise click.UsageError("--option goes with --embedder.")
    with session.open(write=True, create=embedder is not None) as database:
        found = _collection(session, database, collection, embedder, option)
        lines: Iterator[str] = _decoded(file)
        kind = kind or _SUFFIXES.get(Path(getattr(file, "name", "")).suffix.lower())
        if kind is None:
            kind, lines = guess_format(lines)
            if kind != "lines":
                note(f"Reading JSON{' lines' if kind == 'jsonl' else ''} (--input lines takes them as text).")
        unreadable, place = 0, "item" if kind == "json" else "line"

        def on_bad_line(number: int, error: InvalidInputError) -> None:
            nonlocal unreadable
            if on_error == "raise":
                raise InvalidInputError(
                    f"{place} {number}: {error}; or pass such {place}s over with --on-error quarantine"
                )
            unreadable += 1
            note(f"{place.capitalize()} {number} is left out: {error}")

        with ProgressBar("Adding", "records") as progress:
            records = read_records(lines, kind, on_bad_line)
            report = found.ingest(records, batch_size=batch_size, on_error=on_error, progress=progress)
        with ProgressBar("Indexing", "vectors") as progress:
            found.optimize(progress=progress)
        fields = {
            "collection": found.name,
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "embedded": report.embedded,
            "from_the_cache" if session.format != "table" else "from the cache": report.cached,
            "truncated": report.truncated,
            "failed": report.failed,
            "unreadable": unreadable,
            "seconds": round(report.seconds, 3),
        }
    write_fields(session.format, fields)


def _decoded(file: TextIO) -> Iterator[str]:
    try:
        # `yield from` would close the file where it is left in the middle.
        for line in file:  # noqa: UP028
            yield line
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"the input is not UTF-8: {error}; convert it, for example with iconv") from error


def _collection(
    session: Session, database: Database, name: str | None, embedder: str | None, options: dict[str, str]
) -> Collection:
    if embedder is None:
        return the_collection(database, name)
    return database.get_or_create_collection(
        name or "records", embedder=typed_reference(session, embedder, options)
    )
