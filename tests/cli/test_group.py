"""The group: plugins' commands, errors in one line, warnings in one line, exit statuses."""

import json
import subprocess
import sys
import warnings

import click
import pytest

import vecdb
from vecdb.cli import session as session_module
from vecdb.cli.commands.embedders import embedders
from vecdb.cli.commands.failures import failures
from vecdb.cli.session import Session

MAIN = "from vecdb.cli.main import main; main()"


class Greeting:
    """A plugin with a command."""

    @vecdb.hookimpl
    def vecdb_register_commands(self, cli):
        @cli.command()
        @click.argument("name")
        def greet(name):
            """Greet somebody."""
            click.echo(f"Hello {name}")


class Broken:
    """A plugin whose hook fails."""

    @vecdb.hookimpl
    def vecdb_register_commands(self, cli):
        raise RuntimeError("no such thing")


@pytest.fixture
def with_plugins(monkeypatch):
    """Let the session have these plugins."""

    def use(*plugins, strict=False):
        made = vecdb.Plugins(load=[], strict=strict)
        for plugin in plugins:
            made.register(plugin)
        monkeypatch.setattr(Session, "plugins", made)

    return use


def test_a_plugins_command_runs_and_is_listed(new_cli, run, with_plugins):
    with_plugins(Greeting())
    assert run("greet", "Ada", group=new_cli).stdout == "Hello Ada\n"
    overview = run("--help", group=new_cli).stdout
    assert "From plugins:\n  greet  Greet somebody." in overview


@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_plugin_does_not_take_the_help_away(strict, new_cli, run, with_plugins):
    with_plugins(Broken(), Greeting(), strict=strict)
    result = run("--help", group=new_cli)
    assert "search" in result.stdout
    assert result.stderr.count("Warning: ") == 1
    assert "no such thing" in result.stderr


def test_a_command_that_a_plugin_may_not_replace(new_cli, run, with_plugins):
    class Thief:
        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            cli.add_command(click.Command("search"))

    with_plugins(Thief())
    result = run("--help", group=new_cli)
    assert "replaces the command search" in result.stderr
    assert "--explain" in run("search", "--help", group=new_cli).stdout


def test_a_plugins_command_may_belong_to_a_group_of_vecdb(new_cli, run, with_plugins, monkeypatch):
    monkeypatch.setattr(embedders, "commands", dict(embedders.commands))

    class Exporter:
        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            @cli.command("embedders export-all")
            def export_all():
                """Export everything."""
                click.echo("exported")

            cli.add_command(click.Command("nothing"), "embedders list")

    with_plugins(Exporter())
    assert run("embedders", "export-all", group=new_cli).stdout == "exported\n"
    result = run("embedders", "--help", group=new_cli)
    assert "Export everything." in result.stdout
    assert "export" not in run("--help", group=new_cli).stdout
    assert run("embedders", "list", "--format", "json", group=new_cli).stdout.strip()


def test_of_a_plugin_that_fails_no_command_stays_in_a_group_and_the_first_of_two_counts(
    new_cli, run, with_plugins, monkeypatch
):
    class First:
        name = "failures tell"

        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            cli.add_command(click.Command("tell", callback=lambda: click.echo(type(self).__name__)), self.name)

    class Second(First):
        pass

    class Broken(First):
        name = "failures half"

        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            super().vecdb_register_commands(cli)
            raise RuntimeError("half way")

    monkeypatch.setattr(failures, "commands", dict(failures.commands))
    with_plugins(First(), Second(), Broken())
    result = run("failures", "tell", group=new_cli)
    assert result.stdout == "First\n"
    assert "failures tell, which exists already" in result.stderr
    assert "half way" in result.stderr
    assert "half" not in run("failures", "--help", group=new_cli).stdout


def test_a_command_for_a_group_that_does_not_exist_is_warned_of(new_cli, run, with_plugins):
    class Lost:
        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            cli.add_command(click.Command("x"), "embeders export")

    with_plugins(Lost())
    result = run("plugins", "--help", group=new_cli)
    assert "embeders" not in result.stdout
    assert "there is no group 'embeders'" in run("--help", group=new_cli).stderr + result.stderr


@pytest.mark.parametrize("kind", [UserWarning, RuntimeWarning, vecdb.VecdbWarning])
def test_only_warnings_of_vecdb_concern_its_user(kind, new_cli, run, with_plugins):
    class Warner:
        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            @cli.command()
            def warn():
                """Warn."""
                warnings.warn("beware", kind, stacklevel=1)

    with_plugins(Warner())
    expected = "Warning: beware\n" if kind is vecdb.VecdbWarning else ""
    assert run("warn", group=new_cli).stderr == expected


def test_too_little_memory_ends_in_one_line(new_cli, run, with_plugins):
    class Glutton:
        @vecdb.hookimpl
        def vecdb_register_commands(self, cli):
            @cli.command()
            def eat():
                """Eat."""
                raise MemoryError

    with_plugins(Glutton())
    assert run("eat", group=new_cli, status=1).stderr.startswith("Error: there is not enough memory")


def test_an_unknown_command_names_the_nearest_one(run):
    result = run("serch", "x", status=2)
    assert "Did you mean 'search'?" in result.stderr
    assert result.stdout == ""


def test_an_error_is_one_line_and_status_1(run, notes):
    result = run("collections", "show", "nix", status=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: there is no collection 'nix'")
    assert result.stderr.count("\n") == 1
    assert "vecdb collections create" in result.stderr
    assert "--embedder" in result.stderr


def test_an_error_of_the_operating_system_is_one_line_too(run, monkeypatch, notes):
    def fail(self, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Session, "open", fail)
    assert run("count", status=1).stderr == "Error: [Errno 28] No space left on device\n"


def test_a_warning_is_one_line_and_stands_once(run, monkeypatch, notes):
    def warn(database, name):
        for _ in range(2):
            warnings.warn(vecdb.IndexRebuiltWarning("the index is\nbuilt anew"), stacklevel=1)
        return usual(database, name)

    usual = session_module.the_collection
    monkeypatch.setattr("vecdb.cli.commands.records.the_collection", warn)
    result = run("delete", "a", "-y", "-c", "notes")
    assert result.stderr == "Warning: the index is built anew\nDeleted 1 record.\n"


@pytest.mark.parametrize(("cause", "status"), [(KeyboardInterrupt, 130), (EOFError, 1)])
def test_interrupted(cause, status, run, monkeypatch, notes):
    def interrupt(self, **_):
        raise cause

    monkeypatch.setattr(Session, "open", interrupt)
    result = run("count", status=status)
    assert result.stderr.strip() in ("Interrupted.", "Aborted.")
    assert (status == 130) == ("Interrupted" in result.stderr)


def test_a_closed_pipe_is_no_error(notes):
    reader = "import sys; sys.stdin.readline()"
    command = f"{sys.executable} -c '{MAIN}' search cat --format jsonl | {sys.executable} -c '{reader}'"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_only_database_here_is_taken(run, notes):
    assert run("count").stdout == "4\n"


def test_without_a_database_the_usage_error_tells_what_to_give(run):
    result = run("count", status=2)
    assert "there is no database" in result.stderr
    assert "--db" in result.stderr


def test_with_two_databases_one_must_be_named(run, notes):
    run("init", "other.vecdb")
    assert "notes.vecdb, other.vecdb" in run("count", status=2).stderr
    assert run("--db", "notes.vecdb", "count").stdout == "4\n"
    assert run("count", "--db", "notes.vecdb").stdout == "4\n"
    assert run("--db", "other.vecdb", "count", "--db", "notes.vecdb").stdout == "4\n"


def test_the_variable_names_the_database_and_the_option_wins(run, notes, monkeypatch):
    run("init", "other.vecdb")
    monkeypatch.setenv("VECDB_DB", "other.vecdb")
    assert run("count").stdout == "0\n"
    assert run("--db", "notes.vecdb", "count").stdout == "4\n"
    assert run("count", "--db", "notes.vecdb").stdout == "4\n"


def test_a_database_that_is_named_must_exist_to_be_read(run, own_folder):
    assert "init" in run("--db", "none.vecdb", "count", status=1).stderr
    assert not (own_folder / "none.vecdb").exists()


def test_what_the_encoding_of_the_terminal_lacks_is_escaped(run, notes):
    run("add", "-c", "notes", input='{"id": "ü", "content": "cat 日本 🎉"}\n')
    code = f"import sys; sys.argv = ['vecdb', 'get', '\\u00fc', '--format', 'json']; {MAIN}"
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["id"] == "ü"
    assert done.stdout.isascii()
