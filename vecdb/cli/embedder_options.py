"""Showing the options of an embedder or of a training, from its config class."""

from __future__ import annotations

import dataclasses
from typing import Any

from vecdb.cli.output import Column, write_rows
from vecdb.options import affects, fields_of, is_required


def option_rows(config: type) -> list[dict[str, Any]]:
    """What each option of a config class is."""
    rows = []
    for field in fields_of(config):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        rows.append(
            {
                "option": field.name,
                "default": "(required)" if is_required(field) else _typed(default),
                "affects": affects(field),
                "help": field.metadata.get("help", ""),
                "choices": list(field.metadata.get("choices", ())),
            }
        )
    return rows


def option_lines(format: str, config: type) -> None:
    """Print the options of a config class."""
    columns = [Column("option"), Column("default"), Column("help", shrink=True, least=20, wrap=True)]
    rows = option_rows(config)
    if format != "table":
        columns += [Column("affects"), Column("choices")]
    else:
        rows = [{**row, "help": " ".join([row["help"], *_choices(row)])} for row in rows]
    write_rows(format, columns, rows)


def _choices(row: dict[str, Any]) -> list[str]:
    return [f"[{' | '.join(map(str, row['choices']))}]"] if row["choices"] else []


def _typed(value: Any) -> str:
    """A value as it is typed behind KEY=."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
