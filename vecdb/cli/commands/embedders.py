"""`vecdb embedders`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecdb.cli.embedder_options import option_lines, option_rows
from vecdb.cli.options import (
    ExampleCommand,
    complete_embedders,
    format_option,
    key_value_option,
    typed_options,
)
from vecdb.cli.output import Column, note, write_fields, write_rows
from vecdb.cli.session import Session, pass_session
from vecdb.embedder import EmbedderInfo, EmbedderRef, required_options
from vecdb.embedding import EmbedderHost
from vecdb.errors import DecodeError, ItemError, VecdbError

_NO_FIT = "The made-up items do not fit this embedder; give --items FILE."


@click.group()
def embedders() -> None:
    """List, show and check embedders."""


@embedders.command("list", cls=ExampleCommand, example="vecdb embedders list")
@format_option
@pass_session
def list_embedders(session: Session) -> None:
    """List the embedders. Nothing is loaded and nothing downloaded for it.

    "installed": whether the libraries that it needs are there, or what installs them.
    """
    owners = {name: status for status in session.plugins.listing() for name in status.embedders}
    for_people = session.format == "table"
    rows = [
        {
            "embedder": info.name,
            "takes": sorted(info.modalities),
            "installed": _installation(info) or "yes" if for_people else not info.missing(),
            "trainable": info.trainer is not None,
            "plugin": owners[info.name].name,
            "extra": info.extra,
            "missing": info.missing(),
            "summary": info.summary,
        }
        for info in session.plugins.embedders()
    ]
    columns = [Column("embedder"), Column("takes"), Column("installed"), Column("trainable")]
    if not for_people:
        columns += [Column("plugin"), Column("extra"), Column("missing")]
    write_rows(session.format, [*columns, Column("summary", shrink=True, least=20, wrap=True)], rows)


def _installation(info: EmbedderInfo) -> str:
    """What to install before an embedder works; empty where nothing is missing."""
    missing = info.missing()
    if not missing:
        return ""
    return f"pip install '{info.distribution}[{info.extra}]'" if info.extra else f"pip install {' '.join(missing)}"


@embedders.command(cls=ExampleCommand, example="vecdb embedders show mfcc --option n_mels=20")
@click.argument("name", metavar="NAME[:MODEL]", shell_complete=complete_embedders)
@key_value_option("--option", "An option of the embedder. Repeatable.")
@format_option
@pass_session
def show(session: Session, name: str, option: dict[str, str]) -> None:
    """Show what an embedder takes and needs, and its options.

    With all that it needs to be given (its model), it is loaded, and its dimension and fingerprint are
    shown as well: vectors are comparable where the fingerprints are equal.
    """
    reference = EmbedderRef.parse(name, option)
    info = session.plugins.embedder(reference.name)
    fields: dict[str, Any] = {
        "embedder": info.name,
        "summary": info.summary,
        "takes": sorted(info.modalities),
        "metrics": list(info.metrics),
        "needs": list(info.requires),
        "missing": info.missing(),
        "extra": info.extra,
        "trainable": info.trainer is not None,
    }
    wanted = set(required_options(info.config)) - set(reference.options)
    if reference.options or not (wanted or fields["missing"]):
        try:
            with EmbedderHost(info, info.configure(typed_options(info, reference.options))) as host:
                fields |= {"dimension": host.dimension, "fingerprint": host.fingerprint()}
        except VecdbError:
            if reference.options:
                raise
            # Its defaults alone do not make it work; which options there are is what was asked.
    if session.format != "table":
        write_fields(session.format, {**fields, "options": option_rows(info.config)})
        return
    if fields["missing"]:
        fields["install"] = _installation(info)
    write_fields("table", {key: value for key, value in fields.items() if value not in ([], None) and key != "extra"})
    click.echo()
    option_lines("table", info.config)


@embedders.command(cls=ExampleCommand, example="vecdb embedders check spectrogram --option n_mels=20")
@click.argument("name", metavar="NAME[:MODEL]", shell_complete=complete_embedders)
@key_value_option("--option", "An option of the embedder. Repeatable.")
@click.option(
    "--items",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with four or more different items that it can embed: a text, or a path to a sound or image, "
    "on each line. Default: made-up ones.",
)
@format_option
@pass_session
def check(session: Session, name: str, option: dict[str, str], items: Path | None) -> None:
    """Check that an embedder keeps the contract.

    For authors of plugins, and after an update of a library: shapes, order, batches, threads, silence,
    working offline, and more. Ends with 1 if a check fails.
    """
    from vecdb.testing import run_contract  # noqa: PLC0415  (not needed by other commands)

    reference = EmbedderRef.parse(name, option)
    info = session.plugins.embedder(reference.name)
    options = typed_options(info, reference.options)
    if items is None and not info.modalities & {"text", "image", "audio"}:
        raise click.UsageError(_NO_FIT)
    results = run_contract(info, options, None if items is None else _items(info, items))
    if items is None and any(found.passed is False for found in results) and not _made_up_items_fit(info, options):
        raise click.UsageError(_NO_FIT)
    state = {True: "passed", False: "FAILED", None: "skipped"}
    rows = [
        {"check": found.name, "result": state[found.passed], "message": _without_traceback(found.message)}
        for found in results
    ]
    columns = [Column("check"), Column("result"), Column("message", shrink=True, least=20, wrap=True)]
    write_rows(session.format, columns, rows)
    failed = [found for found in results if found.passed is False]
    note(f"{len(results) - len(failed)} of {len(results)} checks passed or were skipped, {len(failed)} failed.")
    if failed:
        raise click.exceptions.Exit(1)


def _made_up_items_fit(info: EmbedderInfo, options: dict[str, Any]) -> bool:
    """False if the embedder itself says of some that it cannot embed them; any other fault is a finding."""
    from vecdb.testing.samples import good_samples  # noqa: PLC0415

    try:
        with EmbedderHost(info, info.configure(options)) as host:
            errors = host.embed(good_samples(info.modalities)).errors
    except VecdbError:
        return True
    return not any(isinstance(error.__cause__, ItemError) for error in errors)


def _without_traceback(message: str) -> str:
    """A message whose traceback is cut down to its last line, which says what happened."""
    before, found, traceback = message.partition("Traceback (most recent call last)")
    return before + traceback.strip().splitlines()[-1] if found else message


def _items(info: EmbedderInfo, file: Path) -> list[str | Path]:
    try:
        lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DecodeError(f"{file} is not UTF-8: {error}; convert it, for example with iconv") from error
    return list(lines) if info.modalities & {"text", "ids"} else [Path(line) for line in lines]
