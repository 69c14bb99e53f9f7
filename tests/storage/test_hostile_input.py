"""Input made to break things: it goes in and comes back exactly, or it is refused as what it is."""

from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import vecdb
from vecdb import FilterError, InvalidInputError, LimitError, NotFoundError, VecdbError
from vecdb.cli.main import cli

ODD = [
    "'; DROP TABLE records; --",
    '" OR 1=1 --',
    "%s %n {0} {x.__class__}",
    "../../etc/passwd",
    "/dev/zero",
    "..\\..\\boot.ini",
    "file:///etc/passwd?mode=rwc",
    "C:con",
    "$.a[0]",
    "a.b..c",
    '["a"]',
    "$[*]",
    "\\u0000",
    "\u202eevil\u2066",
    "\x1b[2J\x07",
    "\ufeff\ufffe\uffff",
    "e\u0301 \U0001f469\u200d\U0001f680",
    "line\r\nline\x85\u2028",
    "x" * 100_000,
]
IMPOSSIBLE = ["a\0b", "\0", "\ud800", "a\udfff"]


def named(values):
    return pytest.mark.parametrize("text", values, ids=lambda text: ascii(text)[:30])


def nested(depth, wrap=lambda inner: {"a": inner}, inner=1):
    for _ in range(depth):
        inner = wrap(inner)
    return inner


def circle(kind):
    found = kind()
    found.append(found) if kind is list else found.update(itself=found)
    return found


@named(ODD)
def test_any_text_is_data(database, texts, fields, text):
    """As an id, a content, metadata, a key, a filter and a field: it comes back as it went in."""
    texts.add([text, "another"], ids=[text, "other"], metadata=[{text: text, "list": [text]}, {}])
    (record,) = texts.get([text])
    assert (record.id, record.content, record.metadata) == (text, text, {text: text, "list": [text]})
    assert text in texts
    for where in ({"list": {"$contains": text}}, {"list": {"$not": {"$contains": text + "?"}}, "list.": {"$ne": 1}}):
        assert text in [hit.id for hit in texts.search(text, where=where)]
    if "." not in text:
        for where in ({text: text}, {text: {"$in": [text]}}, {text: {"$exists": True}}, {text: {"$gte": text}}):
            if text.startswith("$"):
                with pytest.raises(FilterError, match="unknown operator"):
                    texts.count(where)
            else:
                assert texts.count(where) == 1
                assert texts.count({"$not": where}) == 1
    fields.add([{"title": "a title", text: text}], ids=[text])
    assert fields.get([text])[0].content[text] == text
    texts.update_metadata(text, {})
    assert texts.delete([text]) == 1
    assert [record.id for record in texts] == ["other"]
    assert database.collections() == ["texts", "fields"]
    assert database.check()


@named([*ODD, *IMPOSSIBLE])
def test_names_are_names_and_nothing_else(database, folder, text):
    """As the name of a collection, a space, an embedder, an option: it names one, or is refused at once."""
    before = sorted(path.name for path in folder.parent.rglob("*"))
    for call in (
        lambda: database.create_collection(text, dimension=2).add([None], ids=["x"], vectors=[[1, 2]]),
        lambda: database.create_collection("spaces", spaces={text: {"dimension": 2}}),
        lambda: database.create_collection("sources", spaces={"default": {"dimension": 2, "source": text}}),
        lambda: database.create_collection("embedders", embedder=text),
        lambda: database.create_collection("models", embedder=f"named:{text}"),
        lambda: database.create_collection("options", embedder="counting", embedder_options={text: 1}),
        lambda: database.create_collection("devices", embedder="counting", embedder_options={"device": text}),
        lambda: database.create_collection("metrics", dimension=2, metric=text),
        lambda: database.create_collection("indexes", dimension=2, index=text),
        lambda: database.create_collection("index options", dimension=2, index_options={text: 2}),
        lambda: database.collection(text),
        lambda: database.collection(text).search([1, 2], space=text),
    ):
        try:
            call()
        except VecdbError as error:
            assert len(str(error)) < 2000 or len(text) > 1000  # noqa: PT017  (either is right)
    for name in database.collections():
        assert database.collection(name).spaces
        database.delete_collection(name)
    assert database.check()
    assert sorted(path.name for path in folder.parent.rglob("*") if "-wal" not in path.name) == [
        name for name in before if "-wal" not in name
    ]


@named(IMPOSSIBLE)
def test_what_cannot_be_stored_is_refused_everywhere(database, texts, fields, tmp_path, text):
    for call in (
        lambda: texts.add(["x"], ids=[text]),
        lambda: texts.add([text]),
        lambda: texts.add(["x"], metadata=[{text: 1}]),
        lambda: texts.add(["x"], metadata=[{"a": [text]}]),
        lambda: texts.add([Path(text)]),
        lambda: texts.update_metadata(text, {}),
        lambda: texts.delete([text]),
        lambda: texts.delete(where={"a": text}),
        lambda: texts.search("x", where={"a": {"$in": [text]}}),
        lambda: texts.search(text),
        lambda: fields.add([{"title": "x", text: "y"}]),
        lambda: database.create_collection("c", embedder="counting", embedder_options={"device": text}),
        lambda: database.create_collection("c", spaces={"default": {"dimension": 2, "source": text}}),
        lambda: database.backup(tmp_path / text),
        lambda: vecdb.open(tmp_path / text),
    ):
        with pytest.raises(InvalidInputError):
            call()
    report = texts.ingest([vecdb.Record(text, text, {text: text})], on_error="quarantine")
    assert (report.failed, texts.count(), len(texts.failures())) == (1, 0, 1)
    assert database.collections() == ["texts", "fields"]


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-0.0, 0.0, 5e-324, 1.7976931348623157e308, 2**63 - 1, -(2**63), 2**53 + 1, 0.1])
def test_numbers_come_back_to_the_bit(texts, number):
    texts.add(["a"], ids=["x"], metadata=[{"n": number}])
    (record,) = texts.get(["x"])
    assert repr(record.metadata["n"]) == repr(number)
    assert texts.count({"n": number}) == 1
    assert texts.count({"n": {"$gte": number, "$lte": number}}) == 1
    assert texts.count({"n": {"$gt": number}}) == 0


@pytest.mark.parametrize(
    "number", [10**400, -(10**400), 10**5000, 2**63, -(2**63) - 1, math.nan, math.inf], ids=lambda n: f"{type(n)}"[8:11]
)
def test_numbers_that_are_none_are_refused(database, texts, fields, number, tmp_path):
    for call in (
        lambda: texts.add(["a"], metadata=[{"n": number}]),
        lambda: texts.count({"n": number}),
        lambda: texts.count({"n": {"$in": [1, number]}}),
        lambda: texts.count({"n": {"$gt": number}}),
        lambda: texts.search("a", k=number),
        lambda: texts.search("a", ef=number),
        lambda: texts.add(["a"], ids=[number]),
        lambda: database.create_collection("c", dimension=number),
        lambda: database.create_collection("c", dimension=2, index_options={"M": number}),
        lambda: database.create_collection("c", dimension=2, index_options={"ef": number}),
        lambda: vecdb.open(tmp_path / "t.vecdb", timeout=-abs(number)),
        lambda: vecdb.Audio(np.zeros(8), sample_rate=number),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert len(str(caught.value)) < 1000
    if not isinstance(number, int) or abs(number) > 2**70:
        for call in (
            lambda: fields.search([number] + [1] * 3, space="extra"),
            lambda: database.create_collection("c", embedder="counting", embedder_options={"drift": number}),
        ):
            with pytest.raises(InvalidInputError):
                call()


# --- depth and size -----------------------------------------------------------------------------

DEEP = {
    "objects": nested(10_000),
    "lists": nested(10_000, lambda inner: [inner]),
    "tuples": nested(10_000, lambda inner: (inner,)),
    "both": nested(10_000, lambda inner: [{"a": inner}]),
    "an object in itself": circle(dict),
    "a list in itself": circle(list),
}


@pytest.mark.parametrize("kind", DEEP)
def test_what_is_nested_10_000_deep_is_refused_wherever_it_is_given(database, texts, fields, folder, kind):
    value = DEEP[kind]
    for call in (
        lambda: texts.add(["x"], metadata=[{"a": value}]),
        lambda: texts.add(["x"], metadata=[value]),
        lambda: texts.add(["x"], ids=[value]),
        lambda: texts.add([value]),
        lambda: texts.add(["x"], on_conflict=value),
        lambda: texts.add([None], vectors=value),
        lambda: fields.add([{"title": value}]),
        lambda: fields.add([None], vectors={"extra": value}),
        lambda: texts.update_metadata("x", {"a": value}),
        lambda: texts.get([value]),
        lambda: texts.count(value if isinstance(value, dict) else {"a": value}),
        lambda: texts.count({"a": {"$in": [value]}}),
        lambda: texts.count({"a": {"$gt": value}}),
        lambda: texts.search(value),
        lambda: texts.search("x", k=value),
        lambda: texts.search("x", exact=value),
        lambda: texts.ingest([], on_error=value),
        lambda: texts.ingest([], batch_size=value),
        lambda: database.create_collection(value, dimension=2),
        lambda: database.create_collection("c", dimension=value),
        lambda: database.create_collection("c", dimension=2, metric=value),
        lambda: database.create_collection("c", dimension=2, index=value),
        lambda: database.create_collection("c", dimension=2, index_options={"M": value}),
        lambda: database.create_collection("c", embedder=value),
        lambda: database.create_collection("c", embedder="counting", embedder_options={"device": value}),
        lambda: database.create_collection("c", spaces={"default": value}),
        lambda: vecdb.open(value),
        lambda: vecdb.open(folder, durability=value),
        lambda: database.backup(value),
        lambda: vecdb.Image(value),
        lambda: vecdb.Audio([value], sample_rate=8000),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert len(str(caught.value)) < 1000
    for call in (lambda: database.collection(value), lambda: texts.search("x", space=value)):
        with pytest.raises(NotFoundError):
            call()
    report = texts.ingest([vecdb.Record("q", "x", {"a": value})], on_error="quarantine")
    assert (report.failed, texts.count()) == (1, 0)
    assert database.collections() == ["texts", "fields"]


def test_a_hundred_megabytes_of_metadata_are_refused(texts):
    for metadata in (
        {"a": "x" * 100_000_000},
        {"a": ["x" * 1000] * 100_000},
        {"x" * 50_000_000: "y" * 50_000_000},
        {str(number): number for number in range(1_500_000)},
    ):
        with pytest.raises(LimitError, match="more than the limit"):
            texts.add(["x"], metadata=[metadata])
        assert texts.ingest([vecdb.Record("q", "x", metadata)], on_error="quarantine").failed == 1
    (failure,) = texts.failures()
    assert (failure.id, failure.metadata) == ("q", {})


@pytest.mark.parametrize(
    "where",
    [
        nested(10_000, lambda inner: {"$not": inner}, {"n": 1}),
        nested(10_000, lambda inner: {"$and": [inner]}, {"n": 1}),
        nested(10_000, lambda inner: {"$or": [inner, {"n": 2}]}, {"n": 1}),
        {"n": nested(10_000, lambda inner: {"$not": inner}, {"$gt": 1})},
        {"$and": [{"n": 1}] * 100_000},
        {"$or": [{"n": number} for number in range(100_000)]},
        {f"key {number}": 1 for number in range(100_000)},
        {"." * 100_000: 1},
        {"a" * 9_000_000: 1},
        {"n": {"$in": ["x" * 100] * 100_000}},
    ],
    ids=["not", "and", "or", "operators", "many and", "many or", "many keys", "dots", "long key", "long list"],
)
def test_a_filter_without_end_is_refused_at_once(texts, where):
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        for call in (texts.count, texts.delete, lambda where: texts.search("x", where=where)):
            with pytest.raises(FilterError):
                call(where=where)
        assert time.perf_counter() - begin < 30
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_a_million_values_in_a_list_work(texts):
    texts.add(["a", "b"], ids=["a", "b"], metadata=[{"n": 999_999, "s": "5"}, {"n": 2_000_000, "s": "no"}])
    assert texts.count({"n": {"$in": list(range(1_000_000))}}) == 1
    assert texts.count({"n": {"$nin": list(range(1_000_000))}}) == 1
    assert texts.count({"s": {"$in": [str(number) for number in range(500_000)]}}) == 1


# --- the command line ---------------------------------------------------------------------------


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


DEEP_JSON = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    ("format", "lines"),
    [
        ("jsonl", '{"text":"bad","vector":[1,2],"a":' + DEEP_JSON + "}\n"),
        ("jsonl", '{"text":"bad","vector":' + DEEP_JSON + "}\n"),
        ("jsonl", '{"text":"bad","metadata":' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}\n"),
        ("jsonl", '{"text":"bad","vector":[1,2],"n":' + "9" * 5000 + "}\n"),
        ("jsonl", '{"text":"bad","vector":[1,2],"n":1e999}\n'),
        ("jsonl", '{"text":"bad","vector":[1,2],"n":NaN}\n'),
        ("jsonl", DEEP_JSON + "\n"),
        ("json", '[{"text":"bad","vector":[1,2],"a":' + DEEP_JSON + "}]\n"),
        ("json", DEEP_JSON),
        ("csv", f'text,vector,a\nbad,"[1,2]","{DEEP_JSON}"\n'),
        ("csv", f'text,vector\nbad,"{DEEP_JSON}"\n'),
        ("csv", 'text,vector,metadata\nbad,"[1,2]","' + "[" * 10_000 + '"\n'),
        (None, '{"text":"bad","vector":[1,2],"a":' + DEEP_JSON + "}\n"),
        (None, DEEP_JSON + "\n"),
        (None, "[{" + DEEP_JSON),
    ],
    ids=range(15),
)
def test_records_nested_10_000_deep_are_refused_or_are_text(command, folder, format, lines):
    options = ["--input-format", format] if format else []
    done = command("add", "--collection", "c", *options, "-", input=lines)
    assert done.exit_code in (0, 1, 2)
    if done.exit_code == 0:  # read as the text that it is: plain lines and cells may be anything
        assert format in ("csv", None)
    else:
        assert "Traceback" not in done.output
        assert "Error" in done.output
        assert len(done.output) < 4000
    with vecdb.open(folder) as database:
        assert database.check()


@pytest.mark.parametrize(
    "condition",
    ['{"a":' * 10_000 + "1" + "}" * 10_000, "a=" + DEEP_JSON, "a=" + "9" * 5000, DEEP_JSON, "a~\ud800", "a=NaN"],
    ids=range(6),
)
def test_conditions_of_a_command_are_data(command, condition):
    done = command("delete", "--collection", "c", "--yes", "--where", condition)
    assert done.exit_code in (0, 1, 2), done.output
    assert "No such" not in done.output
    assert "Traceback" not in done.output
    assert len(done.output) < 4000
