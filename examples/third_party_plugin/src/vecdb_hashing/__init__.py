"""Texts that are spelled alike: the hooks, the options, and what vecdb must know without loading anything."""

from dataclasses import dataclass

import click

import vecdb


@dataclass(frozen=True)
class HashingConfig:
    """The options."""

    dimension: int = vecdb.option(512, help="length of the vectors; more means fewer collisions")
    shortest: int = vecdb.option(2, help="length of the shortest character n-grams")
    longest: int = vecdb.option(4, help="length of the longest character n-grams")

    def __post_init__(self):
        if not 1 <= self.shortest <= self.longest or self.dimension < 8:
            raise vecdb.InvalidInputError("hashing: give 1 <= shortest <= longest, and dimension 8 or more")


HASHING = vecdb.EmbedderInfo(
    name="hashing",
    summary="hashed character n-grams: finds what is spelled alike; needs no model",
    modalities=frozenset({"text"}),
    config=HashingConfig,
    factory="vecdb_hashing.embedder:HashingEmbedder",
    metrics=("cosine",),
    distribution="vecdb-hashing",
)


@vecdb.hookimpl
def vecdb_register_embedders():
    return [HASHING]


@vecdb.hookimpl
def vecdb_register_commands(cli):
    @cli.command()
    @click.argument("text")
    def ngrams(text):
        """Show what the embedder `hashing` sees in TEXT. Example: vecdb ngrams Müller"""
        from vecdb_hashing.embedder import ngrams_of  # noqa: PLC0415  (listing embedders must not load them)

        click.echo(" ".join(ngrams_of(text, HashingConfig.shortest, HashingConfig.longest)))
