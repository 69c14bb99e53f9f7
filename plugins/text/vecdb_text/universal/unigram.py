"""The tokeniser of USE-lite: SentencePiece's unigram model (Kudo 2018), as the TF.js release applies it."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb_text.universal.files import read_json, unusable

Ids: TypeAlias = NDArray[np.int32]
_Ending: TypeAlias = list[tuple[int, float, int]]
"""Pieces that end in one place: (start, score, id)."""

UNKNOWN = 0
_SPACE = "\u2581"
_RESERVED = 6  # unknown, begin, end, and three for tasks: never found in a text
_WORD = re.compile(f"{_SPACE}[^{_SPACE}]*")
_REMEMBERED_WORDS = 20_000
_REMEMBERED_LENGTH = 40
_MAX_PIECES = 1_000_000
_ADVICE = "give the vocab.json that was published with the model"


class UnigramTokenizer:
    """Cuts a text into the pieces whose scores (log probabilities) have the largest sum.

    Own code, because the ids must be those of the release, down to how it treats characters that no
    piece covers; the `tokenizers` library scores those otherwise. No piece reaches over a space, so
    the pieces that fit into a word are found once for each distinct word.

    Args:
        pieces: (piece, score), the id of each being its position; the first is the unknown one. Of
            equal pieces the last counts.
    """

    def __init__(self, pieces: Sequence[tuple[str, float]]) -> None:
        self._lengths = [len(piece) for piece, _ in pieces]
        self._pieces = {piece: (score, i) for i, (piece, score) in enumerate(pieces) if i >= _RESERVED}
        self._longest = max(map(len, self._pieces), default=1)
        self._empty = {UNKNOWN, self._pieces.get(_SPACE, (0.0, UNKNOWN))[1]}
        self._remembered = functools.lru_cache(_REMEMBERED_WORDS)(lambda word: list(self._edges(word)))

    def encode(self, text: str) -> list[int]:
        """The ids of a text; runs of unknown characters become one `UNKNOWN`.

        The text is normalised (NFKC) and each run of white space is one space, as in SentencePiece.
        """
        spaced = " ".join(unicodedata.normalize("NFKC", text).split())
        ids: list[int] = []
        best_before = 0.0
        for word in _WORD.findall(_SPACE + spaced.replace(" ", _SPACE)):
            edges = self._remembered(word) if len(word) <= _REMEMBERED_LENGTH else self._edges(word)
            pieces, best_before = self._best_path(edges, best_before)
            for piece in pieces:
                if piece != UNKNOWN or not ids or ids[-1] != UNKNOWN:
                    ids.append(piece)
        return ids

    def is_empty(self, ids: Sequence[int]) -> bool:
        """Whether nothing but spaces and unknown characters is in a text."""
        return self._empty.issuperset(ids)

    def _edges(self, word: str) -> Iterator[_Ending]:
        """For each end in the word the pieces that end there, by start."""
        waiting: deque[_Ending] = deque([] for _ in range(self._longest))
        for start in range(len(word)):
            found = False
            for length in range(1, min(len(word) - start, self._longest) + 1):
                piece = self._pieces.get(word[start : start + length])
                if piece is not None:
                    waiting[length - 1].append((start, *piece))
                    found = True
            if not found:
                waiting[0].append((start, 0.0, UNKNOWN))
            yield waiting.popleft()
            waiting.append([])

    def _best_path(self, edges: Iterable[_Ending], best_before: float) -> tuple[list[int], float]:
        """The pieces of a word and the sum of scores up to its end (Viterbi 1967).

        As in the release a sum of 0 also stands for "not reached": a character at which longer
        pieces begin, and at which none ends, is passed for free as an unknown one.
        """
        best = [best_before]
        chosen = [UNKNOWN]
        for ending in edges:
            top, piece = 0.0, UNKNOWN
            for start, score, candidate in ending:
                total = score + best[start]
                if total >= top or top == 0:
                    top, piece = total, candidate
            best.append(top)
            chosen.append(piece)
        end = len(best) - 1
        path: list[int] = []
        while end > 0:
            path.append(chosen[end])
            end -= self._lengths[chosen[end]]
        path.reverse()
        return path, best[-1]


def read_vocabulary(path: Path) -> list[tuple[str, float]]:
    """The pieces of a vocab.json: a list of [piece, score]; a score of null counts as 0.

    Raises:
        EmbedderUnavailableError: it is missing, or is something else.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not _RESERVED < len(entries) <= _MAX_PIECES:
        raise unusable(path, "is not a list of pieces", _ADVICE)
    pieces = [_piece(path, i, entry) for i, entry in enumerate(entries)]
    if len(pieces[UNKNOWN][0]) != 1:
        raise unusable(path, "the piece of unknown characters must be one character", _ADVICE)
    return pieces


def _piece(path: Path, position: int, entry: Any) -> tuple[str, float]:
    match entry:
        case [str(piece), int() | float() | None as score] if piece and _SPACE not in piece[1:]:
            number = float(score or 0)
            if abs(number) < 1e6:
                return piece, number
    raise unusable(path, f"entry {position} is not [piece, score] but {str(entry)[:60]}", _ADVICE)
