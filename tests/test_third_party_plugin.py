"""The plugin in examples/ is a stranger's: built, installed and used through public ways only.

Its own tests are run by test_plugin_guide, which makes it from the page for plugin authors.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "third_party_plugin"

USE = """
import json, sys
from vecdb.embedding import EmbedderHost
from vecdb.plugins import Plugins

plugins = Plugins(strict=True)
[status] = [found for found in plugins.listing() if found.name == "hashing"]
info = plugins.embedder("hashing")
loaded = "vecdb_hashing.embedder" in sys.modules
with EmbedderHost(info, info.configure({"dimension": 256})) as host:
    query, near, far = host.embed(["Johana Muller", "Johanna Müller", "Hans Meyer"], metric="cosine").check()
import click
cli = click.Group()
plugins.add_commands(cli)
print(json.dumps({
    "distribution": status.distribution, "version": status.version, "bundled": status.bundled,
    "embedders": status.embedders, "loaded early": loaded, "dimension": len(query),
    "near": float(query @ near), "far": float(query @ far), "commands": sorted(cli.commands),
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A copy of the example, and a folder with the plugin installed from the wheel that was built of it."""
    copy = tmp_path_factory.mktemp("stranger") / "plugin"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "dist"))
    target = copy.parent / "site"
    command = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, copy]
    run = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return copy, target


def python(target, *arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(target)}
    for name in ("VECDB_LOAD_PLUGINS", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def test_it_is_found_by_its_entry_point_and_used(site, tmp_path):
    run = python(site[1], "-c", USE, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["distribution"] == "vecdb-hashing"
    assert found["version"] == "0.1.0"
    assert not found["bundled"]
    assert found["embedders"] == ["hashing"]
    assert not found["loaded early"]
    assert found["dimension"] == 256
    assert found["near"] > 0.5
    assert found["far"] < 0.2
    assert "ngrams" in found["commands"]


def test_listing_embedders_does_not_load_it(site, tmp_path):
    program = "import sys, vecdb; vecdb.Plugins().embedders(); print('vecdb_hashing' in sys.modules, *sys.modules)"
    run = python(site[1], "-c", program, cwd=tmp_path)
    found, *modules = run.stdout.split()
    assert found == "True", run.stderr
    assert not {"vecdb_hashing.embedder", "torch", "sqlalchemy"} & set(modules)
