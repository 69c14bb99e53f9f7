"""`vecdb train`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from vecdb.cli.embedder_options import option_lines
from vecdb.cli.files import Skipped, find_files, read_text
from vecdb.cli.options import (
    ExampleCommand,
    complete_collections,
    complete_embedders,
    database_option,
    format_option,
    key_value_option,
)
from vecdb.cli.output import note, write_fields
from vecdb.cli.passages import split_passages
from vecdb.cli.session import Session, pass_session
from vecdb.cli.training import train_model
from vecdb.errors import AlreadyExistsError
from vecdb.types import Record


@click.command(
    cls=ExampleCommand,
    example="vecdb train fasttext docs --output docs.bin --option dimension=64 --option min_count=1\n"
    "vecdb train fasttext --collection notes --output notes.bin --option min_count=1",
)
@click.argument("name", shell_complete=complete_embedders)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--collection",
    "-c",
    "collections",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_collections,
    help="Train on the texts of this collection. Repeatable.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The model file to write.")
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@key_value_option("--option", "An option of the training. Repeatable.")
@click.option("--options", "list_options", is_flag=True, help="List the training's options, and do nothing.")
@database_option
@format_option
@pass_session
def train(
    session: Session,
    *,
    name: str,
    paths: tuple[Path, ...],
    collections: tuple[str, ...],
    output: Path | None,
    force: bool,
    option: dict[str, str],
    list_options: bool,
) -> None:
    """Train an embedder on texts of your own.

    They are in files, folders, or a collection. Afterwards:
    vecdb collections create NAME --embedder fasttext:MODEL.
    Which embedders can be trained is told by `vecdb embedders list`.
    """
    info = session.plugins.embedder(name)
    if list_options:
        option_lines(session.format, info.trainer_class().config)
        return
    if output is None:
        raise click.UsageError("Give --output, the file to write.")
    if not paths and not collections:
        raise click.UsageError("Give files or folders to learn from, or --collection.")
    if not output.parent.is_dir():
        raise click.UsageError(f"There is no folder {str(output.parent)!r} for --output; make it first.")
    if output.exists() and not force:
        raise AlreadyExistsError(f"{output} exists already; choose another --output, or replace it with --force")
    info.trainer_class()
    report: dict[str, Any] = dict(
        train_model(info, _texts(session, paths, collections), output, option, from_text=True)
    )
    note(f"Wrote {output}. Next: vecdb collections create NAME --embedder {name}:{output}")
    write_fields(session.format, {key: round(value, 3) if key == "seconds" else value for key, value in report.items()})


def _texts(session: Session, paths: tuple[Path, ...], collections: tuple[str, ...]) -> Iterator[str]:
    files, skipped = find_files(paths, Path.cwd())
    for file in files:
        if file.kind == "text":
            try:
                yield from (passage.text for passage in split_passages(read_text(file.path)))
            except (OSError, UnicodeDecodeError):
                skipped.add("not UTF-8 text, or unreadable", file.path)
    _tell(skipped)
    if collections:
        with session.open() as database:
            for name in collections:
                for record in database.collection(name):
                    yield from _texts_of(record)


def _texts_of(record: Record) -> Iterator[str]:
    """The texts of a record: its content, or those of the fields."""
    parts = record.content.values() if isinstance(record.content, dict) else [record.content]
    yield from (part for part in parts if isinstance(part, str))


def _tell(skipped: Skipped) -> None:
    for line in skipped.lines():
        note(line)
