"""Every help is right: what it lists exists, and its examples do what they say."""

import shlex
import shutil
import subprocess
import sys

import click
import pytest

from tests.cli.conftest import sine
from vecdb.cli.main import COMMANDS, cli
from vecdb.cli.options import ExampleCommand

DOCS = {
    "bread.md": "# Bread\n\nMix flour, water, salt and yeast. Let the dough rise. Bake the bread until it is brown.\n",
    "stars.md": "# Stars\n\nA star is a ball of hot gas. The sun is a star. At night the stars are far away.\n",
    "garden.txt": "Water the garden in the morning. The sun dries the soil, and the plants need water.\n\n"
    "Plant the bread wheat in spring; the plants rise when the soil is warm.\n",
}


def commands(group=cli, path=()):
    """All commands with their names: ("collections", "list")."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            else:
                yield (*path, name), command


# Of vecdb itself: those that plugins add to its groups have help of their own.
ALL = {path: command for path, command in commands() if command.callback.__module__.startswith("vecdb.")}


def test_every_command_of_the_design_is_there():
    designed = {
        "demo", "init", "collections list", "collections create", "collections show", "collections delete", "index",
        "add", "search", "get", "delete", "count", "failures list", "failures retry", "embedders list",
        "embedders show", "embedders check", "train", "plugins", "check", "reindex", "backup", "upgrade", "info",
    }  # fmt: skip
    assert designed <= {" ".join(path) for path in ALL}


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_the_line_in_the_overview_is_the_first_line_of_the_commands_own_help(name):
    with click.Context(cli) as ctx:
        own = cli.get_command(ctx, name).help
    [shown] = [help for section in COMMANDS.values() for known, (_, help) in section.items() if known == name]
    assert own.splitlines()[0] == shown


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_ends_with_an_example_of_the_command(path, run):
    assert isinstance(ALL[path], ExampleCommand)
    lines = run(*path, "--help").stdout.rstrip("\n").splitlines()
    examples = lines[max(i for i, line in enumerate(lines) if line.startswith("Example")) + 1 :]
    assert examples == [f"  {line}" for line in ALL[path].example.splitlines()]
    assert any(f"vecdb {' '.join(path)}" in line for line in examples)
    assert not any(option.help is None for option in ALL[path].params if isinstance(option, click.Option))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_example_works(path, run, notes, own_folder):
    (own_folder / "docs").mkdir()
    (own_folder / "sounds").mkdir()
    for name, text in DOCS.items():
        (own_folder / "docs" / name).write_text(text)
    sine(own_folder / "sounds" / "high.wav", 1000)
    (own_folder / "books.csv").write_text("id,content,year\nx,the dog,1950\ny,a number,2024\n")
    if any("mfcc" in line or "spectrogram" in line or "sounds" in line for line in ALL[path].example.splitlines()):
        pytest.importorskip("soundfile")
    if path == ("init",):
        shutil.rmtree(notes)
    for line in ALL[path].example.splitlines():
        piped, bar, command = line.rpartition(" | ")
        given = subprocess.run(shlex.split(piped), capture_output=True, text=True, check=True).stdout if bar else None
        program, *arguments = shlex.split(command)
        assert program == "vecdb"
        run(*arguments, input=given)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom vecdb.cli.main import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'sqlalchemy', 'alembic', 'hnswlib', 'torch', 'soundfile', 'soxr', 'vecdb.database'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Records:" in done.stdout
    assert done.stderr.strip() == "[]"


def test_version(run):
    import vecdb

    assert run("--version").stdout.strip() == f"vecdb, version {vecdb.__version__}"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell, run):
    assert "_VECDB_COMPLETE" in run("completion", shell).stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["vecdb", "se"], ["search"]),
        (["vecdb", "collections", "show", "n"], ["notes"]),
        (["vecdb", "embedders", "show", "fast"], ["fasttext"]),
    ],
)
def test_the_shell_completes_commands_collections_and_embedders(words, expected, notes, monkeypatch, capsys):
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_VECDB_COMPLETE", "bash_complete")
    with pytest.raises(SystemExit):
        cli.main([], prog_name="vecdb")
    found = [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]
    assert found == expected
