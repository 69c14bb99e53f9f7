"""Token numbers of texts, and what becomes of a text that is longer than the model takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb import InvalidInputError, Windows

Tokens: TypeAlias = NDArray[np.int64]
"""Shape (2, tokens): their numbers, and their types (BERT's "segments")."""


class Cut(NamedTuple):
    """A text as tokens.

    Attributes:
        first: what the model sees of it, with special tokens and prompt.
        rest: what it does not see, shape (2, tokens); none of a text that is short enough.
    """

    first: Tokens
    rest: Tokens


@dataclass(frozen=True, slots=True, eq=False)
class TokenisedText:
    """A text as tokens, for each role: their prompts may differ."""

    document: Tokens
    query: Tokens

    @property
    def cost(self) -> int:
        """Number of tokens."""
        return int(self.document.shape[1])


class Tokeniser:
    """Cuts texts as the model does. Its settings never change, so that threads can share it.

    Args:
        tokenizer: a `tokenizers.Tokenizer`; it is copied.
        limit: tokens that the model takes, special ones among them; None: any number.
        prompt: text before each text.
        side: which end of a long text is cut off, "right" or "left".

    Raises:
        InvalidInputError: special tokens and prompt leave no room for a text.
    """

    def __init__(self, tokenizer: Any, limit: int | None, *, prompt: str = "", side: str = "right") -> None:
        self._tokenizer = type(tokenizer).from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._prompt = prompt
        sample = self._tokenizer.encode(prompt or "a")
        special = np.array(sample.special_tokens_mask, bool)
        content = np.flatnonzero(~special)
        tokens = _tokens(sample)
        self._before = tokens[:, : content[-1] + 1 if prompt else content[0]]
        self._after = tokens[:, content[-1] + 1 :]
        self.room = None if limit is None else limit - self._before.shape[1] - self._after.shape[1]
        if limit is not None and self.room is not None:
            if self.room < 1:
                raise InvalidInputError(
                    f"a prompt of {len(content)} tokens leaves no room for a text within max_length={limit}; "
                    "shorten the prompt or raise max_length"
                )
            self._tokenizer.enable_truncation(limit, direction=side)

    def __call__(self, text: str) -> Cut:
        """The tokens of a text."""
        found = self._tokenizer.encode(self._prompt + text)
        beyond = [_tokens(part)[:, ~np.array(part.special_tokens_mask, bool)] for part in found.overflowing]
        return Cut(_tokens(found), np.concatenate(beyond, axis=1) if beyond else np.empty((2, 0), np.int64))

    def count(self, text: str) -> int:
        """Tokens of a text alone, without prompt and special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def framed(self, content: Tokens) -> Tokens:
        """A stretch of a text between prompt and special tokens, as if it were a text of its own."""
        return np.concatenate([self._before, content, self._after], axis=1)


def tokenised(text: str, document: Tokeniser, query: Tokeniser) -> TokenisedText | Windows:
    """The tokens of a text; of one that is too long in windows.

    Documents decide where a text is cut: `prepare` is not told the role. A long query under a longer
    prompt loses, between its first part and the next, as many tokens as its prompt is longer.
    """
    cut = document(text)
    first = TokenisedText(cut.first, cut.first if query is document else query(text).first)
    if not cut.rest.shape[1]:
        return first
    rest = stretches(cut.rest, min(tokeniser.room or len(text) for tokeniser in (document, query)))
    return Windows([first, *(TokenisedText(document.framed(part), query.framed(part)) for part in rest)])


def stretches(tokens: Tokens, room: int) -> list[Tokens]:
    """All of `tokens` in as few parts of at most `room` tokens as will do, of about equal length."""
    count = -(-tokens.shape[1] // room)
    return np.array_split(tokens, count, axis=1) if count else []


def padded(
    batch: Sequence[Tokens], *, number: int, kind: int = 0, side: str = "right"
) -> tuple[Tokens, Tokens, Tokens]:
    """Texts as one batch: token numbers, types and attention mask, each of shape (len(batch), longest).

    Args:
        batch: the tokens of each text.
        number: the number of the padding token.
        kind: its type.
        side: where the padding goes.
    """
    longest = max(tokens.shape[1] for tokens in batch)
    numbers = np.full((len(batch), longest), number, np.int64)
    kinds = np.full((len(batch), longest), kind, np.int64)
    mask = np.zeros((len(batch), longest), np.int64)
    for row, tokens in enumerate(batch):
        length = tokens.shape[1]
        place = slice(longest - length, longest) if side == "left" else slice(length)
        numbers[row, place], kinds[row, place] = tokens
        mask[row, place] = 1
    return numbers, kinds, mask


def pieces(text: str, count: Callable[[str], int], room: int) -> list[str]:
    """A text in pieces of at most about `room` tokens, cut between words; for models that tokenise for themselves.

    Args:
        text: the text.
        count: tokens of a word.
        room: tokens in a piece.
    """
    found: list[str] = []
    used: float = room
    for word in re.findall(r"\s*\S+\s*", text):
        length = count(word)
        parts = -(-length // room) if length else 1
        for start in range(parts):  # a "word" without spaces, as in Chinese, may be all of the text
            part = word[start * len(word) // parts : (start + 1) * len(word) // parts]
            size = length / parts
            if used + size > room:
                found.append("")
                used = 0
            found[-1] += part
            used += size
    return found


def _tokens(encoding: Any) -> Tokens:
    return np.array([encoding.ids, encoding.type_ids], np.int64)
