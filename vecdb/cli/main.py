"""`vecdb`: the group of all commands, and how errors end it.

A command's module is imported when the command is used, because `vecdb --help` has to be quick; so its
line of help stands in `COMMANDS` (a test compares it with the command's own).
"""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

import click

from vecdb.cli.options import group_database_option
from vecdb.cli.session import Session
from vecdb.errors import CollectionNotFoundError, PluginLoadError, PluginWarning, VecdbError, VecdbWarning
from vecdb.version import __version__

INTERRUPTED = 130

# Section: {command: (where it is, its help in a line)}.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "demo": ("demo:demo", "Try vecdb: search the documentation of Python itself."),
        "init": ("commands.databases:init", "Make an empty database."),
        "index": ("commands.index:index", "Put files and folders in; again: only what changed."),
        "search": ("commands.search:search", "Find the records nearest to a text or a file."),
    },
    "Records": {
        "add": ("commands.add:add", "Put records in, from lines, JSON lines or CSV."),
        "get": ("commands.records:get", "Show records by their ids."),
        "delete": ("commands.records:delete", "Delete records, by ids or by a filter."),
        "count": ("commands.records:count", "Count records."),
        "failures": ("commands.failures:failures", "What could not be embedded, and trying again."),
    },
    "Collections and embedders": {
        "collections": ("commands.collections:collections", "List, make, show and delete collections."),
        "embedders": ("commands.embedders:embedders", "List, show and check embedders."),
        "train": ("commands.train:train", "Train an embedder on texts of your own."),
        "plugins": ("commands.plugins:plugins", "List the installed plugins."),
    },
    "Care": {
        "info": ("commands.info:info", "Show versions, sizes and the state of everything."),
        "check": ("commands.databases:check", "Look for damage, and mend it."),
        "reindex": ("commands.databases:reindex", "Build the search indexes anew."),
        "backup": ("commands.databases:backup", "Copy the database, also while it is in use."),
        "upgrade": ("commands.databases:upgrade", "Bring an older database to this version."),
        "vacuum": ("commands.databases:vacuum", "Give back the space of what was deleted."),
        "completion": ("commands.completion:completion", "Print what makes your shell complete vecdb commands."),
    },
}
_PLACES = {name: place for section in COMMANDS.values() for name, (place, _) in section.items()}


class VecdbGroup(click.Group):
    """The group of all commands: imports a command on use, asks plugins for theirs, ends errors in one line."""

    _asked_plugins = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, those of plugins too."""
        self._ask_plugins(ctx)
        return [*_PLACES, *sorted(name for name in self.commands if name not in _PLACES and " " not in name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; its module is imported now."""
        if cmd_name not in _PLACES:
            self._ask_plugins(ctx)
        if cmd_name in _PLACES and cmd_name not in self.commands:
            module, _, name = _PLACES[cmd_name].partition(":")
            self.add_command(getattr(importlib.import_module(f"vecdb.cli.{module}"), name), cmd_name)
        command = self.commands.get(cmd_name)
        if isinstance(command, click.Group):
            self._ask_plugins(ctx)
            self._complete_group(cmd_name, command)
        return command

    def _complete_group(self, group_name: str, group: click.Group) -> None:
        """Move what plugins added under the names "GROUP NAME" into that group."""
        for name in [name for name in self.commands if name.rpartition(" ")[0] == group_name]:
            own, addition = name.rpartition(" ")[2], self.commands.pop(name)
            if own in group.commands:
                message = f"a plugin's command {name!r} would replace one that exists already, and is left out"
                warnings.warn(PluginWarning(message), stacklevel=2)
            else:
                group.add_command(addition, own)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click; for an unknown command, the nearest one is named."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            nearest = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            advice = f"Did you mean {nearest[0]!r}?" if nearest else "See 'vecdb --help'."
            ctx.fail(f"No such command {args[0]!r}. {advice}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections of commands, without importing them."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, help) for name, (_, help) in section.items()], col_max=12)
        others = [name for name in self.list_commands(ctx) if name not in _PLACES]
        if others:
            with formatter.section("From plugins"):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(formatter.width - 16)) for name in others]
                )

    def _ask_plugins(self, ctx: click.Context) -> None:
        """Let plugins add their commands, once; a broken one must not take the help away."""
        if self._asked_plugins:
            return
        self._asked_plugins = True
        try:
            ctx.ensure_object(Session).plugins.add_commands(self)
        except PluginLoadError as error:  # VECDB_STRICT_PLUGINS=1
            warnings.warn(VecdbWarning(str(error)), stacklevel=2)
        for name in sorted(self.commands):
            group = name.rpartition(" ")[0]
            if group and group not in {*_PLACES, *self.commands}:
                message = f"a plugin's command {name!r} is left out: there is no group {group!r}"
                warnings.warn(PluginWarning(message), stacklevel=2)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; in standalone mode (the default) it ends with `sys.exit`.

        0: done; 1: a `VecdbError` or a failed check; 2: wrong usage; 130: interrupted.
        """
        with warnings.catch_warnings():
            if not sys.warnoptions:  # what libraries warn of concerns their programmers; -W shows it
                warnings.simplefilter("ignore")
            warnings.simplefilter("always", VecdbWarning)
            _show_warnings_in_one_line()
            options: dict[str, Any] = {"windows_expand_args": windows_expand_args, **extra}
            if not standalone_mode:
                return super().main(args, prog_name, complete_var, standalone_mode=False, **options)
            sys.exit(self._status(args, prog_name, complete_var, options))

    def _status(
        self, args: Sequence[str] | None, prog_name: str | None, complete_var: str | None, options: dict[str, Any]
    ) -> int:
        try:
            found = super().main(args, prog_name, complete_var, standalone_mode=False, **options)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except click.Abort as error:
            interrupted = isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)
            click.echo("Interrupted." if interrupted else "Aborted.", err=True)
            return INTERRUPTED if interrupted else 1
        except (VecdbError, OSError) as error:
            click.echo(f"Error: {_one_line(error)}{_advice(error)}", err=True)
            return 1
        except MemoryError:
            click.echo("Error: there is not enough memory for this; give less at once, or free some", err=True)
            return 1
        return found if isinstance(found, int) else 0


def _advice(error: BaseException) -> str:
    """What the library's message cannot say: which command helps."""
    if isinstance(error, CollectionNotFoundError) and "collections create" not in str(error):
        return "; make one with `vecdb collections create`, or with `vecdb add --embedder`"
    return ""


def _one_line(error: BaseException | str) -> str:
    return " ".join(str(error).split())


def _show_warnings_in_one_line() -> None:
    """Print a `VecdbWarning` as "Warning: …", each once."""
    usual, shown = warnings.showwarning, set[str]()

    def show(  # noqa: PLR0917  (the signature that `warnings` calls)
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, VecdbWarning):
            usual(message, category, filename, lineno, file, line)
        elif str(message) not in shown:
            shown.add(str(message))
            click.echo(f"Warning: {_one_line(str(message))}", err=True)

    warnings.showwarning = show


@click.group(
    cls=VecdbGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": None,
        "max_content_width": 100,
    },
)
@group_database_option
@click.version_option(__version__, "--version", "-V", prog_name="vecdb")
def cli() -> None:
    """A vector search database in a folder: records go in, are embedded, indexed and found by meaning.

    Start with `vecdb demo`, or with `vecdb --db notes.vecdb index FOLDER` and `vecdb search "words"`.
    """


def main() -> NoReturn:
    """The entry point of the script `vecdb`."""
    cli.main(prog_name="vecdb")
    raise SystemExit(0)
