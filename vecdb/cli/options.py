"""Options that several commands have, and the class of commands whose help ends with an example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from vecdb.cli.session import DATABASE_VARIABLE, Session
from vecdb.cli.where import parse_where
from vecdb.embedder import EmbedderInfo, EmbedderRef
from vecdb.errors import EmbedderNotFoundError, VecdbError

FORMATS = ("table", "json", "jsonl", "csv")

F = TypeVar("F", bound=Callable[..., Any])


class ExampleCommand(click.Command):
    """A command with an example, which its help ends with and the tests run.

    Args:
        example: one or more lines as typed in a shell.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the example, its lines as they are."""
        lines = self.example.strip().splitlines()
        formatter.write_paragraph()
        formatter.write(f"Example{'s' if len(lines) > 1 else ''}:\n")
        for line in lines:
            formatter.write(f"  {line}\n")


def _set_path(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).path = value


def _set_format(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).format = value


def _database_option(variable: str | None) -> Callable[[F], F]:
    return click.option(
        "--db",
        type=click.Path(path_type=Path),
        envvar=variable,
        expose_value=False,
        callback=_set_path,
        metavar="PATH",
        help=f"The database's folder. Default: ${DATABASE_VARIABLE}, or the only *.vecdb folder here.",
    )


# --db may stand before or behind the command. Only the group looks at the variable: a command's own
# --db that is not given must not replace what the group was given.
group_database_option = _database_option(DATABASE_VARIABLE)
database_option = _database_option(None)


def format_option(function: F) -> F:
    """--format, for what prints results."""
    return click.option(
        "--format",
        type=click.Choice(FORMATS),
        expose_value=False,
        callback=_set_format,
        help="How results are printed; table (the default) is for people and cuts long text.",
    )(function)


collection_option = click.option(
    "--collection", "-c", metavar="NAME", help="Which collection. Default: the only one."
)
any_collection_option = click.option(
    "--collection", "-c", metavar="NAME", help="Of this collection. Default: of all."
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def _parse_where(_ctx: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        return parse_where(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


where_option = click.option(
    "--where",
    "-w",
    multiple=True,
    metavar="FILTER",
    callback=_parse_where,
    help="Only records whose metadata fit: key=value, also == != > >= < <=, key~text (contains), or JSON. Repeatable.",
)


def _parse_options(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE.")
        if key in found:
            raise click.BadParameter(f"{key} is given twice.")
        found[key] = text
    return found


def key_value_option(name: str, help: str) -> Callable[[F], F]:
    """A repeatable option KEY=VALUE, given to the command as a dict of text."""
    return click.option(name, multiple=True, metavar="KEY=VALUE", callback=_parse_options, help=help)


def typed_options(info: EmbedderInfo, options: Mapping[str, str]) -> dict[str, Any]:
    """An embedder's options, given as text, with the types of its config."""
    config = info.configure(options, from_text=True)
    return {name: getattr(config, name) for name in options}


def typed_reference(session: Session, embedder: str, options: Mapping[str, str]) -> EmbedderRef:
    """`NAME` or `NAME:MODEL` with options given as text, checked; relative paths are from here."""
    reference = EmbedderRef.parse(embedder, options)
    return EmbedderRef(reference.name, typed_options(session.plugins.embedder(reference.name), reference.options))


def embedder_title(session: Session, name: str | None) -> str | None:
    """The embedder's name; tables tell as well that no installed plugin has it, or that its plugin is broken."""
    if name is None or session.format != "table":
        return name
    try:
        session.plugins.embedder(name)
    except EmbedderNotFoundError:
        return f"{name} (not installed)"
    except VecdbError:
        return f"{name} (broken)"
    return name


def complete_collections(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Iterable[str]:
    """The names of collections, for shell completion; none where there is no database."""
    try:
        with ctx.ensure_object(Session).open() as database:
            return [name for name in database.collections() if name.startswith(incomplete)]
    except (VecdbError, click.ClickException):
        return []


def complete_embedders(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Iterable[str]:
    """The names of embedders, for shell completion."""
    return [info.name for info in ctx.ensure_object(Session).plugins.embedders() if info.name.startswith(incomplete)]
