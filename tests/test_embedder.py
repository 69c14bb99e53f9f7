"""What is said of an embedder without loading it: its description, its name, its fingerprint."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import vecdb
from vecdb.embedder import EmbedderInfo, EmbedderRef, FileHashes, fingerprint, required_options, weight_files
from vecdb.errors import EmbedderUnavailableError, InvalidInputError, PluginLoadError


@dataclass(frozen=True)
class Config:
    model: Path = vecdb.option(affects="location", help="a file or folder")
    pooling: str = vecdb.option("mean", help="vectors")
    threads: int = vecdb.option(1, affects="runtime", help="no matter")


@dataclass
class Changeable:
    pass


class Sample(vecdb.Embedder):
    def load(self):
        pass

    @property
    def dimension(self):
        return 2

    def weights(self):
        return [self.config.model]

    def encode(self, batch, role):
        return [[1.0, 2.0] for _ in batch]


class Stranger:
    def __init__(self, config):
        pass


class Teacher(vecdb.Trainer):
    config = Config

    def train(self, texts, output, progress=None):
        return {}


INFO = EmbedderInfo("sample", "for the tests", frozenset({"text"}), Config, f"{__name__}:Sample")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Bad"}, "lower-case"),
        ({"name": "two  words"}, "lower-case"),
        ({"name": "-dash"}, "lower-case"),
        ({"summary": ""}, "summary"),
        ({"modalities": frozenset()}, "modalities"),
        ({"modalities": frozenset({"video"})}, "modalities"),
        ({"metrics": ()}, "metrics"),
        ({"metrics": ("euclid",)}, "metrics"),
        ({"config": Stranger}, "dataclass"),
        ({"config": Changeable}, "frozen"),
        ({"factory": "module.Class"}, "package.module:Class"),
        ({"trainer": "Teacher"}, "package.module:Class"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_wrong_description_is_refused_at_once(change, words):
    with pytest.raises(PluginLoadError, match=words):
        replace(INFO, **change)


def test_a_missing_library_says_what_to_install():
    info = replace(INFO, requires=("json", "no_such_library"), extra="words")
    assert info.missing() == ["no_such_library"]
    with pytest.raises(EmbedderUnavailableError, match=r"pip install 'vecdb-engine\[words\]'$") as found:
        info.create(Config(Path("m")))
    assert found.value.missing == ("no_such_library",)
    with pytest.raises(EmbedderUnavailableError, match=r"pip install no_such_library$"):
        replace(info, extra=None).check_available()


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("no_such_module:Thing", "ModuleNotFoundError"),
        (f"{__name__}:Nothing", "AttributeError"),
        (f"{__name__}:Stranger", "not a vecdb.Embedder"),
    ],
)
def test_a_factory_that_makes_no_embedder(factory, words):
    with pytest.raises(PluginLoadError, match=words):
        replace(INFO, factory=factory).create(Config(Path("m")))


def test_a_trainer_is_made_only_where_there_is_one():
    made = replace(INFO, trainer=f"{__name__}:Teacher").create_trainer(Config(Path("m")))
    assert isinstance(made, Teacher)
    with pytest.raises(InvalidInputError, match="cannot be trained"):
        INFO.create_trainer(Config(Path("m")))
    with pytest.raises(PluginLoadError, match=r"vecdb\.Trainer"):
        replace(INFO, trainer=f"{__name__}:Stranger").create_trainer(Config(Path("m")))


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("glove", None, EmbedderRef("glove", {})),
        ("glove:a/b.txt", None, EmbedderRef("glove", {"model": "a/b.txt"})),
        ("glove:C:\\b.txt", {"lower": True}, EmbedderRef("glove", {"model": "C:\\b.txt", "lower": True})),
        (EmbedderRef("glove", {"a": 1}), {"b": 2}, EmbedderRef("glove", {"a": 1, "b": 2})),
        ("glove:m", {"model": "m"}, EmbedderRef("glove", {"model": "m"})),
    ],
)
def test_an_embedder_by_name(text, options, expected):
    assert EmbedderRef.parse(text, options) == expected


def test_an_option_given_twice_is_refused():
    with pytest.raises(InvalidInputError, match=r"'model' .* is given twice: 'a' and 'b'"):
        EmbedderRef.parse("glove:a", {"model": "b"})
    for nothing in ("", "  ", None, 7):
        with pytest.raises(InvalidInputError, match="'NAME' or 'NAME:MODEL'"):
            EmbedderRef.parse(nothing)


def test_options_are_configured_by_name():
    assert INFO.configure({"model": "m"}) == Config(Path("m"))
    assert INFO.configure({"model": "m", "threads": "4"}, from_text=True).threads == 4
    assert required_options(Config) == ["model"]
    with pytest.raises(InvalidInputError, match="embedder 'sample' has no option 'poling'"):
        INFO.configure({"model": "m", "poling": "max"})


# --- the fingerprint ------------------------------------------------------------------------------


def fingerprint_of(path, info=INFO, **options):
    return fingerprint(info, Sample(Config(Path(path), **options)))


def test_the_fingerprint_follows_content_not_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "layers").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "layers" / "0.bin").write_bytes(b"weights")
    one = fingerprint_of(tmp_path / "one")
    assert one.startswith("vf1:")
    assert len(one) == 4 + 64
    assert one == fingerprint_of(tmp_path / "two")
    assert one == fingerprint_of(tmp_path / "one", threads=8)
    assert one != fingerprint_of(tmp_path / "one", pooling="max")
    assert one != fingerprint_of(tmp_path / "one", replace(INFO, revision=2))
    assert one != fingerprint_of(tmp_path / "one", replace(INFO, name="other"))
    (tmp_path / "two" / "layers" / "0.bin").rename(tmp_path / "two" / "layers" / "1.bin")
    assert one != fingerprint_of(tmp_path / "two")


def test_the_fingerprint_of_a_file_does_not_depend_on_its_name(tmp_path):
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.bin").write_text("same")
    (tmp_path / "c.txt").write_text("other")
    assert fingerprint_of(tmp_path / "a.txt") == fingerprint_of(tmp_path / "b.bin")
    assert fingerprint_of(tmp_path / "a.txt") != fingerprint_of(tmp_path / "c.txt")


def test_a_missing_weight_file_is_named(tmp_path):
    with pytest.raises(EmbedderUnavailableError, match="gone") as found:
        weight_files(Sample(Config(tmp_path / "gone")), owner="embedder 'sample'")
    assert found.value.missing == (str(tmp_path / "gone"),)


def test_a_hash_is_remembered_until_size_or_time_changes(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    hashes = FileHashes()
    first = hashes.sha256(path)
    assert FileHashes(hashes.known).sha256(path) == first
    [(_, entry)] = hashes.known.items()
    planted = FileHashes({str(path): [*entry[:2], "remembered"]})
    assert planted.sha256(path) == "remembered"
    os.utime(path, ns=(1, 1))
    assert planted.sha256(path) == first
    path.write_bytes(b"four")
    assert planted.sha256(path) != first
