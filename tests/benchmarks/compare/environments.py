"""A virtual environment for each peer in the cache folder, made by pip from the ordinary index."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from pathlib import Path

INSTALL_SECONDS = 1800


class InstallError(Exception):
    """Something could not be installed; the message is the reason in one line."""


def environment(folder: Path, name: str, requirements: tuple[str, ...]) -> Path:
    """The interpreter of the environment `name`, made with `requirements` unless it stands there with them."""
    home = folder / name
    python = home / "bin" / "python"
    wanted = hashlib.sha256(json.dumps([sys.version, *requirements]).encode()).hexdigest()
    mark = home / "installed.txt"
    if mark.exists() and mark.read_text("ascii") == wanted:
        return python
    print(f"installing {' '.join(requirements)}", file=sys.stderr, flush=True)
    venv.create(home, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", *requirements]
    run(command, f"pip cannot install {' '.join(requirements)}")
    mark.write_text(wanted, "ascii")
    return python


def run(command: list[str], failure: str, folder: Path | None = None) -> str:
    """The output of a command; raises InstallError with `failure` and the last line it complained with."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{failure}: not done after {INSTALL_SECONDS} s") from error
    except OSError as error:
        raise InstallError(f"{failure}: {error.strerror}: {command[0]}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        wrong = [line for line in lines if "ERROR" in line] or lines
        raise InstallError(f"{failure}: {wrong[-1].strip()[:200]}")
    return done.stdout
