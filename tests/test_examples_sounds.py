"""examples/search_sounds.py: on sounds that it makes, on real clips, and on what cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.shared import needs_shared, shared

pytest.importorskip("soundfile")
pytest.importorskip("soxr")

PROGRAM = Path(__file__).resolve().parents[1] / "examples" / "search_sounds.py"


def search(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(PROGRAM), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def names(run: subprocess.CompletedProcess[str]) -> list[str]:
    assert run.returncode == 0, run.stderr
    return [line.split("  ", 1)[1] for line in run.stdout.splitlines() if line[:5].strip().replace(".", "").isdigit()]


def test_without_a_folder_it_makes_its_own_sounds():
    run = search()
    assert run.stdout.startswith("20 sounds; the nearest to bell 1.wav:")
    found = names(run)
    assert found[0] == "bell 1.wav"
    assert all(name.startswith("bell") for name in found[:4])
    assert len(found) == 6


def test_a_folder_with_a_broken_file_and_a_sound_to_look_for(tmp_path):
    sys.path.insert(0, str(PROGRAM.parent))
    try:
        from search_sounds import make_sounds
    finally:
        sys.path.pop(0)
    make_sounds(tmp_path)
    (tmp_path / "a broken.mp3").write_bytes(b"no sound")
    run = search(tmp_path, tmp_path / "rain 3.wav")
    assert all(name.startswith("rain") for name in names(run)[:4])
    assert "a broken.mp3 is not a sound file" in run.stderr
    unreadable = search(tmp_path, tmp_path / "a broken.mp3")
    assert unreadable.returncode == 1
    assert "is not a sound file of a known kind" in unreadable.stderr
    assert "Traceback" not in unreadable.stderr


def test_a_folder_without_sounds(tmp_path):
    run = search(tmp_path)
    assert run.returncode == 1
    assert "holds no sounds that can be read" in run.stderr


@needs_shared("audio-esc10")
def test_real_recordings(tmp_path):
    with zipfile.ZipFile(shared("audio-esc10", "clips.zip")) as archive:
        for number, name in enumerate(sorted(archive.namelist())):
            if number % 4 == 0:
                archive.extract(name, tmp_path)
    found = names(search(tmp_path))
    assert len(found) == 6
    kind = found[0].split("/")[0]
    assert sum(name.startswith(kind) for name in found) >= 3
