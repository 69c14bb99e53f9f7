"""How texts reach a sentence-transformers model: as tokens, or as they are where it must tokenise itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from vecdb import Windows
from vecdb_text.transformer.windows import TokenisedText, Tokeniser, Tokens, padded, pieces, tokenised

Role: TypeAlias = Literal["document", "query"]
Prompts: TypeAlias = Mapping[Role, str]
ROLES: tuple[Role, ...] = ("document", "query")

_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
_UNLIMITED = 1_000_000  # what some models give as their length where they have no limit
_SPECIAL_TOKENS = 2
_SPARE = 0.9  # a piece of a text may have more tokens alone than it had in its text


@dataclass(frozen=True, slots=True, eq=False)
class RawText:
    """A text for a model that tokenises for itself; `cost` is the number of tokens, about."""

    text: str
    cost: int


class TokenisedTexts:
    """Tokenises ahead of the model, so that a long text is noticed and its tokens are made only once.

    Args:
        model: a `SentenceTransformer`.
        prompts: text before each text, for each role.
    """

    def __init__(self, model: Any, prompts: Prompts) -> None:
        reader = _reader(model)
        self._tokenizer = reader.tokenizer
        self._limit = _limit(reader)
        backend, side = self._tokenizer.backend_tokenizer, self._tokenizer.truncation_side
        made = {prompt: Tokeniser(backend, self._limit, prompt=prompt, side=side) for prompt in set(prompts.values())}
        self._document, self._query = (made[prompts[role]] for role in ROLES)
        self._inputs: frozenset[str] = frozenset()
        self._constants: dict[Role, dict[str, Any]] = {}

    @classmethod
    def of(cls, model: Any, prompts: Prompts) -> TokenisedTexts | None:
        """Made for a model, if it then gets just what its own tokenising gives; else None."""
        if not hasattr(getattr(_reader(model), "tokenizer", None), "backend_tokenizer"):
            return None
        made = cls(model, prompts)
        return made if all(made._agrees(model, role, prompts[role]) for role in ROLES) else None

    def prepare(self, text: str) -> TokenisedText | Windows:
        """The tokens of a text; of one that is too long in windows."""
        return tokenised(text, self._document, self._query)

    def features(self, items: Sequence[TokenisedText], role: Role) -> dict[str, Any]:
        """A batch as the model takes it: tensors on the CPU, and what `preprocess` says beside them."""
        import torch

        arrays = self._padded([item.query if role == "query" else item.document for item in items])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name in self._inputs}
        return {**self._constants[role], **tensors}

    def _agrees(self, model: Any, role: Role, prompt: str) -> bool:
        texts = ["A short text, naïve or not?", "one two three " * (self._limit or 8)]
        theirs = model.preprocess(model_inputs(model, texts), prompt=prompt, task=role)
        tensors = {name: value for name, value in theirs.items() if hasattr(value, "numpy")}
        if not {"input_ids", "attention_mask"} <= set(tensors) <= set(_INPUTS) or theirs.get("modality") == "message":
            return False
        self._inputs = frozenset(tensors)
        self._constants[role] = {name: value for name, value in theirs.items() if name not in tensors}
        tokeniser = self._query if role == "query" else self._document
        ours = self._padded([tokeniser(text).first for text in texts])
        return all(np.array_equal(tensor.numpy(), ours[name]) for name, tensor in tensors.items())

    def _padded(self, texts: Sequence[Tokens]) -> dict[str, Tokens]:
        tokenizer = self._tokenizer
        kind, side = tokenizer.pad_token_type_id, tokenizer.padding_side
        arrays = padded(texts, number=tokenizer.pad_token_id or 0, kind=kind, side=side)
        return dict(zip(_INPUTS, arrays, strict=True))


class RawTexts:
    """Leaves tokenising to the model, and only counts, so that a long text is noticed; arguments as above."""

    def __init__(self, model: Any, prompts: Prompts) -> None:
        reader = _reader(model)
        tokenizer, limit = getattr(reader, "tokenizer", None), _limit(reader)
        self._count: Callable[[str], int] | None = None
        self._room = 0
        if limit is None or not hasattr(tokenizer, "tokenize"):
            return
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._count = _counter(tokenizer) if backend is None else Tokeniser(backend, None).count
        self._room = max(1, limit - max(map(self._count, prompts.values())) - _SPECIAL_TOKENS)

    def prepare(self, text: str) -> RawText | Windows:
        """A text; one that is too long in pieces."""
        if self._count is None:
            return RawText(text, 1 + len(text) // 4)
        tokens = self._count(text)
        if tokens <= self._room:
            return RawText(text, tokens)
        # The model cuts the text itself, so that the first part is just what it would see.
        seen = pieces(text, self._count, self._room)[0]
        rest = pieces(text[len(seen) :], self._count, max(1, int(self._room * _SPARE)))
        return Windows([RawText(text, self._room), *(RawText(part, self._count(part)) for part in rest)])


def model_inputs(model: Any, texts: list[str]) -> list[Any]:
    """Texts as a model's `encode` takes them, and takes them for texts.

    A plain string that is the path of an image, or a URL of one, would be opened and embedded as an
    image by a model that takes images.
    """
    return texts if set(model.modalities) == {"text"} else [{"text": text} for text in texts]


def _reader(model: Any) -> Any:
    """The module that reads texts; of a model with several, that for documents, or the one that reads least."""
    routes = getattr(model[0], "sub_modules", None)
    if routes is None:
        return model[0]
    names = ["document"] if "document" in routes else list(routes)
    return min((routes[name][0] for name in names), key=lambda module: _limit(module) or _UNLIMITED)


def _limit(module: Any) -> int | None:
    """Tokens of a text that a module sees, or None if it sees all."""
    length = getattr(module, "max_seq_length", None)
    return int(length) if length is not None and length < _UNLIMITED else None


def _counter(tokenizer: Any) -> Callable[[str], int]:
    return lambda text: len(tokenizer.tokenize(text))
