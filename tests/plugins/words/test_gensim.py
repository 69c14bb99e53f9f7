"""Files of gensim: read as data, to the vectors that gensim itself exports, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.words.models import embed, embedder
from vecdb import EmbedderUnavailableError
from vecdb_words import vecdb_register_embedders
from vecdb_words.gensim_format import read_gensim
from vecdb_words.opcodes import Call, Name, Pairs, PickleError, read_pickle
from vecdb_words.reading import read_word_vectors

FILES = Path(__file__).parents[2] / "assets" / "gensim"
SAVED = ["words.kv", "separate.kv", "separate.model", "protocol2.kv", "protocol3.kv", "protocol5.kv"]


@pytest.mark.parametrize("name", SAVED)
def test_vectors_are_those_of_the_text_export(name: str) -> None:
    """Every protocol, with the vectors within and beside, alone and in a model: to the last bit."""
    expected = read_word_vectors(FILES / "words.txt")
    found = read_word_vectors(FILES / name)
    assert found.index == expected.index
    assert {"물", "naïve", "don't", "c++"} <= set(found.index)
    assert found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    np.testing.assert_array_equal(read_word_vectors(FILES / name, 5).matrix, expected.matrix[:5])


@pytest.mark.parametrize("name", ["word2vec", "fasttext"])
def test_it_is_embedded_from_as_text_is(name: str) -> None:
    texts = ["the captain", "물 naïve", "butter, flour!"]
    expected = embed(embedder(name, model=FILES / "words.txt"), texts)
    np.testing.assert_array_equal(embed(embedder(name, model=FILES / "separate.kv"), texts), expected)


def weights(model: Path) -> list[str]:
    info = vecdb_register_embedders()[0]
    return [path.name for path in info.create(info.configure({"model": model})).weights()]


def test_the_side_file_counts_as_weights(tmp_path: Path) -> None:
    """It decides the vectors, and is known before anything is loaded."""
    assert weights(FILES / "separate.kv") == ["separate.kv", "separate.kv.vectors.npy"]
    assert weights(FILES / "separate.model") == ["separate.model", "separate.model.wv.vectors.npy"]
    assert weights(FILES / "words.kv") == ["words.kv"]
    assert weights(tmp_path / "absent.kv") == ["absent.kv"]
    (tmp_path / "plain.txt").write_text("word 1 2\n")
    (tmp_path / "plain.txt.vectors.npy").write_bytes(b"unrelated")
    assert weights(tmp_path / "plain.txt") == ["plain.txt"]


def test_a_side_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "separate.kv"
    path.write_bytes((FILES / "separate.kv").read_bytes())
    side = tmp_path / "separate.kv.vectors.npy"
    with pytest.raises(EmbedderUnavailableError, match=r"its vectors are in separate\.kv\.vectors\.npy, .*put both"):
        read_gensim(path)
    whole = (FILES / "separate.kv.vectors.npy").read_bytes()
    for content in (b"", whole[:40], whole[:-4], b"not an array at all", pickle.dumps([1])):
        side.write_bytes(content)
        with pytest.raises(EmbedderUnavailableError, match=r"separate\.kv\.vectors\.npy: is no array of numbers"):
            read_gensim(path)
    for array in (np.zeros((2, 6), np.float32), np.zeros(16, np.float32), np.zeros((16, 0), np.float32)):
        np.save(side, array)
        with pytest.raises(EmbedderUnavailableError, match="it has 16 words and vectors of the shape"):
            read_gensim(path)
    for array in (np.zeros((16, 6), np.int64), np.array([["text"]])):
        np.save(side, array)
        with pytest.raises(EmbedderUnavailableError, match="with a decimal point"):
            read_gensim(path)
    np.save(side, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(EmbedderUnavailableError, match="is no array of numbers"):
        read_gensim(path)
    for bad in (np.nan, 1e300):
        array = np.ones((16, 6))
        array[3, 2] = bad
        np.save(side, array)
        with pytest.raises(EmbedderUnavailableError, match=r"the vector of '.*' holds a number that is not finite"):
            read_gensim(path)


def test_a_fasttext_model_says_how_to_convert_it() -> None:
    for name in ("word2vec", "fasttext"):
        with pytest.raises(EmbedderUnavailableError, match=r"parts of words are not read; .*save_facebook_model"):
            embedder(name, model=FILES / "fasttext.kv")


# --- hostile and damaged files ------------------------------------------------------------------------


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


class Shell(Runs):
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [Runs, Shell])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, protocol: int, kind: type[Runs]) -> None:
    marker = tmp_path / "it-ran"
    content = pickle.dumps({"index_to_key": ["a"], "vectors": kind(marker)}, protocol)
    path = tmp_path / "model.kv"
    path.write_bytes(content)
    with pytest.raises(EmbedderUnavailableError, match=r"not one of gensim's word vectors; convert it"):
        embedder("word2vec", model=path)
    assert not marker.exists()
    pickle.loads(content)  # the proof that the file is a trap
    assert marker.exists()


def test_a_trap_within_a_file_of_gensim_is_not_run(tmp_path: Path) -> None:
    """A call slipped in among a real file's attributes, its result thrown away; nothing is imported either."""
    marker = tmp_path / "it-ran"
    whole = (FILES / "words.kv").read_bytes()
    trap = pickle.dumps(Shell(marker), 4)[11:-1]  # without its protocol, frame and end
    assert whole.count(b"\x8c\x0cindex_to_key") == 1
    path = tmp_path / "model.kv"
    path.write_bytes(whole.replace(b"\x8c\x0cindex_to_key", b"\x8c\x0cindex_to_key" + trap + b"0", 1))
    assert read_gensim(path).matrix.shape == (16, 6)
    assert not marker.exists()
    path.write_bytes(b"\x80\x04cthis\nthat\n" + trap + b"\x85R.")
    before = set(sys.modules)
    with pytest.raises(EmbedderUnavailableError, match="not one of gensim's word vectors"):
        read_gensim(path)
    assert not marker.exists()
    assert {"this", "antigravity"}.isdisjoint(set(sys.modules) - before)


@pytest.mark.parametrize("name", ["words.kv", "separate.kv", "separate.model", "protocol2.kv", "protocol5.kv"])
def test_every_cut_is_refused(tmp_path: Path, name: str) -> None:
    whole = (FILES / name).read_bytes()
    path = tmp_path / name
    for side in FILES.glob(f"{name}.*"):
        (tmp_path / side.name).write_bytes(side.read_bytes())
    read_gensim_copy(path, whole)
    for length in [*range(2, 40), *range(40, len(whole), 17), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(EmbedderUnavailableError, match="; "):
            read_gensim(path)


def read_gensim_copy(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_gensim(path).matrix.shape == (16, 6)


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """Any byte changed: the vectors of all words, or the promised error; never anything else."""
    random = np.random.default_rng(0)
    path = tmp_path / "model.kv"
    refused = 0
    for name in ("words.kv", "protocol2.kv", "protocol5.kv"):
        whole = (FILES / name).read_bytes()
        for _ in range(400):
            damaged = bytearray(whole)
            damaged[random.integers(2, len(whole))] = random.integers(256)
            path.write_bytes(damaged)
            try:
                found = read_gensim(path)
            except EmbedderUnavailableError:
                refused += 1
            else:
                assert found.matrix.shape == (16, 6)
                assert np.isfinite(found.matrix).all()
    assert refused > 200


HOSTILE = {
    "length beyond the end": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc",
    "text beyond the end": b"\x80\x04X\xff\xff\xff\xff.",
    "long number beyond the end": b"\x80\x04\x8b\xff\xff\xff\x7f.",
    "negative length": b"\x80\x04\x8b\xff\xff\xff\xff.",
    "millions of lists": b"\x80\x04" + b"]" * 1_000_000 + b".",
    "millions of dicts": b"\x80\x04" + b"}" * 1_000_000 + b".",
    "empty stack": b"\x80\x04.",
    "no mark": b"\x80\x04]e.",
    "values from below a mark": b"\x80\x04K\x01K\x02(\x86.",
    "memo out of order": b"\x80\x04Nr\xff\xff\xff\x7f.",
    "memo that is empty": b"\x80\x04h\x05.",
    "odd number of items": b"\x80\x04}(K\x01u.",
    "items of a list": b"\x80\x04](K\x01K\x02u.",
    "call without a tuple": b"\x80\x04cos\nsystem\nNR.",
    "state of no object": b"\x80\x04NNb.",
    "name without an end": b"\x80\x04cos" + b"x" * 5000,
    "persistent id": b"\x80\x04Pid\n.",
    "extension": b"\x80\x04\x82\x01.",
    "buffer from outside": b"\x80\x05\x97.",
    "old class": b"\x80\x02(ios\nsystem\n.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_programs_are_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(PickleError):
        read_pickle(HOSTILE[case])
    path = tmp_path / "model.kv"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(EmbedderUnavailableError, match=r"cannot be read as data: .*; convert it where it was made"):
        read_gensim(path)


def test_keys_are_never_hashed() -> None:
    """Numbers with equal hashes would make a dict take quadratic time; lists cannot be hashed at all."""
    found = read_pickle(b"\x80\x04}(]K\x01u.")
    assert isinstance(found, Pairs)
    assert found.flat == [[], 1]
    same = b"".join(b"\x8a\x0b" + (number * (2**61 - 1)).to_bytes(11, "little") + b"N" for number in range(20_000))
    assert len(read_pickle(b"\x80\x04}(" + same + b"u.").flat) == 40_000


def test_plain_data_comes_out_as_it_went_in() -> None:
    numbers = [1, -70_000, 300, 1 << 80, -(1 << 70), 2.5, None, True, False]
    value = ["text 물", b"bytes", *numbers, (), (1,), (1, 2, 3, 4), [[]]]
    for protocol in (3, 4, 5):
        assert read_pickle(pickle.dumps(value, protocol)) == value
        found = read_pickle(pickle.dumps({"a": 1, "b": [2]}, protocol))
        assert (found.get("a"), found.get("b"), found.get("c")) == (1, [2], None)
    found = read_pickle(pickle.dumps(Path("x"), 4))
    assert isinstance(found, Call)
    assert isinstance(found.function, Name)
