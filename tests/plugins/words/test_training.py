"""Training fastText: what the model knows afterwards, and what happens when something goes wrong."""

from __future__ import annotations

import ast
import errno
import hashlib
import os
import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.words.corpora import TOPICS, topic_texts, train
from tests.plugins.words.models import cosines, embed, embedder
from vecdb import DiskFullError, InvalidInputError, ItemError
from vecdb_words.fasttext_binary import read_fasttext
from vecdb_words.training import FastTextTrainer
from vecdb_words.training_config import FastTextTraining


@pytest.mark.parametrize("initialisation", ["cooccurrence", "random"])
def test_words_of_one_topic_come_together(tmp_path: Path, initialisation: str) -> None:
    epochs = 2 if initialisation == "cooccurrence" else 40
    report = train(tmp_path / "m.bin", topic_texts(), initialisation=initialisation, epochs=epochs, dimension=20)
    assert report["texts"] == 300
    assert report["words"] == 300 * 12
    assert report["vocabulary"] == 14
    assert report["dimension"] == 20
    made = embedder("fasttext", model=tmp_path / "m.bin", pooling="mean")
    sea, kitchen = (embed(made, TOPICS[topic]) for topic in ("sea", "kitchen"))
    within = [cosines(group[[i]], group[[j]])[0] for group in (sea, kitchen) for i in range(6) for j in range(i)]
    across = [cosines(one[None], other[None])[0] for one in sea for other in kitchen]
    assert min(within) > max(across) + 0.1


DOCUMENTED = {
    "compress a file": r"^(gzip|zipfile|bz2|lzma|tarfile|zlib|zipapp|shutil\.make_archive|_compress)",
    "parse json": r"^json|tomllib",
    "send an email": r"^(smtplib|email|mailbox)",
    "run a shell command": r"subprocess|^os\.(popen|system|spawn)|^pipes|^cmd|^pty",
    "random number generator": r"^(random|secrets)",
    "delete a directory tree": r"^(shutil|os\.|pathlib|tempfile)",
    "parse command line arguments": r"^(argparse|optparse|getopt)",
    "read configuration ini file": r"^configparser",
    "average and median": r"^statistics",
    "base64 encode": r"^(base64|binascii)",
    "priority queue": r"queue|heapq",
    "ip address network": r"^ipaddress",
}
MISSPELT = {
    "comprss a fiel": "compress a file",
    "parse jsno": "parse json",
    "snd an emial": "send an email",
    "runn a shel comand": "run a shell command",
    "randm numbr genarator": "random number generator",
    "delet a direcotry tree": "delete a directory tree",
    "parse comand lin argumnts": "parse command line arguments",
    "read configuraton ini file": "read configuration ini file",
    "avrage and medain": "average and median",
    "bas64 encod": "base64 encode",
    "priorty queu": "priority queue",
    "ip adress netwrok": "ip address network",
}


def docstrings() -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of what the standard library documents."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if {"test", "tests", "site-packages", "idlelib", "lib2to3", "turtledemo", "pydoc_data"} & set(parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # some files of the library are broken on purpose
            continue
        yield from documented(tree, ".".join(parts).removesuffix(".__init__"))


def documented(node: Any, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node)
    if text:
        yield name, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from documented(child, f"{name}.{child.name}")


class Library:
    """The standard library's documentation, searched with a model trained on it."""

    def __init__(self, folder: Path) -> None:
        found = list(docstrings())
        self.names = [name for name, _ in found]
        texts = [f"{name.replace('.', ' ')}. {text}" for name, text in found]
        paragraphs = [text.partition("\n\n")[0] for text in texts]
        self.report = train(folder / "library.bin", texts)
        self.embedder = embedder("fasttext", model=folder / "library.bin", sif_a=1e-3)
        self.vectors = embed(self.embedder, paragraphs)

    def search(self, query: str, k: int = 5) -> list[str]:
        order = np.argsort(-cosines(self.vectors, embed(self.embedder, [query])))
        return [self.names[row] for row in order[:k]]

    def precision(self, queries: Mapping[str, str]) -> float:
        return float(np.mean([bool(re.search(p, name)) for query, p in queries.items() for name in self.search(query)]))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("library"))


def test_a_library_is_found_by_meaning(library: Library) -> None:
    assert library.report["texts"] > 3000
    hits = library.search("compress a file")
    assert sum(bool(re.search(DOCUMENTED["compress a file"], name)) for name in hits) >= 4, hits
    assert any(name.startswith("json") for name in library.search("parse json"))
    # Each Python has its own docstrings: 0.73, 0.80, 0.82 with those of 3.11, 3.12 and 3.13.
    assert library.precision(DOCUMENTED) > 0.65


def test_misspelt_queries_still_work(library: Library) -> None:
    hits = library.search("comprss a fiel")
    assert any(re.search(DOCUMENTED["compress a file"], name) for name in hits), hits
    expected = {query: DOCUMENTED[meant] for query, meant in MISSPELT.items()}
    assert library.precision(expected) > 0.35  # 0.48, 0.42, 0.48


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("comprss", "compress"), ("directry", "directory"), ("argumnts", "arguments"), ("configuraton", "configuration")],
)
def test_a_typo_lands_beside_its_word(library: Library, typo: str, meant: str) -> None:
    """Among all words of the vocabulary, the one that was meant is within the ten nearest."""
    model = read_fasttext(library.embedder.config.model)
    words = list(model.index)
    matrix = np.stack([model.matrix[model.rows(word)].mean(0) for word in words])
    found = model.matrix[model.rows(typo)].mean(0)
    nearest = [words[row] for row in np.argsort(-cosines(matrix, found[None]))[:10]]
    assert typo not in model.index
    assert meant in nearest


_TRAIN = """
import sys; from pathlib import Path
from tests.plugins.words.corpora import topic_texts, train
train(Path(sys.argv[1]), topic_texts(), seed=int(sys.argv[2]), dimension=16, buckets=500)
"""


def test_the_same_seed_gives_the_same_file_in_every_process(tmp_path: Path) -> None:
    digests = []
    for hash_seed, seed in (("1", "7"), ("2", "7"), ("1", "8")):
        path = tmp_path / f"{hash_seed}-{seed}.bin"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _TRAIN, str(path), seed]
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[3])
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_the_file_is_laid_out_as_the_official_program_expects(tmp_path: Path) -> None:
    """Magic, version 12, arguments, dictionary sorted by count, both matrices, and nothing behind them."""
    path = tmp_path / "m.bin"
    train(path, topic_texts(), dimension=16, buckets=500, min_n=3, max_n=5, window=4, negative=6)
    content = path.read_bytes()
    assert struct.unpack_from("<2i", content) == (793712314, 12)
    dimension, window, epochs, _, negatives, ngrams, loss, kind, buckets, min_n, max_n, _ = struct.unpack_from(
        "<12i", content, 8
    )
    assert (dimension, window, epochs, negatives, ngrams, loss, kind) == (16, 4, 2, 6, 1, 2, 2)
    assert (buckets, min_n, max_n) == (500, 3, 5)
    entries, words, labels, tokens, pruned = struct.unpack_from("<3i2q", content, 64)
    assert (entries, words, labels, tokens, pruned) == (14, 14, 0, 3600, -1)
    model = read_fasttext(path)
    assert list(model.counts) == sorted(model.counts, reverse=True)
    assert model.counts.sum() == 3600
    dictionary = sum(len(word.encode()) + 10 for word in model.index)
    matrices = sum(17 + 4 * 16 * rows for rows in (514, 14))
    assert len(content) == 92 + dictionary + matrices


def test_without_ngrams_unseen_words_have_no_vector(tmp_path: Path) -> None:
    train(tmp_path / "m.bin", topic_texts(), dimension=16, max_n=0)
    model = read_fasttext(tmp_path / "m.bin")
    assert model.matrix.shape == (14, 16)
    assert model.rows("sailorr") == []


def test_progress_runs_to_its_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    FastTextTrainer(FastTextTraining(dimension=8, epochs=3)).train(
        iter(topic_texts()), tmp_path / "m.bin", lambda done, total: seen.append((done, total))
    )
    done = [count for count, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (4 * 3600, 4 * 3600)


def test_an_interrupted_training_leaves_the_old_model(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"the old model")

    def interrupt(done: int, total: int | None) -> None:
        if done > 5000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FastTextTrainer(FastTextTraining(dimension=8)).train(topic_texts(), path, interrupt)
    assert path.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"the old model")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vecdb_words.writing.os.fsync", fail)
    with pytest.raises(DiskFullError, match="make room and train again"):
        train(path, topic_texts(), dimension=8)
    assert path.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be written .*; choose another place"):
        train(tmp_path / "absent" / "m.bin", topic_texts(), dimension=8)


@pytest.mark.parametrize("texts", [[], ["", " "], ["one two three"] * 5, ["a b c d e f g h i j k l m n"]])
def test_too_little_text(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(InvalidInputError, match=r"too few to learn from .*; give more texts or lower min_count"):
        train(tmp_path / "m.bin", texts)
    assert not list(tmp_path.iterdir())


def test_texts_of_a_single_word_each(tmp_path: Path) -> None:
    """Nothing stands beside anything: the words stay without meaning, and training does not fail."""
    report = train(tmp_path / "m.bin", [word for word in TOPICS["sea"] + TOPICS["kitchen"] for _ in range(5)])
    assert report["vocabulary"] == 12
    assert np.isfinite(read_fasttext(tmp_path / "m.bin").matrix).all()


@pytest.mark.parametrize(
    "option",
    [
        {"dimension": 0},
        {"epochs": -1},
        {"min_n": 5, "max_n": 4},
        {"buckets": 0},
        {"learning_rate": 0.0},
        {"sample": 0.0},
    ],
)
def test_options_out_of_range(option: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"training option .* must be"):
        FastTextTraining(**option)
    with pytest.raises(InvalidInputError, match="epochs=0 must be 1 or more with random vectors"):
        FastTextTraining(epochs=0, initialisation="random")


def test_a_text_of_which_no_part_was_trained_is_unknown_and_not_all_alike(tmp_path: Path) -> None:
    train(tmp_path / "m.bin", topic_texts(), dimension=100)
    found = embedder("fasttext", model=tmp_path / "m.bin")
    misspelt, right = embed(found, ["sailer", "sailor"])
    assert misspelt @ right > 0.5 * np.linalg.norm(misspelt) * np.linalg.norm(right)
    for text in ("한국어 텍스트", "日本語", "жук"):
        with pytest.raises(ItemError, match="none of the words"):
            found.prepare(text)
