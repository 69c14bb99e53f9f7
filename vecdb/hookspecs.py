"""The hooks that a plugin may implement (pluggy, project name and entry-point group `vecdb`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

from vecdb.embedder import EmbedderInfo

if TYPE_CHECKING:
    import click

ENTRY_POINT_GROUP = "vecdb"

hookspec = HookspecMarker("vecdb")
hookimpl = HookimplMarker("vecdb")


@hookspec
def vecdb_register_embedders() -> Iterable[EmbedderInfo]:  # type: ignore[empty-body]
    """Return the embedders that this plugin offers.

    It must be cheap: no model library is imported, no file is read, nothing is downloaded.
    """


@hookspec
def vecdb_register_commands(cli: click.Group) -> None:
    """Add commands to the `vecdb` command line, with `cli.add_command` or `@cli.command()`.

    The name "embedders export" adds the command `export` to the group `embedders`.
    """
