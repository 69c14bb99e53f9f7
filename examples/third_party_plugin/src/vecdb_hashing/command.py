"""The command `vecdb ngrams`."""

from __future__ import annotations

import click

from vecdb_hashing import HashingConfig
from vecdb_hashing.embedder import ngrams as ngrams_of


@click.command()
@click.argument("text")
@click.option("--shortest", default=HashingConfig.shortest, show_default=True, help="Shortest length.")
@click.option("--longest", default=HashingConfig.longest, show_default=True, help="Longest length.")
def ngrams(text: str, shortest: int, longest: int) -> None:
    """Show the character n-grams that the embedder `hashing` sees in TEXT.

    Example: vecdb ngrams "Müller" --longest 3
    """
    for ngram in ngrams_of(text, shortest, longest):
        click.echo(ngram)
