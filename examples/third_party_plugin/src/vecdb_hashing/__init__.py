"""A vecdb plugin: an embedder of hashed character n-grams, and a command that shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import vecdb

if TYPE_CHECKING:
    import click


@dataclass(frozen=True)
class HashingConfig:
    """The options."""

    dimension: int = vecdb.option(512, help="length of the vectors; more means fewer collisions")
    shortest: int = vecdb.option(2, help="length of the shortest character n-grams")
    longest: int = vecdb.option(4, help="length of the longest character n-grams")


HASHING = vecdb.EmbedderInfo(
    name="hashing",
    summary="Hashed character n-grams: finds what is spelled alike; needs no model",
    modalities=frozenset({"text"}),
    config=HashingConfig,
    factory="vecdb_hashing.embedder:HashingEmbedder",
    metrics=("cosine",),
    distribution="vecdb-hashing",
)


@vecdb.hookimpl
def vecdb_register_embedders() -> Iterable[vecdb.EmbedderInfo]:
    """Offer the embedder."""
    return [HASHING]


@vecdb.hookimpl
def vecdb_register_commands(cli: click.Group) -> None:
    """Add `vecdb ngrams`."""
    from vecdb_hashing.command import ngrams  # noqa: PLC0415  (click is not needed to list embedders)

    cli.add_command(ngrams)
