"""`static`: a text is the mean of its tokens' rows in a table. No model is run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vecdb import Embedder, EmbedderUnavailableError, Windows
from vecdb_text.onnx_encoder.tokenizer_file import read_tokenizer, tokenising
from vecdb_text.static_table.config import StaticConfig
from vecdb_text.static_table.layout import Usage, find_layout, usage
from vecdb_text.static_table.tensors import Tensors, as_floats

Role = Literal["document", "query"]
TokenNumbers = NDArray[np.int64]


class StaticEmbedder(Embedder):
    """Static sentence tables: model2vec, StaticEmbedding of sentence-transformers, WordLlama.

    Vectors are those of the library that each format comes from. Tokens that are not known are left
    out as model2vec does, or have a row of their own as in the other two.
    """

    config: StaticConfig

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self._table: NDArray[Any] | None = None
        self._kind = ""
        self._rows: NDArray[Any] | None = None
        self._token_weights: NDArray[np.float32] | None = None
        self._tokenizer: Any = None
        self._usage: Usage | None = None
        self._limit: int | None = None
        self._characters: int | None = None
        self._unknown: int | None = None
        self._normalise = False

    def weights(self) -> Sequence[Path]:
        """The table, the tokenizer and the settings beside them.

        Raises:
            EmbedderUnavailableError: there is no table, or there are several.
        """
        return find_layout(self.config).files()

    def load(self) -> None:
        """Map the table, and read the tokenizer.

        Raises:
            EmbedderUnavailableError: a file is missing, damaged or of no format that is known here.
        """
        layout = find_layout(self.config)
        tensors = Tensors(layout.table)
        found = usage(layout, tensors.names)
        tokenizer = read_tokenizer(layout.tokenizer)
        name = "embeddings" if found.format == "model2vec" else "embedding.weight"
        table, kind = tensors.array(name, axes=2)
        self._rows = tensors.array("mapping", axes=1)[0] if "mapping" in tensors.names else None
        self._token_weights = (
            as_floats(*tensors.array("weights", axes=1)) if "weights" in tensors.names else None
        )
        self._check(layout.table, table, tokenizer, found)
        config = self.config
        self._table, self._kind, self._tokenizer, self._usage = table[:, : config.dimension], kind, tokenizer, found
        self._normalise = found.normalise if config.normalise is None else config.normalise
        self._limit = found.max_length if config.max_length is None else config.max_length or None
        self._characters = None
        self._unknown = None
        if found.format == "model2vec":
            self._unknown = _unknown_token(tokenizer)
            if self._limit is not None:  # model2vec cuts the characters first, so as not to tokenise what it drops
                self._characters = self._limit * int(np.median([len(token) for token in tokenizer.get_vocab()]))

    def close(self) -> None:
        """Let go of the table and the tokenizer."""
        self._table = self._rows = self._token_weights = self._tokenizer = None

    @property
    def dimension(self) -> int:
        """Length of the vectors: the table's, or the option `dimension`."""
        return 0 if self._table is None else int(self._table.shape[1])

    def prepare(self, item: Any) -> TokenNumbers | Windows:
        """The text as token numbers; none of a text that the tokenizer knows nothing of.

        Raises:
            ItemError: the tokenizer fails.
        """
        parts: list[TokenNumbers] = []
        rest = str(item)
        with tokenising():
            while rest:
                read = rest[: self._characters]
                found = self._tokenizer.encode(read, add_special_tokens=False)
                numbers, consumed = found.ids, len(read)
                if self._limit is not None and len(numbers) > self._limit:
                    numbers, consumed = numbers[: self._limit], max(1, found.offsets[self._limit - 1][1])
                elif consumed < len(rest) and not rest[consumed].isspace():  # the next part gets the whole word
                    consumed = _start_of_last_word(read) or consumed
                parts.append(self._known(numbers))
                rest = rest[consumed:]
        kept = [part for number, part in enumerate(parts) if number == 0 or len(part)]
        return kept[0] if len(kept) == 1 else Windows(kept)

    def encode(self, batch: Sequence[TokenNumbers], role: Role) -> NDArray[np.float32]:  # noqa: ARG002
        """The vectors, shape (len(batch), dimension); zero for a text without a known token."""
        if self._table is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        vectors = np.zeros((len(batch), self._table.shape[1]), np.float32)
        alike: dict[int, list[int]] = {}
        for row, numbers in enumerate(batch):
            alike.setdefault(len(numbers), []).append(row)
        for length, rows in alike.items():  # the host's batches hold texts of few different lengths
            if length:
                numbers = np.stack([batch[row] for row in rows])
                vectors[rows] = self._lookup(self._table, numbers).mean(axis=1, dtype=np.float32)
        if self._normalise:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return vectors

    def cost(self, prepared: TokenNumbers) -> int:
        """Tokens."""
        return len(prepared)

    def _known(self, numbers: list[int]) -> TokenNumbers:
        found = np.array(numbers, np.int64)
        if self._unknown is not None:
            found = found[found != self._unknown]
        return found

    def _lookup(self, table: NDArray[Any], numbers: TokenNumbers) -> NDArray[np.float32]:
        if self._rows is not None:
            places = self._rows[numbers]
        elif self._usage is not None and self._usage.format == "WordLlama":
            places = np.minimum(numbers, len(table) - 1)  # as WordLlama does with tokens beyond its table
        else:
            places = numbers
        found = as_floats(table[places], self._kind)
        return found if self._token_weights is None else found * self._token_weights[numbers][..., None]

    def _check(self, path: Path, table: NDArray[Any], tokenizer: Any, found: Usage) -> None:
        """Every token must have a row, or a text would raise, or get another token's row."""
        tokens = tokenizer.get_vocab_size(with_added_tokens=True)
        has = len(table)
        if self._rows is not None:
            inside = self._rows.dtype.kind in "iu" and int(self._rows.min()) >= 0 and int(self._rows.max()) < has
            has = len(self._rows) if inside else 0
        if self._token_weights is not None:
            has = min(has, len(self._token_weights))
        if has < tokens and found.format != "WordLlama":
            raise EmbedderUnavailableError(
                f"the tokenizer has {tokens} tokens, but the table {path} has rows for {has}: they do not belong "
                "together; fetch both from one place",
                missing=[str(path)],
            )
        if self.config.dimension is not None and self.config.dimension > table.shape[1]:
            raise EmbedderUnavailableError(
                f"the table {path} has {table.shape[1]} columns, not dimension={self.config.dimension}; "
                "give a smaller one"
            )


def _start_of_last_word(text: str) -> int:
    """0 if there is but one word."""
    return 1 + max(text.rfind(space) for space in " \n\t")


def _unknown_token(tokenizer: Any) -> int | None:
    """The number of the token for all that is unknown, where the tokenizer's model has one."""
    model = json.loads(tokenizer.to_str()).get("model", {})
    if "unk_id" in model:  # Unigram
        number: int | None = model["unk_id"]
    else:
        number = tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else None
    return number
