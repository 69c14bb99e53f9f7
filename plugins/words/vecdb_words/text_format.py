"""Word vectors as text: lines 'word v1 v2 ...', with or without a first line 'words dimension'.

GloVe writes no header, word2vec and fastText (.vec) do. A word may hold spaces (GloVe 840B has such),
therefore a line is read from the right. Only the newline byte ends a line: some words hold other
characters that Python takes for line ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vecdb_words.files import unusable
from vecdb_words.vectors import FloatArray, GrowingMatrix, WordVectors

MAX_DIMENSION = 65_536
_BLOCK = 1 << 22
_BOM = b"\xef\xbb\xbf"
_FETCH = "fetch the file again, or repair that line"


def read_text(path: Path, stream: BinaryIO, header: tuple[int, int] | None, max_words: int = 0) -> WordVectors:
    """Read word vectors from text.

    Args:
        path: named in errors.
        stream: the uncompressed bytes, behind the header line if there is one.
        header: words and dimension that the header promises.
        max_words: stop after so many words; 0 reads all.

    Raises:
        EmbedderUnavailableError: a line has another number of values than the first one, something is
            not a finite number, or the file holds fewer or more words than its header promises.
    """
    index: dict[str, int] = {}
    matrix: GrowingMatrix | None = None
    dimension = header[1] if header else 0
    limit = max_words or (header[0] if header else 0)
    for line_number, lines in _blocks(path, stream, 2 if header else 1):
        filled = [number for number, line in enumerate(lines) if line]
        if not filled:
            continue
        if matrix is None:
            dimension = dimension or _dimension_of(path, lines[filled[0]])
            matrix = GrowingMatrix(dimension)
        if max_words:
            filled = filled[: limit - len(matrix)]
        words, rows = _parse(path, [lines[number] for number in filled], dimension, [line_number + n for n in filled])
        for row, word in enumerate(words, len(matrix)):
            if word:
                index.setdefault(word.decode("utf-8", "replace"), row)
        matrix.extend(rows)
        if max_words and len(matrix) >= limit:
            break
    found = len(matrix) if matrix else 0
    if header and found != header[0] and not 0 < max_words <= found:
        advice = "it is cut off: fetch it again" if found < header[0] else f"write '{found} {dimension}' on line 1"
        raise unusable(path, f"line 1 promises {header[0]} words but there are {found}", advice)
    if matrix is None:
        raise unusable(path, "there is no word in it", "fetch it again")
    return WordVectors(index, matrix.finish())


def parse_header(line: bytes) -> tuple[int, int] | None:
    """Words and dimension from a line of just two whole numbers, or None."""
    parts = line.removeprefix(_BOM).split()
    if len(parts) == 2 and all(part.isdigit() for part in parts) and len(line) < 64:
        return int(parts[0]), int(parts[1])
    return None


def _blocks(path: Path, stream: BinaryIO, line_number: int) -> Iterator[tuple[int, list[bytes]]]:
    """Runs of whole lines, each with the number of its first one."""
    rest = b""
    first = True
    while True:
        block = stream.read(_BLOCK)
        lines = (rest + block).split(b"\n")
        if first and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            first = False
        if block:
            rest = lines.pop()
            if len(rest) > _BLOCK:
                raise unusable(path, f"line {line_number} is longer than {_BLOCK} bytes", "it is no list of words")
        yield line_number, [line.rstrip() for line in lines]
        line_number += len(lines)
        if not block:
            return


def _dimension_of(path: Path, line: bytes) -> int:
    """Dimension by the first line of a file without a header: the run of numbers at its end."""
    parts = line.split()
    numbers = 0
    while numbers < len(parts) - 1 and _is_number(parts[-1 - numbers]):
        numbers += 1
    if not 2 <= numbers <= MAX_DIMENSION:  # any sentence that ends in a number has one
        raise unusable(
            path,
            "line 1 is not a word followed by numbers",
            "give a word2vec, GloVe or fastText file of word vectors",
        )
    return numbers


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _parse(path: Path, lines: list[bytes], dimension: int, line_numbers: list[int]) -> tuple[list[bytes], FloatArray]:
    words: list[bytes] = []
    numbers: list[bytes] = []
    for line, line_number in zip(lines, line_numbers, strict=True):
        word, _, rest = line.partition(b" ")
        if rest.count(b" ") != dimension - 1:
            parts = line.rsplit(None, dimension)
            if len(parts) <= dimension:
                found = len(line.split()) - 1
                raise unusable(path, f"line {line_number} has {found} numbers where {dimension} belong", _FETCH)
            word, rest = parts[0], b" ".join(parts[1:])
        words.append(word)
        numbers.append(rest)
    rows = _numbers(b" ".join(numbers))
    if rows.size != len(lines) * dimension or not np.isfinite(rows).all():
        for line_number, part in zip(line_numbers, numbers, strict=True):
            row = _numbers(part)
            if row.size != dimension:
                raise unusable(path, f"line {line_number} does not hold {dimension} numbers", _FETCH)
            if not np.isfinite(row).all():
                raise unusable(path, f"line {line_number} holds a number that is not finite", _FETCH)
        raise unusable(path, f"lines {line_numbers[0]} to {line_numbers[-1]} cannot be read as numbers", _FETCH)
    return words, rows.reshape(len(lines), dimension)


def _numbers(text: bytes) -> FloatArray:
    """The numbers of a text up to the first thing that is none (the caller counts them)."""
    try:
        return np.fromstring(text, np.float32, sep=" ")
    except (ValueError, DeprecationWarning):  # numpy is on its way from a warning to an error here
        return np.empty(0, np.float32)
