"""The parts of a word that fastText knows: character n-grams, hashed into rows.

Bojanowski, Grave, Joulin, Mikolov: "Enriching word vectors with subword information" (2017). The hash
is the 32-bit FNV-1a of the UTF-8 bytes as the official program computes it: with signed bytes.
"""

from __future__ import annotations

_OFFSET = 2166136261
_PRIME = 16777619
_MASK = 0xFFFFFFFF
_CONTINUATION = 0x80  # the top bits of the second and later bytes of a UTF-8 character
END_OF_SENTENCE = "</s>"


def subword_hashes(word: str, min_n: int, max_n: int) -> list[int]:
    """Hashes of the n-grams of `<word>` of `min_n` to `max_n` characters, in the order of the official program.

    A single `<` or `>` is no n-gram. The word `</s>` has none.
    """
    if max_n <= 0 or word == END_OF_SENTENCE:
        return []
    marked = f"<{word}>".encode("utf-8", "replace")
    starts = [position for position, byte in enumerate(marked) if byte & 0xC0 != _CONTINUATION]
    ends = [*starts[1:], len(marked)]
    signed = [byte if byte < 128 else byte | 0xFFFFFF00 for byte in marked]
    last = len(starts) - 1
    hashes: list[int] = []
    for first in range(last + 1):
        value = _OFFSET
        for length, character in enumerate(range(first, min(first + max_n, last + 1)), 1):
            for byte in signed[starts[character] : ends[character]]:
                value = ((value ^ byte) * _PRIME) & _MASK
            if length >= min_n and not (length == 1 and (first == 0 or character == last)):
                hashes.append(value)
    return hashes
