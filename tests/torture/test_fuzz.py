"""The fuzzing judges rightly: broken readers are caught, each in its way, and what once broke something does not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.torture import fuzz
from tests.torture.campaign import Run
from tests.torture.fuzzing import REGRESSIONS, TARGETS
from tests.torture.fuzzing.mutation import mutated, shrunk
from tests.torture.fuzzing.target import BrokenPromise, Guard, Target, judge

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fuzzing limits the memory of Linux processes")


def _key_error(data, folder):
    {}["missing"]


def _wrong(data, folder):
    raise BrokenPromise("3 instead of 4")


def _reads_elsewhere(data, folder):
    Path("/etc/hostname").exists() and Path("/etc/hostname").read_bytes()
    Path("/etc/passwd").read_bytes()


def _writes_elsewhere(data, folder):
    (folder.parent / "elsewhere").write_bytes(data)


def _starts(data, folder):
    subprocess.run([sys.executable, "-c", ""], check=True)


def _slow(data, folder):
    end = time.process_time() + 1.2
    while time.process_time() < end:
        pass


def _fine(data, folder):
    (folder / "own").write_bytes(data)


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        (_key_error, "KeyError from tests/torture/test_fuzz.py, _key_error"),
        (_wrong, "BrokenPromise from"),
        (_reads_elsewhere, "touched what is not its own: open"),
        (_writes_elsewhere, "touched what is not its own: open"),
        (_starts, "touched what is not its own: subprocess.Popen"),
        (_slow, "slow"),
        (_fine, None),
    ],
)
def test_a_reader_that_breaks_a_promise_is_caught(reader, kind, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    fault = judge(Target("reader", lambda folder: [b""], reader), b"input", own, Guard(own))
    assert (fault is None) if kind is None else fault.kind.startswith(kind)


_LYING = """
import os
from tests.torture.fuzzing import TARGETS, target
def run(data, folder):
    {body}
TARGETS = [target.Target("filters", lambda folder: [b"a seed", b"another seed"], run)]
"""


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("data[:1] == b'b' and os.abort()", "ends the interpreter (SIGABRT)"),
        ("len(data) > 3 and bytearray(1 << 30)", "memory from"),
        ("if b'z' in data: raise KeyError(data)", "KeyError from"),
    ],
    ids=["abort", "memory", "error"],
)
def test_a_broken_reader_is_found_in_a_child_and_seen_again_alone(body, kind, tmp_path, monkeypatch):
    """The child is a process of its own, where a module beside the others takes the place of the target."""
    lying = tmp_path / "lying" / "sitecustomize.py"
    lying.parent.mkdir()
    (lying.parent / "lying_target.py").write_text(_LYING.format(body=body))
    lying.write_text(
        "import importlib, sys\n"
        "real = importlib.import_module\n"
        "def swapped(name, *rest):\n"
        "    return real('lying_target' if name == 'tests.torture.fuzzing.filters' else name, *rest)\n"
        "importlib.import_module = swapped\n"
    )
    monkeypatch.syspath_prepend(str(lying.parent))
    outcome = fuzz.fuzz(Run(3, 1, tmp_path / "run", say=lambda text: None), ["filters"], unguided=True)
    assert any(kind in failure for failure in outcome.failures), outcome
    assert outcome.counts["inputs"] >= 2


def test_inputs_are_shrunk_to_what_matters():
    assert shrunk(b"x" * 500 + b"needle" + b"y" * 700, lambda data: b"needle" in data) == b"needle"


def test_mutations_stay_within_their_length_and_differ():
    import random

    chance = random.Random(1)
    made = {mutated(b"some words of an input", chance, [b"other"], [b"word"], 40) for _ in range(200)}
    assert len(made) > 150
    assert max(map(len, made)) <= 40


def _kept(name):
    folder = REGRESSIONS / name.replace(" ", "_")
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("name", list(TARGETS))
def test_seeds_and_what_once_broke_something_are_read(name, tmp_path):
    """In a process of its own, as in the campaign, but for no longer than they take."""
    run = Run(0, 1, tmp_path, say=lambda text: None)
    outcome = fuzz.fuzz(run, [name], unguided=True)
    absent = [key for key in outcome.counts if key.startswith("targets not here")]
    if absent:
        pytest.skip(absent[0])
    assert outcome.failures == ()
    assert outcome.counts["inputs"] >= outcome.counts["seeds"] > 0
    assert outcome.counts["regressions"] == len(_kept(name))
