"""SECURITY.md is true as far as a machine can tell: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line and "| what |" not in line]


def named(cell):
    """The files that a cell names; a name without a folder lies beside the one before, or in the folder after."""
    names = re.findall(r"`([\w./-]+)`", cell)
    folders = [Path(name).parent if Path(name).suffix else Path(name) for name in names if "/" in name]
    for name in names:
        choices = [Path(name)] if "/" in name else [folder / name for folder in folders]
        yield name, choices


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_rule_says_where_it_is_kept_and_where_it_is_tested(row):
    _, _, _, where, tests, _ = row.split("|")
    for cell in (where, tests):
        found = list(named(cell))
        assert found
        missing = [name for name, choices in found if not any((ROOT / choice).exists() for choice in choices)]
        assert missing == []
    assert "tests/" in tests


def test_no_loader_of_the_repository_is_left_out():
    """Every module that opens files of a format of its own is below a path that the page names."""
    loaders = re.compile(
        r"torch\.load\(|InferenceSession\(|h5py\.File\(|np\.load\(|load_file\(|from_pretrained\(|SoundFile\(|sqlite3\.connect\("
    )
    places = [name.rstrip("/") for name in re.findall(r"`((?:vecdb|plugins)/[\w./-]+)`", PAGE)]
    folders = {str(Path(place).parent) if place.endswith(".py") else place for place in places}
    opening = [
        path.relative_to(ROOT).as_posix()
        for folder in ("vecdb", "plugins")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if loaders.search(path.read_text("utf-8"))
    ]
    assert opening
    unnamed = [path for path in opening if not any(path.startswith(f"{folder}/") for folder in folders)]
    assert [path for path in unnamed if "/export/" not in path] == []
