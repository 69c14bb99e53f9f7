"""Files, images, sounds and fields: what went in comes back, is stored once, and is gone when deleted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Bytes, Counting
from tests.storage.refused import GOOD


@pytest.fixture
def pictures(database):
    return database.create_collection("pictures", embedder="bytes")


@pytest.fixture
def texts(database):
    return database.create_collection("texts", embedder="counting")


def blobs(database):
    with closing(sqlite3.connect(database.path / "vecdb.sqlite3")) as connection:
        return sorted(data for (data,) in connection.execute("SELECT data FROM blobs"))


def test_bytes_come_back_and_are_stored_once(database, pictures):
    image, sound = vecdb.Image(b"an image" * 1000), vecdb.Audio(b"a sound" * 1000)
    pictures.add([image, sound, image], ids=list("xyz"))
    assert [record.content for record in pictures] == [image, sound, image]
    assert pictures.search(image, k=1)[0].content == image
    assert blobs(database) == sorted([image.data, sound.data])
    assert len(Bytes.seen) == len(set(Bytes.seen))


def test_bytes_go_with_the_last_record_that_has_them(database, pictures):
    one, two, three = (vecdb.Image(data) for data in (b"one", b"two", b"three"))
    pictures.add([one, one, two], ids=list("xyz"))
    pictures.delete(["x"])
    assert blobs(database) == [b"one", b"two"]
    pictures.upsert([three], ids=["z"])
    assert blobs(database) == [b"one", b"three"]
    pictures.upsert([three], ids=["y"])
    assert blobs(database) == [b"three"]
    pictures.delete(where={})
    assert blobs(database) == []
    pictures.add([one])
    database.delete_collection("pictures")
    assert blobs(database) == []
    assert database.check()


def test_an_image_and_a_sound_of_the_same_bytes_are_two_things(pictures):
    pictures.add([vecdb.Image(b"same"), vecdb.Audio(b"same")], ids=["image", "sound"])
    assert [record.content for record in pictures] == [vecdb.Image(b"same"), vecdb.Audio(b"same")]


def test_samples_and_arrays_come_back_without_loss(database):
    sounds = database.create_collection("sounds", embedder="mfcc")
    samples = np.sin(np.arange(8000) / 10).astype(np.float32)
    sound = vecdb.Audio(samples, sample_rate=16_000)
    sounds.add([sound], ids=["x"])
    kept = sounds.get(["x"])[0].content
    assert kept == sound
    np.testing.assert_array_equal(np.frombuffer(kept.data[44:], "<f4"), samples)


def test_a_file_is_kept_by_its_absolute_path(database, pictures, tmp_path, monkeypatch):
    file = tmp_path / "größe 日本.png"
    file.write_bytes(b"a picture")
    monkeypatch.chdir(tmp_path)
    pictures.add([Path("größe 日本.png")], ids=["x"])
    assert pictures.get(["x"])[0].content == file
    assert pictures.search(file, k=1)[0].distance == pytest.approx(0, abs=1e-6)
    assert blobs(database) == []
    file.unlink()
    assert pictures.get(["x"])[0].content == file  # the record stays, though the file is gone


def test_a_file_that_changed_is_embedded_again_and_one_that_moved_is_not(pictures, tmp_path):
    file, moved = tmp_path / "a.png", tmp_path / "b.png"
    file.write_bytes(b"one")
    pictures.upsert([file], ids=["x"])
    Bytes.seen.clear()
    pictures.upsert([file], ids=["x"])
    file.rename(moved)
    pictures.upsert([moved], ids=["x"])
    assert Bytes.seen == []
    assert pictures.get(["x"])[0].content == moved
    moved.write_bytes(b"two")
    pictures.upsert([moved], ids=["x"])
    assert [item for item, _ in Bytes.seen] == [b"two"]


def test_copied_files_need_their_files_no_more(database, texts, pictures, tmp_path):
    text, picture, sound = tmp_path / "a.txt", tmp_path / "a.png", tmp_path / "a.wav"
    text.write_text("naïve 日本", encoding="utf-8")
    picture.write_bytes(b"a picture")
    sound.write_bytes(b"a sound")
    texts.add([text], ids=["t"], copy=True)
    pictures.add([picture, sound], ids=["p", "s"], copy=True)
    pictures.ingest([vecdb.Record("again", picture)], copy=True)
    for path in (text, picture, sound):
        path.unlink()
    assert texts.get(["t"])[0].content == "naïve 日本"
    assert [record.content for record in pictures] == [
        vecdb.Image(b"a picture"), vecdb.Audio(b"a sound"), vecdb.Image(b"a picture"),
    ]  # fmt: skip
    assert blobs(database) == [b"a picture", b"a sound"]


def test_a_text_file_is_embedded_as_its_text(texts, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a text", encoding="utf-8")
    texts.add([file, "another"], ids=["file", "other"])
    hit = texts.search("a text", k=1)[0]
    assert (hit.id, hit.content) == ("file", file)
    assert hit.distance == pytest.approx(0, abs=1e-6)


def test_a_string_is_text_even_if_it_names_a_file(texts, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("inside", encoding="utf-8")
    texts.add([str(file), "https://example.org"])
    assert sorted(Counting.documents()) == sorted([str(file), "https://example.org"])


def test_fields_of_every_kind_come_back(database, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"a picture")
    spaces = {
        "default": {"embedder": "counting", "source": "title"},
        "look": {"embedder": "bytes", "source": "picture"},
    }
    mixed = database.create_collection("mixed", spaces=spaces)
    content = {
        "title": "a title", "picture": vecdb.Image(b"image"), "sound": vecdb.Audio(b"sound"), "file": file,
        "日本 \"'\\": "text", "fields": "x", "text": "y", "image": "z",
    }  # fmt: skip
    mixed.add([content, {"picture": file}, {"title": "alone"}], ids=list("xyz"))
    assert [record.content for record in mixed] == [content, {"picture": file}, {"title": "alone"}]
    assert mixed.search(vecdb.Image(b"image"), space="look", k=1)[0].id == "x"
    assert {hit.id for hit in mixed.search("alone")} == {"x", "z"}
    assert blobs(database) == [b"image", b"sound"]


def test_a_field_that_is_not_embedded_may_change_without_embedding(database):
    articles = database.create_collection("articles", spaces={"default": {"embedder": "counting", "source": "title"}})
    articles.add([{"title": "a", "note": "one"}], ids=["x"])
    Counting.seen.clear()
    articles.upsert([{"title": "a", "note": "two"}], ids=["x"])
    assert Counting.seen == []
    assert articles.get(["x"])[0].content == {"title": "a", "note": "two"}


def test_a_record_may_have_no_content_but_a_vector(database):
    vectors = database.create_collection("vectors", dimension=2)
    vectors.add([None, "text", {"a": "b"}, vecdb.Image(b"i")], vectors=[[1, 0], [0, 1], [1, 1], [-1, 0]])
    assert [record.content for record in vectors] == [None, "text", {"a": "b"}, vecdb.Image(b"i")]
    assert vectors.search([1, 0], k=1)[0].content is None


def test_a_backup_does_not_go_into_the_database(tmp_path):
    with vecdb.open(tmp_path / "a.vecdb") as database, pytest.raises(vecdb.InvalidInputError, match="inside"):
        database.backup(tmp_path / "a.vecdb" / "copy.vecdb")


def test_the_vectors_of_a_record_do_not_fill_the_screen():
    assert "vectors" not in repr(vecdb.Record("a", "x", {}, [0.5] * 500))


def test_an_iteration_ends_and_shows_no_id_twice_while_records_are_added(vectors):
    """One that is deleted and added again meanwhile would come a second time, as the newest."""
    vectors.add([None] * 3, ids=["a", "b", "c"], vectors=[GOOD] * 3)
    seen = []
    for number, record in enumerate(vectors):
        seen.append(record.id)
        vectors.delete([record.id])
        vectors.add([None] * 2, ids=[record.id, f"new {number}"], vectors=[GOOD] * 2)
        assert number < 10
    assert seen == ["a", "b", "c"]
    assert [record.id for record in vectors] == ["a", "new 0", "b", "new 1", "c", "new 2"]
