"""What an embedder takes and what it does not, before any work; files are read and decoded."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.embedding.lengths import Lengths, host_of
from vecdb.embedding import modality_of
from vecdb.embedding.content import MAX_TEXT_BYTES
from vecdb.errors import (
    DecodeError,
    InvalidInputError,
    LimitError,
    UnsupportedContentError,
)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("a.png", "text"),
        (Path("a.png"), "image"),
        (Path("A.JPEG"), "image"),
        (Path("a.webp"), "image"),
        (Path("a.wav"), "audio"),
        (Path("a.flac"), "audio"),
        (Path("a.opus"), "audio"),
        (Path("a.ogg"), "audio"),
        (Path("a.txt"), "text"),
        (Path("a.md"), "text"),
        (Path("a.rst"), "text"),
        (Path("a.csv"), "text"),
        (Path("a.html"), "text"),
        (Path("a.py"), "text"),
        (Path("a.json"), "text"),
        (Path("a.mp4"), None),
        (Path("a"), None),
        (vecdb.Image(b"x"), "image"),
        (vecdb.Audio(b"x"), "audio"),
        (b"x", None),
        (1, None),
        (None, None),
    ],
)
def test_modality_of(item, kind):
    assert modality_of(item) == kind


@pytest.mark.parametrize(
    ("takes", "item"),
    [
        ({"text"}, Path("a.png")),
        ({"text"}, Path("unknown")),
        ({"text"}, vecdb.Image(b"x")),
        ({"text"}, b"bytes"),
        ({"text"}, None),
        ({"image"}, "a.png"),
        ({"image"}, Path("a.txt")),
        ({"image"}, vecdb.Audio(b"x")),
        ({"image", "audio"}, Path("unknown")),
        ({"ids"}, Path("a.txt")),
    ],
)
def test_what_an_embedder_does_not_take_is_refused_before_any_work(takes, item):
    host = host_of(modalities=frozenset(takes))
    with pytest.raises(UnsupportedContentError, match="embedder 'lengths' takes"):
        host.check_content(item)
    assert Lengths.made == []


@pytest.mark.parametrize(
    ("takes", "item"),
    [
        ({"text"}, "text"),
        ({"ids"}, "key"),
        ({"text"}, Path("a.txt")),
        ({"image"}, Path("a.png")),
        ({"image"}, Path("unknown")),
        ({"audio", "text"}, Path("unknown.xyz")),
        ({"image", "text"}, "text"),
    ],
)
def test_what_an_embedder_takes(takes, item):
    host_of(modalities=frozenset(takes)).check_content(item)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), (" \n\u3000", "whitespace"), ("ab\0", "position 2"), ("ab\ud800c", "position 2")],
)
def test_text_that_means_nothing_is_refused(text, words):
    with pytest.raises(InvalidInputError, match=words):
        host_of().check_content(text, what="the query")


def test_a_text_file_is_read_as_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffnaïve".encode())
    with host_of() as host:
        assert host.embed([path]).check()[0, 0] == 5
    assert Lengths.made[0].calls == [["naïve"]]


@pytest.mark.parametrize(
    ("data", "cause", "words"),
    [
        (b"caf\xe9", DecodeError, "not UTF-8 (byte 3)"),
        (b"", InvalidInputError, "empty"),
        (b"a\0b", InvalidInputError, "NUL"),
        (b"a" * (MAX_TEXT_BYTES + 1), LimitError, "10 MB"),
        (None, DecodeError, "does not exist"),
        ("pipe", DecodeError, "not a regular file"),
        ("folder", DecodeError, "not a regular file"),
    ],
    ids=["latin-1", "empty", "binary", "large", "missing", "pipe", "folder"],
)
def test_a_text_file_that_cannot_be_read_fails_alone(tmp_path, data, cause, words):
    path = tmp_path / "a.txt"
    if data == "pipe":
        os.mkfifo(path)
    elif data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    good = tmp_path / "good.txt"
    good.write_text("good")
    with host_of() as host:
        result = host.embed([path, good, "text"])
    [error] = result.errors
    assert error.index == 0
    assert isinstance(error.__cause__, cause)
    assert words in str(error)
    assert str(path) in str(error)


def test_media_are_prepared_on_several_threads_in_their_order():
    threads = set()

    class Slow(Lengths):
        def prepare(self, item):
            threads.add(threading.current_thread().name)
            time.sleep(0.002)
            return item

        def cost(self, prepared):
            return 1

        def encode(self, batch, role):
            return np.array([[float(item.data.decode()), 1, 1] for item in batch])

    items = [vecdb.Audio(str(n + 1).encode()) for n in range(30)]
    with host_of(Slow, modalities=frozenset({"audio"})) as host:
        assert host.embed(items).check()[:, 0].tolist() == [n + 1 for n in range(30)]
    assert threads
    assert all(name.startswith("vecdb-prepare") for name in threads)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vecdb-prepare")]
