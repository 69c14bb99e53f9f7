"""Reading fastText models (.bin, and quantised .ftz) as the official program writes them.

Little-endian, version 12 (11 is read as well): magic, version, arguments, dictionary, then the input
matrix (a row for each word, then a row for each bucket of n-grams) and the output matrix. A word's
vector is the mean of its own row and the rows of its n-grams; an unknown word has the latter only.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vecdb_words.files import FASTTEXT_MAGIC, errors_named, signature, unusable
from vecdb_words.product_quantisation import read_quantised
from vecdb_words.subwords import subword_hashes
from vecdb_words.vectors import FloatArray, IntArray

VERSION = 12
MAGIC_AND_VERSION = struct.Struct("<4si")
ARGUMENTS = struct.Struct("<12id")  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate t
DICTIONARY = struct.Struct("<3i2q")  # entries, words, labels; tokens, pruned rows (-1: not pruned)
ENTRY = struct.Struct("<qb")  # count, and 0 for a word or 1 for a label, behind the word and a zero byte
SHAPE = struct.Struct("<2q")
_SUPERVISED = 3
_DAMAGED = "the file is damaged or cut off: fetch it again"


@dataclass(frozen=True)
class FastTextModel:
    """A fastText model.

    Attributes:
        index: row of each word.
        counts: how often each word stood in the training text, in row order.
        tokens: number of words of the training text.
        words: number of word rows; n-gram rows follow them.
        matrix: input rows, shape (words + buckets, dimension), float32; memory-mapped unless quantised.
        min_n, max_n: lengths of the n-grams, in characters; max_n 0 means that there are none.
        buckets: number of n-gram rows that hashes are reduced to.
        kept: for a pruned model, the n-gram rows that were kept, by bucket; otherwise None.
    """

    index: Mapping[str, int]
    counts: IntArray
    tokens: int
    words: int
    matrix: FloatArray
    min_n: int
    max_n: int
    buckets: int
    kept: Mapping[int, int] | None = field(default=None, repr=False)

    def rows(self, word: str) -> list[int]:
        """The rows whose mean is the vector of `word`; empty if nothing of it is known."""
        own = self.index.get(word)
        found = [] if own is None else [own]
        if self.buckets <= 0:
            return found
        grams = [value % self.buckets for value in subword_hashes(word, self.min_n, self.max_n)]
        if self.kept is not None:
            grams = [self.kept[gram] for gram in grams if gram in self.kept]
        return found + [self.words + gram for gram in grams]


class Cursor:
    """Reads the fields of a mapped file one behind the other, never beyond its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.position = 0

    def skip(self, count: int) -> int:
        """Where the next `count` bytes begin."""
        start = self.position
        if count < 0 or start + count > len(self.data):
            raise self.damaged(f"its content goes on behind its end, byte {len(self.data)}")
        self.position += count
        return start

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """The next fields."""
        return layout.unpack_from(self.data, self.skip(layout.size))

    def array(self, kind: str, count: int) -> Any:
        """The next `count` numbers, a view of the map."""
        width = np.dtype(kind).itemsize
        return np.frombuffer(self.data, kind, count, self.skip(width * count))

    def word(self) -> str:
        """The next word, up to a zero byte."""
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise self.damaged("a word has no end")
        found = self.data[self.position : end].decode("utf-8", "replace")
        self.position = end + 1
        return found

    def damaged(self, problem: str) -> Exception:
        """The error for a file that contradicts itself."""
        return unusable(self.path, problem, _DAMAGED)


def read_fasttext(path: Path) -> FastTextModel:
    """Read a fastText model; the matrix stays on disk, mapped into memory, unless it is quantised.

    Raises:
        EmbedderUnavailableError: the file is missing, of another version, or damaged.
    """
    if not signature(path):
        raise unusable(path, "the file is empty", "fetch it again")
    with errors_named(path), path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    cursor = Cursor(path, data)
    magic, version = cursor.unpack(MAGIC_AND_VERSION)
    if magic != FASTTEXT_MAGIC:
        raise unusable(path, "is no fastText model", "give a .bin, .ftz or .vec file")
    if version not in (11, VERSION):
        raise unusable(path, f"is a fastText model of version {version}", "save it with fastText 0.9 (version 12)")
    dimension, *_, kind, buckets, min_n, max_n, _, _ = cursor.unpack(ARGUMENTS)
    if version < VERSION and kind == _SUPERVISED:
        max_n = 0  # as the official program does: such models have no n-grams of characters
    entries, words, labels, tokens, pruned = cursor.unpack(DICTIONARY)
    if min(dimension, entries, words, labels) < 0 or dimension == 0 or words == 0 or words + labels != entries:
        raise cursor.damaged(f"it claims {words} words and {labels} labels of {dimension} numbers")
    index, counts = _read_words(cursor, entries, words)
    kept = _read_kept(cursor, pruned) if pruned >= 0 else None
    (quantised,) = cursor.unpack(struct.Struct("<?"))
    matrix = read_quantised(cursor) if quantised else _read_matrix(cursor)
    grams = 0 if max_n <= 0 else len(kept) if kept is not None else max(buckets, 0)
    if matrix.shape[1] != dimension or matrix.shape[0] < words + grams:
        raise cursor.damaged(f"its matrix has the shape {matrix.shape}, not {(words + grams, dimension)}")
    if kept and max(kept.values()) >= len(matrix) - words:
        raise cursor.damaged("an n-gram refers to a row that is not there")
    return FastTextModel(index, counts, tokens, words, matrix, min_n, max_n, buckets if max_n > 0 else 0, kept)


def _read_words(cursor: Cursor, entries: int, words: int) -> tuple[dict[str, int], IntArray]:
    if entries > (len(cursor.data) - cursor.position) // (1 + ENTRY.size):
        raise cursor.damaged(f"it claims {entries} words, more than it can hold")
    index: dict[str, int] = {}
    counts = np.empty(words, np.int64)
    for row in range(entries):
        word = cursor.word()
        count, label = cursor.unpack(ENTRY)
        if label != (row >= words):
            raise cursor.damaged("words and labels are mixed")
        if not label:
            index.setdefault(word, row)
            counts[row] = count
    if (counts < 0).any():
        raise cursor.damaged("a word has a negative count")
    return index, counts


def _read_kept(cursor: Cursor, count: int) -> dict[int, int]:
    kept = {int(bucket): int(row) for bucket, row in cursor.array("<i4", 2 * count).reshape(count, 2)}
    if kept and min(kept.values()) < 0:
        raise cursor.damaged("an n-gram refers to a row that is not there")
    return kept


def _read_matrix(cursor: Cursor) -> FloatArray:
    rows, columns = cursor.unpack(SHAPE)
    if rows <= 0 or columns <= 0:
        raise cursor.damaged(f"its matrix has the shape {(rows, columns)}")
    matrix: FloatArray = cursor.array("<f4", rows * columns).reshape(rows, columns)
    return matrix
