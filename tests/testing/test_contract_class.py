"""The contract as a pytest class: how an author uses it, and what pytest shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vecdb
from tests.testing import embedders
from tests.testing.embedders import GOOD, info_of
from vecdb.testing import CHECKS, ContractCase, EmbedderContract


class TestSample(EmbedderContract):
    info = info_of(embedders.Good)
    good = GOOD
    bad = ["unknown"]
    runtime_change = {"threads": 2}
    vector_change = {"seed": 2}
    near = ("the red dog", "the small red dog", "music in a city")

    def set_up(self, folder):
        table = folder / "table"
        table.write_text("weights")
        self.config = {"table": table}


AUTHOR = """
from tests.testing import embedders
from vecdb.testing import EmbedderContract

class TestBroken(EmbedderContract):
    info = embedders.info_of(embedders.NotANumber)

class TestUnnamed(EmbedderContract):
    pass
"""


def test_each_clause_is_a_test_and_a_broken_one_fails_with_advice(tmp_path):
    module = tmp_path / "test_author.py"
    module.write_text(AUTHOR)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(module), "-q", "-p", "no:cacheprovider", "-k", "finite or weights"],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert "1 failed, 1 skipped" in run.stdout
    assert "2 errors" in run.stdout
    assert "the vector of good item 0 holds NaN" in run.stdout
    assert "needs `info = ...` or `embedder = 'name'`" in run.stdout


def test_importing_the_kit_does_not_need_pytest():
    code = "import sys, vecdb, vecdb.testing; print('pytest' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_every_clause_says_what_it_means():
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 20
    assert all(check.run.__doc__ for check in CHECKS)


def test_too_few_items_are_refused():
    with pytest.raises(vecdb.InvalidInputError, match="at least 4 different items"):
        ContractCase(info_of(embedders.Good), {}, ["one", "one", "two", "three"])


def test_an_embedder_of_a_local_class_cannot_be_taken_to_another_process():
    config = type("Local", (), {"__annotations__": {}, "__qualname__": "f.<locals>.Local"})
    import dataclasses

    info = info_of(embedders.Good, dataclasses.dataclass(frozen=True)(config))
    with pytest.raises(vecdb.InvalidInputError, match="at the top of a module"):
        _ = ContractCase(info, {}, GOOD).other_process
