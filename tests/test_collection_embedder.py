"""The embedder is part of the schema: vectors that are not comparable are never mixed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Counting, plugins_for_tests
from vecdb import EmbedderMismatchError, EmbedderUnavailableError


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"weights, first version")
    return file


def make(folder, model=None, **options):
    """A closed database with one collection of three texts."""
    if model is not None:
        options = {"model": str(model), **options}
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        texts = database.create_collection("texts", embedder="counting", embedder_options=options)
        texts.add(["a", "b", "c"], ids=list("xyz"))


@pytest.fixture
def reopened(folder):
    """Opens the collection again, in a new handle."""
    opened = []

    def reopen(**options):
        opened.append(vecdb.open(folder, plugins=plugins_for_tests(), **options))
        return opened[-1].collection("texts")

    yield reopen
    for database in opened:
        database.close()


def test_the_space_remembers_its_embedder(database, model):
    texts = database.create_collection("texts", embedder=f"counting:{model}", embedder_options={"flavour": 3})
    space = texts.spaces["default"]
    assert (space.embedder, space.dimension, space.metric, space.source) == ("counting", 8, "cosine", None)
    assert space.options["flavour"] == 3
    assert space.options["model"] == str(model)
    assert space.fingerprint.startswith("vf1:")


def test_changed_weights_are_refused_and_nothing_is_written(folder, model, reopened):
    make(folder, model)
    model.write_bytes(b"weights, second version")
    texts = reopened()
    for call in (
        lambda: texts.add(["d"]),
        lambda: texts.upsert(["changed"], ids=["x"]),
        lambda: texts.ingest([vecdb.Record("d", "d")], on_error="quarantine"),
        lambda: texts.search("a"),
    ):
        with pytest.raises(EmbedderMismatchError, match="give it the old ones, or make a new collection") as caught:
            call()
        assert caught.value.expected != caught.value.got
        assert f"the content of {model} changed" in str(caught.value)
    assert texts.search(np.ones(8), k=3)  # a vector needs no embedder
    assert [record.content for record in texts] == ["a", "b", "c"]
    assert texts.failures() == []
    model.write_bytes(b"weights, first version")
    assert texts.search("a", k=1)[0].id == "x"  # the old ones are back


def test_what_needs_no_embedder_works_without_it(folder, model, reopened):
    make(folder, model)
    model.unlink()
    texts = reopened()
    for call in (lambda: texts.add(["d"]), lambda: texts.search("a")):
        with pytest.raises(EmbedderUnavailableError, match=r"model\.bin") as caught:
            call()
        assert caught.value.missing == (str(model),)
    record = texts.get(["y"])[0]
    assert texts.search(record.vectors, k=1)[0].id == "y"
    texts.update_metadata("y", {"n": 1})
    assert texts.count({"n": 1}) == 1
    assert texts.delete(["x"]) == 1
    assert [record.id for record in texts] == ["y", "z"]
    texts.reindex()


def test_an_embedder_whose_plugin_is_not_installed(folder):
    make(folder)
    with vecdb.open(folder, plugins=vecdb.Plugins(load=[])) as database:
        texts = database.collection("texts")
        with pytest.raises(vecdb.EmbedderNotFoundError, match="'counting'"):
            texts.search("a")
        assert texts.search(texts.get(["x"])[0].vectors, k=1)[0].id == "x"
        assert database.check()


def test_a_changed_environment_is_probed_and_accepted_if_the_vectors_agree(folder, reopened, monkeypatch):
    make(folder)
    Counting.seen.clear()
    reopened().search("a")
    assert Counting.seen == [("a", "query")]  # nothing changed: no probe
    monkeypatch.setattr("vecdb.embedding.host.np.__version__", "99.0")
    Counting.seen.clear()
    texts = reopened()
    assert texts.search("a", k=1)[0].id == "x"
    assert len(Counting.seen) == 4  # three probes, once, and the query
    texts.search("b")
    reopened().search("b")
    assert len(Counting.seen) == 6


def test_a_changed_environment_that_changes_vectors_is_refused(folder, reopened, monkeypatch):
    make(folder)
    monkeypatch.setattr("vecdb.embedding.host.np.__version__", "99.0")
    row = Counting.row
    monkeypatch.setattr(Counting, "row", lambda self, data: row(self, data)[::-1])
    with pytest.raises(EmbedderMismatchError, match="since numpy changed; go back, or make a new collection"):
        reopened().add(["d"])
    assert reopened().count() == 3


def test_a_read_only_handle_probes_too_and_writes_nothing(folder, reopened, monkeypatch):
    make(folder)
    monkeypatch.setattr("vecdb.embedding.host.np.__version__", "99.0")
    assert reopened(read_only=True).search("a", k=1)[0].id == "x"


def test_get_or_create_refuses_options_that_change_vectors(folder):
    make(folder)
    with (
        vecdb.open(folder, plugins=plugins_for_tests()) as database,
        pytest.raises(vecdb.CollectionExistsError, match="fingerprint"),
    ):
        database.get_or_create_collection("texts", embedder="counting", embedder_options={"flavour": 5})


def test_a_moved_database_with_the_model_inside_works(tmp_path, folder, reopened):
    folder.mkdir()
    with vecdb.open(folder):  # the folder must be a database before it holds other things
        pass
    inside = folder / "models" / "model.bin"
    inside.parent.mkdir()
    inside.write_bytes(b"weights")
    make(folder, inside)
    moved = tmp_path / "elsewhere" / "renamed.vecdb"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    with vecdb.open(moved, plugins=plugins_for_tests()) as database:
        texts = database.collection("texts")
        assert texts.spaces["default"].options["model"] == "./models/model.bin"
        assert texts.add(["d"], ids=["d"]) == ["d"]
        assert texts.search("a", k=1)[0].id == "x"


def test_a_relative_model_path_is_kept_absolute(tmp_path, folder, model, monkeypatch, reopened):
    monkeypatch.chdir(tmp_path)
    make(folder, model.name)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert reopened().search("a", k=1)[0].id == "x"


def test_a_model_that_is_a_path_or_a_name_is_kept_as_a_path_where_it_is_one(tmp_path, folder, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        database.create_collection("outside", embedder=f"named:{model.name}").add(["a"], ids=["x"])
        shutil.copy(model, folder / "inside.bin")
        database.create_collection("inside", embedder=f"named:{folder.name}/inside.bin").add(["a"], ids=["x"])
    moved = shutil.move(folder, tmp_path / "moved.vecdb")
    monkeypatch.chdir(moved)
    with vecdb.open(moved, plugins=plugins_for_tests()) as database:
        options = [database.collection(name).spaces["default"].options["model"] for name in ("outside", "inside")]
        assert options == [str(model.absolute()), "./inside.bin"]
        for name in ("outside", "inside"):
            assert database.collection(name).search("a", k=1)[0].id == "x"


def test_a_vector_that_the_embedder_makes_is_not_accepted_from_the_caller(folder, reopened):
    make(folder)
    texts = reopened()
    with pytest.raises(vecdb.InvalidInputError, match="embedded by 'counting'"):
        texts.add(["d"], vectors=np.ones((1, 8)))
    with pytest.raises(vecdb.InvalidInputError, match="embedded by 'counting'"):
        texts.ingest([vecdb.Record("d", "d", {}, np.ones(8))])


def test_an_embedder_that_fails_at_creation_leaves_no_collection(database, tmp_path):
    for model, kind in ((tmp_path / "missing.bin", EmbedderUnavailableError), (tmp_path, EmbedderUnavailableError)):
        with pytest.raises(kind):
            database.create_collection("texts", embedder=f"counting:{model}")
    assert database.collections() == []


def test_get_or_create_takes_other_runtime_options_and_another_place_of_the_model(folder, model, tmp_path):
    make(folder, model)
    elsewhere = tmp_path / "moved.bin"
    model.rename(elsewhere)
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        options = {"device": "another", "model": str(elsewhere)}
        texts = database.get_or_create_collection("texts", embedder="counting", embedder_options=options)
        assert texts.search("a", k=1)[0].id == "x"
        assert texts.spaces["default"].options["device"] == "another"
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:  # and they are remembered
        assert database.collection("texts").search("a", k=1)[0].id == "x"


def test_a_runtime_option_that_changes_vectors_after_all_is_found_by_the_probe(folder):
    make(folder)
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        with pytest.raises(EmbedderMismatchError, match="drift"):
            database.get_or_create_collection("texts", embedder="counting", embedder_options={"drift": 5.0})
        assert database.collection("texts").search("a", k=1)[0].id == "x"  # as it was before


def test_an_embedder_that_now_makes_longer_vectors_is_refused_and_nothing_is_written(folder, reopened, monkeypatch):
    """Stored, such a vector would be left out of searches: the record would be there and never found."""
    make(folder)
    monkeypatch.setattr("tests.storage.embedders.DIMENSION", 9)
    texts = reopened()
    for call in (
        lambda: texts.add(["new"], ids=["new"]),
        lambda: texts.ingest([vecdb.Record("new", "new")], on_error="quarantine"),
        lambda: texts.search("new"),
    ):
        with pytest.raises(EmbedderMismatchError, match="now makes vectors of length 9, and made 8") as caught:
            call()
        assert (caught.value.expected, caught.value.got) == ("8", "9")
    assert [record.id for record in texts] == list("xyz")
    assert texts.failures() == []
