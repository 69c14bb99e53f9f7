"""Texts to words, and words to the characters that ELMo reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_LETTER = r"[\w\u0300-\u036f\u0900-\u0fff]"  # with the marks that belong to a letter
_TITLES = "Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Inc|Co|Corp|Ltd|Gov|Gen|Sen|Rep|Lt|Col|Sgt|vs|etc"
_WORDS = re.compile(
    rf"(?:\w\.){{2,}}"  # U.S.
    rf"|\b(?:{_TITLES})\."
    rf"|(?<=\w)['’]\w+|['’](?i:s|t|m|d|re|ve|ll)\b"  # wasn 't, Murray 's, also where they are split already
    rf"|{_LETTER}+(?:[-.,/@&:_]{_LETTER}+)*"  # bio-identical, 1,000.5
    rf"|([^\w\s])\1*"  # a mark, or a run of one
)

BEGIN, END = 256, 257
"""The words that stand before and after a sentence; as numbers, so that no text can say them."""

Word: TypeAlias = str | int

_BEGIN_WORD, _END_WORD, _PADDING = 258, 259, 260


def words(text: str) -> Iterator[str]:
    """The words of a text, as in the text that ELMo was trained on (Chelba et al. 2013).

    Punctuation is split off, clitics begin with their apostrophe ("wasn", "'t"), abbreviations keep
    their full stop, case and everything else stay.
    """
    return (found[0] for found in _WORDS.finditer(text))


def of_length(word: str, longest: int) -> Iterator[str]:
    """A word in parts of at most `longest` UTF-8 bytes, which is what the model reads of a word."""
    start = size = 0
    for end, character in enumerate(word):
        width = len(character.encode())
        if size + width > longest:
            yield word[start:end]
            start, size = end, 0
        size += width
    yield word[start:]


def character_ids(batch: Sequence[Word], max_characters: int) -> NDArray[np.int64]:
    """The characters of words: shape (len(batch), max_characters), 0 to 260.

    A word is its UTF-8 bytes between two marks, padded; what is longer is cut, as in the original.
    """
    ids = np.full((len(batch), max_characters), _PADDING, np.int64)
    ids[:, 0] = _BEGIN_WORD
    for row, word in enumerate(batch):
        data = [word] if isinstance(word, int) else list(word.encode("utf-8", "ignore")[: max_characters - 2])
        ids[row, 1 : 1 + len(data)] = data
        ids[row, 1 + len(data)] = _END_WORD
    return ids
