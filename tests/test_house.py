"""The rules of the house, checked by machine."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vecdb
from vecdb import hookspecs

ROOT = Path(__file__).parents[1]
PACKAGES = [path for folder in ("vecdb", "plugins", "migrations") for path in sorted((ROOT / folder).rglob("*.py"))]
EVERYTHING = [*PACKAGES, *(path for folder in ("tests", "examples") for path in sorted((ROOT / folder).rglob("*.py")))]
LONGEST_FILE = 450
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command):
    found = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if "No module named " + command[0] in found.stderr:
        pytest.skip(f"{command[0]} is not installed (pip install -e '.[dev]')")
    return found


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def test_ruff_has_no_complaint():
    found = run("ruff", "check", "--output-format", "concise", ".")
    assert found.returncode == 0, found.stdout


def test_mypy_has_no_complaint():
    found = run("mypy")
    assert found.returncode == 0, found.stdout


def test_no_module_imports_a_higher_floor():
    script = Path(sys.executable).with_name("lint-imports")
    if not script.exists():
        pytest.skip("import-linter is not installed (pip install -e '.[dev]')")
    found = subprocess.run([script, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert re.search(r"\b0 broken", found.stdout)


def test_no_file_is_too_long_to_be_read():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    too_long = {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert too_long == {}


def test_no_pickle_and_no_assert_in_the_packages():
    """pickle runs what a file says; an assert is gone under -O and says nothing to the caller."""
    found = []
    for path in PACKAGES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Assert):
                names = ["assert"]
            elif isinstance(node, ast.keyword):
                names = [node.arg or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id]
            forbidden = {"pickle", "cPickle", "dill", "shelve", "marshal", "assert", "allow_pickle", "eval", "exec"}
            found += [f"{name_of(path)}:{node.lineno}: {name}" for name in names if name.split(".")[0] in forbidden]
    # vecdb.testing is for tests: pytest shows its asserts, as its users expect.
    assert [place for place in found if not place.startswith("vecdb/testing/")] == []


def test_nothing_is_caught_without_a_name():
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in PACKAGES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert found == []


def test_all_is_sorted_and_complete():
    assert list(vecdb.__all__) == sorted(vecdb.__all__)
    assert len(set(vecdb.__all__)) == len(vecdb.__all__)
    public = {
        name
        for name in dir(vecdb)
        if not name.startswith("_")
        and not inspect.ismodule(getattr(vecdb, name))
        and name not in {"annotations", "Any"}
    }
    assert public - {"TYPE_CHECKING"} == set(vecdb.__all__) - {"__version__"}
    assert all(getattr(vecdb, name) is not None for name in vecdb.__all__)


def test_every_error_and_warning_is_public():
    from vecdb import errors

    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert classes <= set(vecdb.__all__)
    for name in classes:
        assert issubclass(getattr(errors, name), errors.VecdbError | errors.VecdbWarning)


def public_members(owner):
    for name, value in vars(owner).items():
        if not name.startswith("_") and (callable(value) or isinstance(value, property | classmethod | staticmethod)):
            yield name, getattr(value, "__func__", value)


CLASSES_AND_FUNCTIONS = [
    name for name in vecdb.__all__ if inspect.isroutine(getattr(vecdb, name)) or inspect.isclass(getattr(vecdb, name))
]


@pytest.mark.parametrize("name", CLASSES_AND_FUNCTIONS)
def test_every_public_name_is_documented(name):
    value = getattr(vecdb, name)
    assert (inspect.getdoc(value) or "").strip()
    if inspect.isclass(value) and not issubclass(value, BaseException):
        undocumented = [member for member, found in public_members(value) if not inspect.getdoc(found)]
        assert undocumented == []


def test_every_hook_is_documented_and_used_by_a_plugin():
    hooks = [name for name in vars(hookspecs) if name.startswith("vecdb_")]
    assert hooks
    plugins = "".join(path.read_text(encoding="utf-8") for path in EVERYTHING if path.parts[-1] == "__init__.py")
    for hook in hooks:
        assert inspect.getdoc(getattr(hookspecs, hook))
        assert f"def {hook}(" in plugins


def test_the_readme_names_every_bundled_embedder_and_the_hooks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for info in vecdb.Plugins(load=[]).embedders():
        assert f"`{info.name}`" in readme
    for hook in (name for name in vars(hookspecs) if name.startswith("vecdb_")):
        assert hook in readme


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(vecdb.__version__)}\b", changelog, re.MULTILINE)


def test_the_version_is_one():
    assert importlib.metadata.version("vecdb-engine") == vecdb.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", vecdb.__version__)


def test_every_extra_that_a_message_names_exists():
    for info in vecdb.Plugins(load=[]).embedders():
        assert info.extra is None or info.extra in PROJECT["optional-dependencies"]
    assert extras_within("all") == set(PROJECT["optional-dependencies"]) - {"dev"}


def extras_within(name):
    """An extra and those that it brings."""
    inner = re.findall(r"vecdb-engine\[([^]]+)\]", " ".join(PROJECT["optional-dependencies"][name]))
    return {name}.union(*(extras_within(one.strip()) for found in inner for one in found.split(",")))


def test_importing_vecdb_is_cheap():
    program = (
        "import sys, vecdb; vecdb.Plugins().embedders(); "
        "print(*sorted({'sqlalchemy', 'alembic', 'hnswlib', 'soundfile', 'torch', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_no_path_of_a_machine_is_in_the_code():
    # Put together here, or this file would be the first to be found.
    forbidden = ["/" + "work/", "/" + "tmp/venv", "/" + "root/", "/" + "home/"]
    found = [name_of(path) for path in EVERYTHING for word in forbidden if word in path.read_text(encoding="utf-8")]
    assert found == []
