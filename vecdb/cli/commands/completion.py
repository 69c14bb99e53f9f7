"""`vecdb completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vecdb.cli.options import ExampleCommand


@click.command(cls=ExampleCommand, example="vecdb completion zsh")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes your shell complete vecdb commands.

    And their options, and the names of collections and embedders.

    \b
    bash: add to ~/.bashrc   eval "$(vecdb completion bash)"
    zsh:  add to ~/.zshrc    eval "$(vecdb completion zsh)"
    fish: vecdb completion fish > ~/.config/fish/completions/vecdb.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(click.get_current_context().find_root().command, {}, "vecdb", "_VECDB_COMPLETE").source())
