"""Files of word vectors, loaded as the embedders load them, and a text embedded with what was read."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

import vecdb
from tests.plugins.words.models import VECTORS, WORDS, binary_bytes, fasttext_bytes, text_bytes
from tests.torture.fuzzing.target import Target
from vecdb_words import vecdb_register_embedders
from vecdb_words.fasttext_binary import read_fasttext
from vecdb_words.opcodes import PickleError, read_pickle

_INFOS = {info.name: info for info in vecdb_register_embedders()}
_ASSETS = Path(__file__).parents[2] / "assets" / "gensim"
_TEXTS = ("the king", "물 naïve unheardof", "don't c++")


def _embed(name: str, model: Path) -> None:
    """Load and embed, the errors of the contract apart; the texts may hold no known word."""
    info = _INFOS[name]
    embedder = info.create(info.configure({"model": model, "remove_components": 1}))
    try:
        embedder.load()
    except vecdb.EmbedderUnavailableError:
        return
    try:
        for text in _TEXTS:
            try:
                embedder.encode([embedder.prepare(text)], "document")
            except vecdb.ItemError:
                continue
    finally:
        embedder.close()


def _run(data: bytes, folder: Path, *, name: str) -> None:
    path = folder / "model"
    path.write_bytes(data)
    _embed(name, path)


def _gensim(data: bytes, folder: Path) -> None:
    """Opcodes alone, then a file of gensim; a first byte of 1 makes the rest the array beside a sound one."""
    if data[:1] == b"\1":
        path = folder / "separate.kv"
        if not path.exists():
            path.write_bytes((_ASSETS / "separate.kv").read_bytes())
        (folder / "separate.kv.vectors.npy").write_bytes(data[1:])
    else:
        with contextlib.suppress(PickleError):
            read_pickle(data)
        path = folder / "model.kv"
        path.write_bytes(data)
    _embed("word2vec", path)


def _fasttext(data: bytes, folder: Path) -> None:
    path = folder / "model.bin"
    path.write_bytes(data)
    try:
        model = read_fasttext(path)
    except vecdb.EmbedderUnavailableError:
        return
    for word in (*WORDS, "unheardof", ""):
        rows = model.rows(word)
        if rows:
            model.matrix[rows].mean(axis=0)
    del model
    _embed("fasttext", path)


def _word_seeds(folder: Path) -> list[bytes]:
    plain = [text_bytes(header=True), text_bytes(header=False), binary_bytes(), binary_bytes(newline=True)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.txt", plain[1])
    lies = [
        b"999999999 300\n" + plain[2].partition(b"\n")[2],
        b"1 65536\nthe 1 2",
        b"3 1\na 1\nb 2\nc 3\n",
        b"1e5 nan inf\n",
        b"the 1e39 2\n",
        b"\n" * 50,
    ]
    return [*plain, gzip.compress(plain[1], mtime=0), packed.getvalue(), *lies, gzip.compress(bytes(1 << 22), mtime=0)]


def _gensim_seeds(folder: Path) -> list[bytes]:
    files = [path.read_bytes() for path in sorted(_ASSETS.iterdir()) if path.suffix in (".kv", ".model")]
    array = (_ASSETS / "separate.kv.vectors.npy").read_bytes()
    bombs = [
        b"\x80\x04" + b"(" * 9000,
        b"\x80\x04]" + b"\x94h\0" * 3000,
        b"\x80\x04\x8a\xff" + b"\xff" * 300,
        b"\x80\x04" + b"N\x85" * 9000 + b".",
    ]
    return [*(data for data in files if len(data) < 20_000), b"\1" + array, *bombs]


def _fasttext_seeds(folder: Path) -> list[bytes]:
    inputs = np.concatenate([VECTORS, np.random.default_rng(6).standard_normal((12, VECTORS.shape[1]))])
    seeds = [fasttext_bytes(WORDS, inputs, buckets=12), fasttext_bytes(WORDS, VECTORS, buckets=0, max_n=0)]
    return [*seeds, fasttext_bytes(WORDS[:2], inputs[:14], buckets=12, version=11), _quantised()]


def _quantised() -> bytes:
    """A model whose matrix is of centroids, with norms that are quantised as well."""
    import struct

    plain = fasttext_bytes(WORDS[:3], VECTORS[:3], buckets=0, max_n=0)
    head = plain[: plain.index(struct.pack("<?2q", False, 3, VECTORS.shape[1]))]
    columns, parts = VECTORS.shape[1], 4
    centroids = np.random.default_rng(7).standard_normal(columns * 256).astype("<f4").tobytes()
    body = struct.pack("<??2qi", True, True, 3, columns, 3 * parts) + bytes(range(3 * parts))
    body += struct.pack("<4i", columns, parts, 2, 1) + centroids
    return head + body + bytes(3) + struct.pack("<4i", 1, 1, 1, 1) + centroids[: 256 * 4]


TARGETS = [
    Target("word vectors", _word_seeds, partial(_run, name="glove"), words=[b"nan", b"inf", b"1e38", b"\n", b" 0.5"]),
    Target(
        "gensim",
        _gensim_seeds,
        _gensim,
        longest=20_000,
        words=[b"vectors", b"index_to_key", b"\x93NUMPY", b"_reconstruct"],
    ),
    Target("fasttext", _fasttext_seeds, _fasttext, longest=12_000),
]
