"""The searching examples in a clone that has no data beside it, with the reader's own files, and on real data."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tests.shared import needs_shared

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example with arguments, as it stands (bare=False) or where no data lies beside it."""

    def run(name: str, *arguments: object, bare: bool = True) -> str:
        script = EXAMPLES / name
        if bare:
            (tmp_path / "clone" / "examples").mkdir(parents=True, exist_ok=True)
            script = shutil.copy(script, tmp_path / "clone" / "examples" / name)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_two_languages_from_forty_sentences(run):
    found = run("two_languages.py")
    first = dict(re.findall(r"^(\S.*)\n  0\.\d+  (.*)$", found, re.MULTILINE))
    assert first["Fahrkarte kaufen"] == "she buys a ticket at the station"
    assert first["krankes Kind"] == "the sick child is in the hospital"
    assert first["Klaviermusik"] == "she plays the piano every evening"


def test_two_languages_from_ones_own_sentences(run, tmp_path):
    lines = runpy.run_path(str(EXAMPLES / "two_languages.py"))["GERMAN"].strip().splitlines()
    pairs = [line.split("|") for line in lines]
    (tmp_path / "pairs.tsv").write_text("\n".join(f"{german}\t{english}" for english, german in pairs), "utf-8")
    found = run("two_languages.py", tmp_path / "pairs.tsv", "buy tickets")
    assert "40 pairs" in found
    assert re.search(r"^buy tickets\n  0\.\d+  sie kauft eine Fahrkarte am Bahnhof$", found, re.MULTILINE)


@needs_shared("retrieval-tldr")
def test_two_languages_on_real_sentences(run):
    right, questions = map(int, re.search(r"(\d+) of (\d+) questions", run("two_languages.py", bare=False)).groups())
    assert questions > 150
    assert right / questions > 0.65


def test_three_embedders_stand_side_by_side(run, tmp_path):
    found = run("three_embedders.py")
    assert "random table: equal words               fastText trained here                   word2vec" in found
    assert "square root" in found
    (tmp_path / "lines.txt").write_text("a red apple\na green pear\nthe blue sky\ntwo dogs bark\n" * 2, "utf-8")
    found = run("three_embedders.py", tmp_path / "lines.txt", "purple elephant")
    assert "4 lines of" in found
    assert "none of the tokens of 'purple" in found


def test_photos_without_a_network_say_what_to_give(run, tmp_path):
    assert "--model cnn:MODEL.onnx" in run("search_photos.py")
    assert "Give the folder" in run("search_photos.py", "--model", "cnn:some.onnx")
    assert "some.onnx" in run("search_photos.py", tmp_path, "--model", "cnn:some.onnx")


@needs_shared("cnn", "images-caltech25")
def test_photos_of_ones_own_are_kept(run, tmp_path):
    import zipfile

    from tests.shared import shared

    kinds = ("dalmatian", "revolver")
    with zipfile.ZipFile(shared("images-caltech25", "images.zip")) as archive:
        for kind in kinds:
            names = [name for name in archive.namelist() if name.startswith(kind)]
            archive.extractall(tmp_path / "mine", names[:3])
    (tmp_path / "mine" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    query = next((tmp_path / "mine" / "dalmatian").iterdir())
    first = run("search_photos.py", tmp_path / "mine", query, "--db", tmp_path / "kept.vecdb", bare=False)
    assert "6 embedded now, 1 cannot be read" in first
    hits = re.findall(r"^  0\.\d+  (\w+)/", first, re.MULTILINE) + re.findall(r"^  1\.00  (\w+)/", first, re.MULTILINE)
    assert hits.count("dalmatian") == 3
    again = run("search_photos.py", tmp_path / "mine", query, "--db", tmp_path / "kept.vecdb", bare=False)
    assert "0 embedded now" in again
