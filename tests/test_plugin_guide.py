"""plugins/README.md, followed word by word, makes examples/third_party_plugin, and it works."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import subprocess
import sys
import sysconfig
import typing
from pathlib import Path

import pytest

import vecdb
from vecdb.options import Affects
from vecdb.testing import CHECKS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "third_party_plugin"
PAGE = (ROOT / "plugins" / "README.md").read_text("utf-8")
FILES = {name: text for name, _, text in re.findall(r"^\*\*`([^`]+)`\*\*\n\n(`{3,})\w+\n(.*?)^\2$", PAGE, re.M | re.S)}
COMMANDS = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
INSTEAD = {
    "python -m venv .venv": f"{sys.executable} -m venv --without-pip .venv",  # ensurepip takes longer than all else
    "pip install build": "true",  # no index is asked; it is among the requirements of the tests
    "python -m build": "python -m build --no-isolation",  # or it would ask an index for hatchling
}


def column(heading: str) -> list[str]:
    """The names in the first column of the table whose first heading is this one."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, heading
    return [name for row in table[1].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_page_has_every_file_of_the_example_to_the_letter():
    there = {
        path.relative_to(EXAMPLE).as_posix(): path.read_text("utf-8")
        for path in EXAMPLE.rglob("*")
        if path.is_file() and not {"__pycache__", ".pytest_cache", ".ruff_cache", "dist"} & set(path.parts)
    }
    assert there == FILES


def test_the_tables_name_what_there_is_and_nothing_else():
    assert column("field") == [field.name for field in dataclasses.fields(vecdb.EmbedderInfo)]
    assert column("clause") == [check.name for check in CHECKS]
    affects = [name for name in column("`affects`") if name != "affects"]
    assert affects == list(typing.get_args(Affects))
    methods = {name.partition("(")[0] for name in re.findall(r"^\| `([a-z]+(?:\([^`]*\))?)` \|", PAGE, re.MULTILINE)}
    assert {name for name in vars(vecdb.Embedder) if name[0].islower()} <= methods
    for name in set(re.findall(r"`vecdb\.([A-Za-z_]+)", PAGE)):
        assert hasattr(vecdb, name), name


def test_the_page_can_be_read_in_ten_minutes():
    assert len(PAGE.splitlines()) <= 330


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """An empty folder, and the environment of somebody who has Python, pip and what vecdb depends on.

    The commands `pip`, `pytest` and `vecdb` are those of the environment that runs this test; nothing
    is fetched from an index.
    """
    folder = tmp_path_factory.mktemp("author")
    return folder, {
        **{name: value for name, value in os.environ.items() if not name.startswith(("VECDB_", "PYTEST", "PYTHON"))},
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the value of the negated option: this means none
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "HOME": str(folder),
    }


def share(environment: Path) -> None:
    """Let a bare virtual environment see the packages of this one, as if they were installed there."""
    [site] = environment.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", "utf-8")
    starts = {"pip": "from pip._internal.cli.main import main", "pytest": "from pytest import console_main as main"}
    for name, start in {**starts, "vecdb": "from vecdb.cli.main import main"}.items():
        script = environment / "bin" / name
        script.write_text(f"#!{environment / 'bin' / 'python'}\n{start}\nraise SystemExit(main())\n", "utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name == "nt", reason="the commands of the page are those of a POSIX shell")
def test_the_page_followed_word_by_word(machine):
    folder, environment = machine
    where, activate, done = folder, "", {}
    for line in COMMANDS:
        if line.startswith("cd "):
            where = where / line[3:]
            for name, text in FILES.items():
                (where / name).write_text(text, "utf-8")
            continue
        command = INSTEAD.get(line, line)
        if line == ". .venv/bin/activate":
            share(where / ".venv")
            activate = f"{line} && "
        run = subprocess.run(
            ["/bin/sh", "-c", activate + command],
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"$ {command}\n{run.stdout}{run.stderr}"
        done[line] = run.stdout
    assert re.search(r"\d+ passed", done["pytest -q"])
    assert "FAILED" not in done["vecdb embedders check hashing"]
    assert "<mü" in done["vecdb ngrams Müller"]
    assert {path.name for path in (where / "dist").iterdir()} == {
        "vecdb_hashing-0.1.0-py3-none-any.whl",
        "vecdb_hashing-0.1.0.tar.gz",
    }
