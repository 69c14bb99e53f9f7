"""The options, named as those of torch.nn.Embedding and torch.nn.EmbeddingBag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option

MAX_RANDOM_NUMBERS = 2**30
"""Numbers in a table that is made, not read: 4 GiB."""


@dataclass(frozen=True)
class EmbeddingTableConfig:
    """Where the table is, or how large a random one is to be, and how rows become one vector.

    Raises:
        InvalidInputError: options that are out of range or do not go together.
    """

    model: Path | None = option(
        None,
        affects="location",
        help="the table: .safetensors, .npy, .npz or a torch state dict (.pt, .pth); none: a random one",
    )
    tensor: str | None = option(None, help="name of the table among several in the file")
    vocabulary: Path | None = option(
        None,
        affects="location",
        help="the tokens: one a line, or JSON (a list, or {token: id}); none: items are ids such as '3 17 42'",
    )
    pooling: str = option("mean", choices=("mean", "sum", "max"), help="how the rows of an item become one vector")
    padding_idx: int | None = option(None, help="an id that is left out of the pooling; -1 is the last row")
    lowercase: bool = option(False, help="look tokens up in lower case")
    unknown: str = option(
        "skip", help="a token that is not in the vocabulary: skip, error, or a token whose row it gets, as <unk>"
    )
    num_embeddings: int | None = option(None, help="rows: checked against the file, or those of the random table")
    embedding_dim: int | None = option(None, help="length of a row: checked against the file, or that of a random one")
    seed: int = option(0, help="of the random table: the same seed, the same rows, on every machine")

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InvalidInputError(problem)

    def _problem(self) -> str | None:
        rows, length = self.num_embeddings, self.embedding_dim
        for name, value in (("num_embeddings", rows), ("embedding_dim", length)):
            if value is not None and value < 1:
                return f"option {name}={value} must be 1 or more"
        if self.seed < 0:
            return f"option seed={self.seed} must be 0 or more"
        if self.vocabulary is None and (self.lowercase or self.unknown != "skip"):
            return "options lowercase and unknown are about tokens; give a vocabulary too"
        if not self.unknown or self.unknown.split() != [self.unknown]:
            return f"option unknown={self.unknown!r} must be skip, error, or one token of the vocabulary"
        if self.model is not None:
            mixed = "option seed is for a random table, which has no model; leave out one of the two"
            return mixed if self.seed else None
        if rows is None or length is None:
            return (
                "embedder 'embedding-table' needs a table: give its file as model, or num_embeddings and embedding_dim "
                "for a random one"
            )
        if self.tensor is not None:
            return f"option tensor={self.tensor!r} names a table in a file; give that file as model"
        if rows * length > MAX_RANDOM_NUMBERS:
            return f"a random table of {rows} x {length} numbers would not fit into memory; give at most 2**30 numbers"
        return None
