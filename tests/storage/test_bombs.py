"""Pictures and sounds that grow without end, or lie: quarantined, while the others go in."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from click.testing import CliRunner

import vecdb
from vecdb.cli.main import cli


@pytest.fixture
def command(folder, monkeypatch):
    """Run `vecdb --db DATABASE …` on a database with a collection of vectors."""
    monkeypatch.setenv("VECDB_LOAD_PLUGINS", "")
    with vecdb.open(folder) as database:
        database.create_collection("c", dimension=2)

    def run(*arguments, input=None):
        done = CliRunner().invoke(cli, ["--db", str(folder), *arguments], input=input, prog_name="vecdb")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


# --- pictures and sounds ------------------------------------------------------------------------


def png(width, height):
    """A picture of one colour, one bit a pixel: 13,000 x 13,000 in 20 KB."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    body = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def wav(frames, *, rate=8000, channels=1, bits=16, declared=None):
    size = len(frames) if declared is None else declared
    block = channels * bits // 8
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", (36 + size) % 2**32, b"WAVE", b"fmt ", 16, 1, channels, rate,
                       (rate * block) % 2**32, block % 2**16, bits, b"data", size)  # fmt: skip
    return head + frames


TONE = (np.sin(np.arange(8000) / 10) * 20_000).astype("<i2").tobytes()

INGEST = """
import resource, sys, warnings
from pathlib import Path
import vecdb
embedder, folder = sys.argv[1], Path(sys.argv[2])
files = sorted(path for path in folder.iterdir() if path.suffix != ".vecdb" and path.suffix != ".onnx")
with vecdb.open(folder / "media.vecdb") as database:
    media = database.create_collection("media", embedder=embedder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for copy in (False, True):
        records = [vecdb.Record(f"{path.name} {copy}", path, {}) for path in files]
        report = media.ingest(records, on_error="quarantine", copy=copy)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    print(sorted(record.id for record in media))
    print(sorted(failure.id for failure in media.failures()))
    print(used)
    assert all(failure.error for failure in media.failures())
    assert database.check()
"""


def ingested(embedder, folder):
    done = subprocess.run([sys.executable, "-c", INGEST, embedder, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    stored, failed, used = done.stdout.splitlines()
    return eval_list(stored), eval_list(failed), int(used)


def eval_list(text):
    return json.loads(text.replace("'", '"'))


def test_pictures_that_are_bombs_are_quarantined_and_the_others_go_in(tmp_path):
    for module in ("onnx", "onnxruntime", "PIL"):
        pytest.importorskip(module)
    from tests.plugins.image.networks import classifier, saved

    saved(classifier(), tmp_path / "net.onnx")
    good, bomb = png(64, 64), png(13_000, 13_000)
    assert len(bomb) < 30_000
    files = {"good.png": good, "bomb.png": bomb, "cut.png": good[:50], "text.png": b"no picture"}
    files["larger.png"] = png(30_000, 30_000)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    stored, failed, used = ingested(f"cnn:{tmp_path / 'net.onnx'}", tmp_path)
    assert stored == ["good.png False", "good.png True"]
    bad = sorted(set(files) - {"good.png"})
    assert failed == sorted(f"{name} {copy}" for name in bad for copy in (False, True))
    assert used < 300  # MiB: the first bomb alone would be 500


def test_sounds_that_are_bombs_are_quarantined_and_the_others_go_in(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    silence = io.BytesIO()
    with soundfile.SoundFile(silence, "w", 8000, 1, format="FLAC") as file:
        for _ in range(120):
            file.write(np.zeros(8000 * 60, np.int16))  # two hours
    files = {
        "good.wav": wav(TONE),
        "silence.flac": silence.getvalue(),
        "endless.wav": wav(TONE, declared=2**32 - 100),
        "no rate.wav": wav(TONE, rate=0),
        "wild rate.wav": wav(TONE, rate=4_000_000_000),
        "channels.wav": wav(TONE, channels=60_000),
        "no channels.wav": wav(TONE, channels=0),
        "bits.wav": wav(TONE, bits=1),
        "cut.flac": silence.getvalue()[:100],
        "text.wav": b"no sound",
    }
    assert len(files["silence.flac"]) < 2_000_000
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    stored, failed, used = ingested("mfcc", tmp_path)
    assert {"good.wav False", "good.wav True"} <= set(stored) <= {
        f"{name} {copy}" for name in ("good.wav", "endless.wav", "bits.wav") for copy in (False, True)
    }
    assert set(failed) == {f"{name} {copy}" for name in files for copy in (False, True)} - set(stored)
    assert used < 400  # MiB: the silence alone would be 230 as floats, and 461 as doubles


def test_vecdb_index_passes_over_a_bomb(command, folder, tmp_path):
    pytest.importorskip("soundfile")
    media = tmp_path / "media"
    media.mkdir()
    (media / "good.wav").write_bytes(wav(TONE))
    (media / "bad.wav").write_bytes(wav(TONE, rate=4_000_000_000))
    done = command("index", "--collection", "sounds", "--audio-embedder", "mfcc", str(media))
    assert "Traceback" not in done.output
    assert "bad.wav" in command("failures", "list", "--collection", "sounds-audio").output
    with vecdb.open(folder) as database:
        (record,) = database.collection("sounds-audio")
        assert record.content.name == "good.wav"
