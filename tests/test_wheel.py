"""The wheel, built and installed into a folder of its own, is complete: nothing is taken from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vecdb

ROOT = Path(__file__).parents[1]
USE = """
import json, pathlib, sys
import numpy as np
import vecdb
from vecdb.storage.schema import migrations_folder

site, folder = map(pathlib.Path, sys.argv[1:])
with vecdb.open(folder / "new.vecdb") as database:
    notes = database.create_collection("notes", dimension=3)
    notes.add(["a", "b"], ids=["x", "y"], vectors=np.eye(3)[:2])
    hits = [hit.id for hit in notes.search([0.1, 0.9, 0])]
status = {found.name: found.embedders for found in vecdb.Plugins(strict=True).listing() if found.bundled}
print(json.dumps({
    "inside": pathlib.Path(vecdb.__file__).is_relative_to(site),
    "hits": hits,
    "migrations": sorted(path.name for path in (migrations_folder() / "versions").glob("*.py")),
    "migrations inside": migrations_folder().is_relative_to(site),
    "plugins": status,
    "version": vecdb.__version__,
}))
"""
UPGRADE = """
import sys, pathlib
from vecdb.database import upgrade
print(upgrade(pathlib.Path(sys.argv[1])).name)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, built from a copy of the checkout so that nothing is left behind in it."""
    for module in ("build", "hatchling"):
        pytest.importorskip(module)
    copy = tmp_path_factory.mktemp("wheel") / "vecdb"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy.parent / "dist", copy]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = (copy.parent / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def site(built):
    """The folder with the wheel installed."""
    target = built.parents[1] / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    command = [sys.executable, "-m", "pip", "install", *options, built]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return target


@pytest.fixture(scope="module")
def dependencies(built):
    """What the wheel depends on, without the checkout that may be installed beside it as editable."""
    import hnswlib
    import numpy as np
    import sqlalchemy

    folders = {Path(module.__file__).parent for module in (np, sqlalchemy)} | {Path(hnswlib.__file__)}
    target = built.parents[1] / "dependencies"
    target.mkdir()
    for place in {folder.parent for folder in folders}:
        for path in place.iterdir():
            if "vecdb" not in path.name.lower() and path.suffix != ".pth" and not (target / path.name).exists():
                (target / path.name).symlink_to(path)
    return target


def python(site, dependencies, *arguments, cwd):
    """A child that sees the installed wheel and its dependencies, and no site-packages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VECDB_", "PYTEST_"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(dependencies)])
    command = [sys.executable, "-S", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_what_the_wheel_holds(built):
    names = set(zipfile.ZipFile(built).namelist())
    assert {"vecdb/py.typed", "vecdb/migrations/env.py", "vecdb/migrations/versions/0001_initial.py"} <= names
    packages = {name.split("/")[0] for name in names}
    plugins = {path.name for path in (ROOT / "plugins").glob("*/vecdb_*")}
    assert packages == {"vecdb", *plugins, f"vecdb_engine-{vecdb.__version__}.dist-info"}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vecdb").rglob("*.py")}
    assert expected <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "examples"))]


def test_it_works_without_the_checkout(site, dependencies, tmp_path):
    run = python(site, dependencies, "-c", USE, site, tmp_path, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["inside"]
    assert told["migrations inside"]
    assert told["hits"] == ["y", "x"]
    assert told["migrations"] == sorted(path.name for path in (ROOT / "migrations" / "versions").glob("*.py"))
    assert told["plugins"] == {
        "audio": ["mfcc", "spectrogram"],
        "image": ["cnn"],
        "tables": ["embedding-table"],
        "text": ["bert", "elmo", "onnx", "sentence-transformers", "static", "use"],
        "words": ["fasttext", "glove", "word2vec"],
    }
    assert told["version"] == vecdb.__version__
    older = shutil.copytree(ROOT / "tests" / "assets" / "schema2.vecdb", tmp_path / "older.vecdb")
    run = python(site, dependencies, "-c", UPGRADE, older, cwd=tmp_path)
    assert (run.returncode, run.stdout.strip()) == (0, "vecdb.sqlite3.before-upgrade-2"), run.stderr


def test_its_command_line_starts(site, dependencies, tmp_path):
    run = python(site, dependencies, "-c", "from vecdb.cli.main import main; main()", "--version", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert vecdb.__version__ in run.stdout
