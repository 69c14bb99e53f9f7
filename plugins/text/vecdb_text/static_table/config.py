"""The options of `static`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option, truncation_option


@dataclass(frozen=True)
class StaticConfig:
    """Where the table is, and what to do otherwise than its own files say.

    Raises:
        InvalidInputError: an option that is out of range.
    """

    model: Path = option(
        affects="location",
        help="a folder of model2vec, of a StaticEmbedding or of WordLlama; or its .safetensors file",
    )
    tokenizer: Path | None = option(
        None, affects="location", help="the tokenizer's JSON file; default: the one beside the table"
    )
    dimension: int | None = option(
        None, help="keep only the first numbers of each vector; for Matryoshka models such as WordLlama"
    )
    normalise: bool | None = option(None, help="scale vectors to length 1; none: as the model's files say")
    max_length: int | None = option(
        None, help="tokens of a text that are read; default: as the model's files say; 0: all"
    )
    on_truncate: str = truncation_option()

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.model.expanduser())
        if self.tokenizer is not None:
            object.__setattr__(self, "tokenizer", self.tokenizer.expanduser())
        if self.dimension is not None and self.dimension < 1:
            raise InvalidInputError(f"option dimension={self.dimension} must be 1 or more")
        if self.max_length is not None and self.max_length < 0:
            raise InvalidInputError(f"option max_length={self.max_length} must be 0 (all tokens) or more")
