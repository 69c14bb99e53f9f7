"""The documents are true: their examples run, and they name every command, hook, operator and embedder."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import runpy
import shlex
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import vecdb
from vecdb import hookspecs
from vecdb.cli.main import cli
from vecdb.storage.filters import _LOGIC, _OPERATORS
from vecdb.testing import run_contract

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_examples_of_the_readme_do_what_their_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    blocks = [block for block in PYTHON_BLOCKS if "vecdb.hookimpl" not in block]
    assert len(blocks) >= 2
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, namespace)
        assert printed.getvalue().splitlines() == re.findall(r"^# (.*)$", block, re.MULTILINE)
    namespace["db"].close()


def test_the_plugin_of_the_readme_is_short_and_passes_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [block for block in PYTHON_BLOCKS if "vecdb.hookimpl" in block]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 25, len(lines)
    (tmp_path / "readme_letters.py").write_text(block, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    plugin = importlib.import_module("readme_letters")
    plugins = vecdb.Plugins()
    plugins.register(plugin)
    results = run_contract(plugins.embedder("letters"), {}, ["abc", "hello world", "zebra", "quick fox"])
    assert [result for result in results if result.passed is False] == []
    with vecdb.open(tmp_path / "letters.vecdb", plugins=plugins) as db:
        words = db.create_collection("words", embedder="letters")
        words.add(["listen", "banana"])
        assert words.search("silent", k=1)[0].content == "listen"


def _commands(group: click.Group, before: str = "") -> set[str]:
    context = click.Context(group)
    found: set[str] = set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= _commands(command, f"{before}{name} ") if isinstance(command, click.Group) else {f"{before}{name}"}
    return found


def test_the_readme_names_every_command_and_no_other() -> None:
    section = README.split("## The command line")[1].split("\n## ")[0]
    named = set()
    for row in re.findall(r"^\| `([^`]+)`", section, re.MULTILINE):
        first, _, subcommands = row.replace("\\|", "|").partition(" ")
        named |= {f"{first} {name}".strip() for name in subcommands.split("|")}
    assert named == _commands(cli)


def test_the_readme_names_every_hook_operator_and_embedder() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("vecdb_")]
    assert hooks
    embedders = [info.name for info in vecdb.Plugins(load=[]).embedders()]
    assert embedders
    missing = [name for name in (*hooks, *_OPERATORS, *_LOGIC) if name not in README]
    missing += [name for name in embedders if f"`{name}`" not in README]
    assert not missing


def test_the_shell_lines_of_the_readme_are_real_commands() -> None:
    lines = re.findall(r"^\$ (vecdb .*)$", README, re.MULTILINE)
    assert len(lines) >= 3
    known = _commands(cli)
    for line in lines:
        words = [word for word in shlex.split(line)[1:] if not word.startswith("-")]
        assert any(" ".join(words).startswith(name) or name in " ".join(words) for name in known), line
        result = CliRunner().invoke(cli, [*shlex.split(line)[1:], "--help"])
        assert result.exit_code == 0, line


@pytest.mark.parametrize(
    "module",
    [
        info.name
        for package in ("vecdb", "vecdb_words", "vecdb_text", "vecdb_image", "vecdb_audio", "vecdb_tables")
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        if "__main__" not in info.name
    ],
)
def test_docstring_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


def test_the_package_docstring_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectors.txt").write_text("kitten 1 0\ncat 0.9 0.1\nsat 0.1 0.3\ndogs 0 1\nbark 0.1 0.9\n", "utf-8")
    _, code = inspect.cleandoc(vecdb.__doc__ or "").split("\n\n", 1)  # from Python 3.13 on it is dedented already
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == "a\n"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    assert printed.getvalue().strip()


def test_every_public_name_is_documented() -> None:
    public = {name: getattr(vecdb, name) for name in vecdb.__all__}
    undocumented = [
        name
        for name, found in public.items()
        if isinstance(found, type | types.FunctionType) and not (found.__doc__ or "").strip()
    ]
    assert undocumented == []


def test_the_changelog_knows_the_version() -> None:
    assert f"## {vecdb.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_ci_runs_the_test_command_of_the_readme() -> None:
    command = README.split("# the tests\n")[1].splitlines()[0]
    assert command == 'pip install -e ".[dev]" && python -m pytest'
    assert "grep -A1 '^# the tests' README.md" in (ROOT / ".ci" / "run").read_text("utf-8")
