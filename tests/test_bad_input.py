"""Everything wrong that a caller can pass in: a clear error of the right class, and nothing stored."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vecdb
from tests.storage.refused import GOOD, refused
from vecdb import (
    DimensionMismatchError,
    DuplicateIdError,
    EmbeddingError,
    InvalidInputError,
    LimitError,
    NonFiniteVectorError,
    UnsupportedContentError,
)

# --- vectors ------------------------------------------------------------------------------------

WRONG_VECTORS = [
    (DimensionMismatchError, "dimension 4", [GOOD[:3], GOOD[:3]]),
    (DimensionMismatchError, "dimension 4", [[*GOOD, 5.0]] * 2),
    (InvalidInputError, "4 numbers", [GOOD, GOOD[:2]]),
    (InvalidInputError, "shape", GOOD),
    (InvalidInputError, "shape", [[GOOD], [GOOD]]),
    (InvalidInputError, "real numbers", [["a"] * 4] * 2),
    (InvalidInputError, "real numbers", [[None] * 4] * 2),
    (InvalidInputError, "real numbers", [[1j] * 4] * 2),
    (InvalidInputError, "real numbers", [[True] * 4] * 2),
    (InvalidInputError, "real numbers", np.array([GOOD, GOOD], dtype=object)),
    (InvalidInputError, "real numbers", [[10**400] * 4] * 2),
    (InvalidInputError, "2 contents but 1 vectors", [GOOD]),
    (InvalidInputError, "2 contents but 3 vectors", [GOOD] * 3),
]


@pytest.mark.parametrize(("kind", "words", "given_vectors"), WRONG_VECTORS)
def test_vectors_of_the_wrong_kind_or_shape(vectors, kind, words, given_vectors):
    refused(kind, words, vectors.add, [None, None], vectors=given_vectors)
    assert vectors.count() == 0


def test_the_dimensions_are_in_the_error(vectors):
    error = refused(DimensionMismatchError, "3", vectors.add, [None], vectors=[GOOD[:3]])
    assert (error.expected, error.got) == (4, 3)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e39, -1e300])
def test_a_vector_that_is_not_finite_as_float32_is_named(vectors, number):
    rows = np.array([GOOD, GOOD, GOOD], dtype=np.float64)
    rows[1, 2] = number
    refused(NonFiniteVectorError, "row 1 .*NaN or infinity", vectors.add, [None] * 3, vectors=rows, at=1)
    refused(NonFiniteVectorError, "NaN or infinity", vectors.search, rows[1])
    assert vectors.count() == 0


def test_infinities_of_both_signs_in_one_row(vectors):
    rows = [GOOD, [np.inf, -np.inf, 0, 0]]
    refused(NonFiniteVectorError, "row 1", vectors.add, [None] * 2, vectors=rows, at=1)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_zero_vector_has_no_direction(database, vectors, zero):
    rows = [GOOD, [zero] * 4]
    refused(InvalidInputError, "all zeros", vectors.add, [None] * 2, vectors=rows, at=1)
    refused(InvalidInputError, "all zeros", vectors.search, [zero] * 4)
    assert vectors.count() == 0
    euclidean = database.create_collection("euclidean", dimension=4, metric="l2")
    euclidean.add([None] * 2, vectors=rows)
    assert euclidean.search([zero] * 4, k=1)[0].distance == 0


def test_vectors_for_spaces_that_have_none_or_make_their_own(vectors, texts, fields):
    refused(InvalidInputError, "no space 'other'", vectors.add, [None], vectors={"other": [GOOD]})
    refused(InvalidInputError, "embedded by 'counting'", texts.add, ["a text"], vectors=[[1.0] * 8])
    refused(InvalidInputError, "embedded by 'counting'", fields.add, [{"title": "a"}], vectors={"default": [GOOD]})
    assert texts.count() == fields.count() == 0


def test_neither_a_vector_nor_anything_to_embed(vectors, texts, fields):
    refused(InvalidInputError, "brings no vector.*give vectors=", vectors.add, ["a text"], at=0)
    refused(InvalidInputError, "nothing to embed", texts.add, ["a text", None], at=1)
    refused(InvalidInputError, "field 'title'.*given is 'body'", fields.add, [{"body": "text"}], at=0)
    refused(InvalidInputError, "the content itself", texts.add, [{"title": "a text"}], at=0)
    assert vectors.count() == texts.count() == fields.count() == 0


# --- ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [1, 1.5, None, b"bytes", ["a"], np.str_("numpy"), Path("a")])
def test_an_id_that_is_no_string(texts, id):
    refused(InvalidInputError, r"must be a string.*use str", texts.add, ["a", "b"], ids=["good", id], at=1)
    refused(InvalidInputError, "must be a string", texts.get, ["good", id], at=1)
    refused(InvalidInputError, "must be a string", texts.delete, [id], at=0)
    refused(InvalidInputError, "must be a string", texts.update_metadata, id, {})
    assert id not in texts
    assert texts.count() == 0


@pytest.mark.parametrize(
    ("id", "words"), [("", "must not be empty"), ("a\0b", "NUL character at position 1"), ("x\ud800", "position 1")]
)
def test_an_id_that_cannot_be_kept(texts, id, words):
    refused(InvalidInputError, words, texts.add, ["a", "b"], ids=["good", id], at=1)
    refused(InvalidInputError, words, texts.upsert, ["b"], ids=[id], at=0)
    refused(InvalidInputError, words, texts.get, [id], at=0)
    assert id not in texts
    assert texts.count() == 0


def test_an_id_of_more_than_4_MiB(texts):
    error = refused(LimitError, "4,194,305 bytes.*shorten", texts.add, ["a"], ids=["x" * (4 * 2**20 + 1)], at=0)
    assert (error.limit, error.got) == (4 * 2**20, 4 * 2**20 + 1)


def test_an_id_twice_in_one_call(texts):
    error = refused(DuplicateIdError, "at 0 and 2", texts.add, list("abc"), ids=["x", "y", "x"], at=2)
    assert error.name == "x"
    for call in (texts.upsert, texts.add):
        refused(DuplicateIdError, "stands twice", call, list("abc"), ids=["x", "y", "x"], at=2)
    assert texts.count() == 0


def test_an_id_that_is_stored_already(texts):
    texts.add(["old"], ids=["x"])
    error = refused(DuplicateIdError, "use upsert", texts.add, ["new", "newer"], ids=["y", "x"], at=1)
    assert error.name == "x"
    assert [record.content for record in texts] == ["old"]


def test_one_string_instead_of_a_list(texts):
    refused(InvalidInputError, r"put it into \[ \]", texts.add, "a text")
    refused(InvalidInputError, "give a list", texts.add, ["a"], ids="x")
    refused(InvalidInputError, "give a list", texts.add, ["a"], metadata={"year": 2020})
    refused(InvalidInputError, r"put it into \[ \]", texts.get, "x")
    refused(InvalidInputError, r"put it into \[ \]", texts.delete, "x")
    refused(InvalidInputError, r"put it into \[ \]", texts.search_batch, "a query")
    for content in (Path("a.txt"), {"title": "a"}, vecdb.Image(b"image"), vecdb.Audio(b"sound"), b"bytes"):
        refused(InvalidInputError, r"put it into \[ \]", texts.add, content)
    assert texts.count() == 0


def test_lengths_that_differ(texts):
    refused(InvalidInputError, "2 contents but 1 in ids; give a list", texts.add, ["a", "b"], ids=["x"])
    refused(InvalidInputError, "2 contents but 3 in metadata", texts.add, ["a", "b"], metadata=[{}, {}, {}])
    assert texts.count() == 0


@pytest.mark.parametrize("contents", [None, 5, 2.5])
def test_contents_that_are_no_list(texts, contents):
    refused(InvalidInputError, "contents must be a list", texts.add, contents)


@pytest.mark.parametrize("listed", [{"x", "y"}, 7])
def test_ids_and_metadata_without_an_order(texts, listed):
    refused(InvalidInputError, "ids.*give a list", texts.add, ["a", "b"], ids=listed)
    refused(InvalidInputError, "metadata.*give a list", texts.add, ["a", "b"], metadata=listed)


def test_generators_are_taken_for_lists(texts):
    texts.add((text for text in "ab"), ids=(id for id in "xy"), metadata=({"n": n} for n in range(2)))
    assert [(record.id, record.content, record.metadata) for record in texts] == [
        ("x", "a", {"n": 0}),
        ("y", "b", {"n": 1}),
    ]


# --- metadata -----------------------------------------------------------------------------------


class Colour(enum.IntEnum):
    RED = 1


def nested(depth):
    value = {}
    for _ in range(depth - 1):
        value = {"deeper": value}
    return value


NOT_JSON = [
    {"a": {1, 2}},
    {"a": (1, 2)},
    {"a": b"bytes"},
    {"a": ...},
    {"a": np.float64(1.5)},
    {"a": np.int64(1)},
    {"a": np.zeros(2)},
    {"a": np.bool_(True)},
    {"a": decimal.Decimal("1.5")},
    {"a": dt.date(2020, 1, 1)},
    {"a": Colour.RED},
    {"a": 1j},
    {"a": [{"b": {"c": {3}}}]},
    {"a": Path("x")},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": [1, -float("inf")]},
    {"a": 2**63},
    {"a": 2**64},
    {"a": -(2**63) - 1},
    {1: "a"},
    {None: "a"},
    {("a",): 1},
    {"a": {2.5: "b"}},
    {"a": collections.OrderedDict(x=1)},
    [("a", 1)],
    "a text",
    5,
]


@pytest.mark.parametrize("metadata", NOT_JSON, ids=lambda value: repr(value)[:40])
def test_metadata_that_is_not_json(texts, metadata):
    texts.add(["old"], ids=["x"], metadata=[{"kept": True}])
    refused(InvalidInputError, "metadata", texts.add, ["a", "b"], metadata=[{}, metadata], at=1)
    refused(InvalidInputError, "metadata", texts.update_metadata, "x", metadata)
    assert [record.metadata for record in texts] == [{"kept": True}]


def test_the_place_in_the_metadata_is_named(texts):
    refused(
        InvalidInputError,
        r"\['list'\]\[1\]\['deep'\].*set",
        texts.add,
        ["a"],
        metadata=[{"list": [0, {"deep": [{1}]}]}],
    )


def test_the_largest_and_deepest_metadata(texts):
    texts.add(["a"], ids=["x"], metadata=[nested(100)])
    assert texts.get(["x"])[0].metadata == nested(100)
    refused(LimitError, "deeper than 100", texts.add, ["b"], metadata=[nested(101)], at=0)
    refused(LimitError, "deeper than 100", texts.add, ["b"], metadata=[nested(50_000)], at=0)
    refused(LimitError, "16,777,216", texts.add, ["b"], metadata=[{"long": "x" * 2**24}], at=0)
    circle = {}
    circle["itself"] = circle
    refused(LimitError, "deeper than 100", texts.add, ["b"], metadata=[circle], at=0)
    assert texts.count() == 1


@pytest.mark.parametrize("bad", ["\0", "\ud800", "a\udfff"])
@pytest.mark.parametrize("where", ["value", "key", "list", "nested key"])
def test_nul_and_lone_surrogates_in_metadata(texts, bad, where):
    metadata = {
        "value": {"a": bad},
        "key": {bad: 1},
        "list": {"a": ["b", bad]},
        "nested key": {"a": [{"b": {bad: None}}]},
    }[where]
    words = "NUL" if bad == "\0" else "surrogate"
    refused(InvalidInputError, words, texts.add, ["a", "b"], metadata=[{}, metadata], at=1)
    assert texts.count() == 0


def test_what_only_looks_like_an_escaped_nul_is_kept(texts):
    metadata = {"a": "\\u0000", "\\u0000": ["\\\\u0000"]}
    texts.add(["a"], ids=["x"], metadata=[metadata])
    assert texts.get(["x"])[0].metadata == metadata


# --- contents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000\u2003", "a\0b", "\ud800", "a\udc00b"])
def test_text_that_cannot_be_embedded(texts, fields, text):
    refused(InvalidInputError, "empty|NUL|surrogate", texts.add, ["good", text], at=1)
    refused(InvalidInputError, "empty|NUL|surrogate", fields.add, [{"title": "good"}, {"title": text}], at=1)
    refused(InvalidInputError, "empty|whitespace|NUL|surrogate", texts.search, text)
    assert texts.count() == fields.count() == 0


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", 5, None])
def test_a_field_that_cannot_be_named(fields, name):
    refused(InvalidInputError, "field", fields.add, [{"title": "good"}, {"title": "a", name: "b"}], at=1)
    assert fields.count() == 0


@pytest.mark.parametrize("content", [5, 1.5, b"bytes", object(), [1.0, 2.0], np.zeros(4), {"title": {"deeper": "a"}}])
def test_content_of_an_unknown_kind(texts, fields, content):
    refused(UnsupportedContentError, "vecdb.Image", texts.add, ["good", content], at=1)
    refused(UnsupportedContentError, "vecdb.Image", fields.add, [{"title": "a"}, content], at=1)
    assert texts.count() == fields.count() == 0


def test_content_that_the_embedder_does_not_take(texts, database, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a picture")
    for content in (vecdb.Image(b"a picture"), vecdb.Audio(b"a sound"), picture):
        refused(UnsupportedContentError, "'counting' takes text", texts.add, ["good", content], at=1)
        refused(UnsupportedContentError, "'counting' takes text", texts.search, content)
    images = database.create_collection("images", embedder="bytes")
    refused(UnsupportedContentError, "takes sounds and images", images.add, ["a text"], at=0)
    assert texts.count() == images.count() == 0


def test_a_file_that_is_missing_or_no_file(texts, tmp_path):
    for path, copy in ((tmp_path / "missing.txt", False), (tmp_path / "missing.txt", True), (tmp_path, False)):
        error = refused(InvalidInputError, re.escape(str(path)), texts.add, ["good", path], copy=copy, at=1)
        assert "check" in str(error)
    assert texts.count() == 0


def test_files_whose_text_is_not_text(texts, tmp_path):
    latin, empty = tmp_path / "latin.txt", tmp_path / "empty.txt"
    latin.write_bytes("größer".encode("latin-1"))
    empty.touch()
    for path in (latin, empty):
        with pytest.raises(EmbeddingError, match=path.name) as caught:
            texts.add(["good", path])
        assert [error.index for error in caught.value.errors] == [1]
        refused(InvalidInputError, "read|empty", texts.add, ["good", path], copy=True, at=1)
    assert texts.count() == 0


def test_a_broken_sound_file(database):
    pytest.importorskip("soundfile")
    sounds = database.create_collection("sounds", embedder="mfcc")
    good = vecdb.Audio(np.sin(np.arange(16_000) / 20), sample_rate=16_000)
    broken = vecdb.Audio(b"RIFF" + b"no sound at all" * 20)
    with pytest.raises(EmbeddingError, match="1 of 2 contents cannot be embedded and nothing was stored") as caught:
        sounds.add([good, broken])
    assert [error.index for error in caught.value.errors] == [1]
    assert sounds.count() == 0
    assert sounds.add([good]) == [record.id for record in sounds]


def test_every_item_that_cannot_be_embedded_is_in_the_error(texts):
    with pytest.raises(EmbeddingError, match=r"2 of 5 contents.*first is at 1: this text cannot be read") as caught:
        texts.add(["a", "unreadable one", "b", "unreadable two", "c"])
    assert [error.index for error in caught.value.errors] == [1, 3]
    assert texts.count() == 0


def test_an_image_or_sound_without_bytes(database):
    images = database.create_collection("images", embedder="bytes")
    refused(LimitError, "0 bytes", images.add, [vecdb.Image(b"")], at=0)


# --- what is not bad ----------------------------------------------------------------------------

# NUL and lone surrogates cannot be kept; everything else can.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(id=TEXT.filter(bool), content=TEXT.filter(str.strip), metadata=st.dictionaries(TEXT, JSON, max_size=4))
def test_ids_contents_and_metadata_come_back_as_they_went_in(shared_texts, id, content, metadata):
    shared_texts.upsert([content], ids=[id], metadata=[metadata])
    (record,) = shared_texts.get([id])
    assert (record.id, record.content) == (id, content)
    assert repr(record.metadata) == repr(metadata)  # repr tells 1 from 1.0 and True, and 0.0 from -0.0
    assert id in shared_texts
    assert shared_texts.search(content, k=1)[0].content == content


@pytest.fixture(scope="module")
def shared_texts(tmp_path_factory):
    from tests.storage.embedders import plugins_for_tests

    with vecdb.open(
        tmp_path_factory.mktemp("shared") / "shared.vecdb", plugins=plugins_for_tests(), durability="normal"
    ) as db:
        yield db.create_collection("texts", embedder="counting")


def test_megabytes_round_trip(texts):
    id, content = "नमस्ते🙂" * 100_000, "水 家 时间 🐕 " * 200_000
    metadata = {"long": "ü" * 1_000_000, "many": list(range(100_000)), "κλειδί" * 10_000: None}
    texts.add([content], ids=[id], metadata=[metadata])
    (record,) = texts.get([id])
    assert (record.id, record.content, record.metadata) == (id, content, metadata)
    assert texts.search(content, k=1, where={"long": metadata["long"]})[0].id == id
    assert texts.delete([id]) == 1
