"""Reading a file of word vectors of any format, told by its content."""

from __future__ import annotations

from pathlib import Path

from vecdb_words.files import errors_named, open_vectors, unusable
from vecdb_words.gensim_format import is_pickle, read_gensim
from vecdb_words.text_format import MAX_DIMENSION, parse_header, read_text
from vecdb_words.vectors import WordVectors
from vecdb_words.word2vec_binary import read_binary

_PEEK = 1 << 16
_NUMBER_BYTES = b"0123456789+-.eE \t\r\nainfAINF"


def read_word_vectors(path: Path, max_words: int = 0) -> WordVectors:
    """Read word2vec (.bin, .txt, .vec) or GloVe (.txt) vectors, plain or compressed, or gensim's files (.kv).

    Args:
        path: the file; its name does not matter.
        max_words: read only so many words from the start; 0 reads all.

    Raises:
        EmbedderUnavailableError: the file is missing, damaged, or holds something else.
    """
    if is_pickle(path):
        return read_gensim(path, max_words)
    with open_vectors(path) as (stream, size), errors_named(path):
        start = stream.peek(_PEEK)  # type: ignore[attr-defined]
        line, newline, _ = start.partition(b"\n")
        header = parse_header(line)
        if header is None:
            return read_text(path, stream, None, max_words)
        words, dimension = header
        if not (words > 0 and 0 < dimension <= MAX_DIMENSION):
            raise unusable(path, f"line 1 promises {words} words of {dimension} numbers", "fetch the file again")
        stream.read(len(line) + len(newline))
        if _continues_as_text(stream.peek(_PEEK)):  # type: ignore[attr-defined]
            if words * 2 * dimension > size:
                raise unusable(
                    path,
                    f"line 1 promises {words} words of {dimension} numbers, more than the file can hold",
                    "the file is damaged or cut off: fetch it again",
                )
            return read_text(path, stream, header, max_words)
        return read_binary(path, stream, header, size, max_words)


def _continues_as_text(record: bytes) -> bool:
    """Whether numbers in text, not in binary, follow the first word."""
    _, _, values = record.partition(b" ")
    return bool(values) and not values[:64].partition(b"\n")[0].strip(_NUMBER_BYTES)
