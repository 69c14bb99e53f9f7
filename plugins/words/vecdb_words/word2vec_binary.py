"""Word vectors in the binary word2vec format.

A line 'words dimension'; then for each word: its bytes, a space, `dimension` little-endian float32,
and a newline that some writers leave out (Mikolov's tool writes it, gensim does not).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from vecdb_words.files import unusable
from vecdb_words.vectors import GrowingMatrix, WordVectors

_BLOCK = 1 << 22
_MAX_WORD = 1 << 16


def read_binary(path: Path, stream: BinaryIO, header: tuple[int, int], size: int, max_words: int = 0) -> WordVectors:
    """Read binary word vectors in one pass.

    Args:
        path: named in errors.
        stream: the uncompressed bytes, behind the header line.
        header: words and dimension that the header promises.
        size: upper bound of the uncompressed size, in bytes.
        max_words: stop after so many words; 0 reads all.

    Raises:
        EmbedderUnavailableError: the file is cut off, or a value is not finite.
    """
    promised, dimension = header
    width = 4 * dimension
    if promised * (width + 2) > size:
        raise unusable(
            path, f"its header promises {promised} words of {dimension} numbers, more than the file can hold", _FETCH
        )
    wanted = min(promised, max_words) if max_words else promised
    index: dict[str, int] = {}
    matrix = GrowingMatrix(dimension)
    buffer = b""
    while len(matrix) < wanted:
        block = stream.read(max(_BLOCK, width))
        buffer += block
        words, vectors, used = _records(buffer, wanted - len(matrix), width)
        rows = np.frombuffer(b"".join(vectors), "<f4").reshape(len(words), dimension)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            word = words[int(np.argmin(finite))].decode("utf-8", "replace")
            raise unusable(path, f"the vector of {word!r} holds a number that is not finite", _FETCH)
        for row, word_bytes in enumerate(words, len(matrix)):
            if word_bytes:
                index.setdefault(word_bytes.decode("utf-8", "replace"), row)
        matrix.extend(rows)
        buffer = buffer[used:]
        if len(matrix) < wanted and (not block or len(buffer) > width + _MAX_WORD + _BLOCK):
            problem = f"it promises {promised} words but only {len(matrix)} can be read"
            raise unusable(path, problem, _FETCH)
    return WordVectors(index, matrix.finish())


_FETCH = "the file is damaged or cut off: fetch it again"


def _records(buffer: bytes, limit: int, width: int) -> tuple[list[bytes], list[bytes], int]:
    """The whole records at the start of `buffer`: words, bytes of their vectors, bytes used."""
    words: list[bytes] = []
    vectors: list[bytes] = []
    position = 0
    while len(words) < limit:
        space = buffer.find(b" ", position)
        end = space + 1 + width
        if space < 0 or end > len(buffer):
            break
        words.append(buffer[position:space].lstrip(b"\n"))
        vectors.append(buffer[space + 1 : end])
        position = end
    return words, vectors, position
