"""`vecdb plugins`."""

from __future__ import annotations

import click

from vecdb.cli.options import ExampleCommand, format_option
from vecdb.cli.output import Column, write_rows
from vecdb.cli.session import Session, pass_session


@click.command(cls=ExampleCommand, example="vecdb plugins")
@format_option
@pass_session
def plugins(session: Session) -> None:
    """List the installed plugins.

    A broken plugin is listed with its error; it does not keep the others from working. The environment
    variable VECDB_LOAD_PLUGINS=a,b loads these only.
    """
    rows = [
        {
            "plugin": status.name,
            "distribution": status.distribution,
            "version": status.version,
            "embedders": list(status.embedders),
            "error": status.error,
        }
        for status in session.plugins.listing()
    ]
    columns = [Column("plugin"), Column("distribution"), Column("version"), Column("embedders", shrink=True, wrap=True)]
    if session.format != "table" or any(row["error"] for row in rows):
        columns.append(Column("error", shrink=True, least=30, weight=2, wrap=True))
    write_rows(session.format, columns, rows)
