"""The embedder: ids or tokens to rows, and rows to one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vecdb import Embedder, EmbedderUnavailableError, ItemError
from vecdb_tables.config import EmbeddingTableConfig
from vecdb_tables.opening import open_table
from vecdb_tables.pooling import pooled
from vecdb_tables.random_table import random_table
from vecdb_tables.table import FloatArray, IdArray, Table, unusable
from vecdb_tables.vocabulary import read_vocabulary

_EXCERPT = 60


class EmbeddingTableEmbedder(Embedder):
    """`embedding-table`: what torch.nn.Embedding gives for one id, and torch.nn.EmbeddingBag for several."""

    config: EmbeddingTableConfig

    def __init__(self, config: EmbeddingTableConfig) -> None:
        super().__init__(config)
        self._table: Table | None = None
        self._vocabulary: Mapping[str, int] | None = None
        self._unknown: int | None = None
        self._padding: int | None = None

    def weights(self) -> Sequence[Path]:
        """The table and the vocabulary, where they are files."""
        return [path for path in (self.config.model, self.config.vocabulary) if path is not None]

    def load(self) -> None:
        """Map or read the table, or make a random one, and read the vocabulary.

        Raises:
            EmbedderUnavailableError: a file is missing, damaged, of another kind or refused; or table,
                vocabulary and options do not fit one another.
        """
        if self._table is not None:
            return
        config = self.config
        table = self._made() if config.model is None else open_table(config.model, config.tensor)
        rows = table.shape[0]
        self._check_shape(table)
        if config.padding_idx is not None:
            if not -rows <= config.padding_idx < rows:
                raise self._unfit(f"padding_idx={config.padding_idx} is not a row of a table of {rows}")
            self._padding = config.padding_idx % rows
        if config.vocabulary is not None:
            self._vocabulary = read_vocabulary(config.vocabulary, rows)
            if config.unknown not in ("skip", "error"):
                self._unknown = self._vocabulary.get(config.unknown)
                if self._unknown is None:
                    raise unusable(
                        config.vocabulary,
                        f"holds no token {config.unknown!r}",
                        "give the option unknown as skip, error, or a token that is there",
                    )
        self._table = table

    def close(self) -> None:
        """Let go of the table and the vocabulary."""
        self._table = self._vocabulary = self._unknown = self._padding = None

    @property
    def dimension(self) -> int:
        """embedding_dim of the table."""
        return self._opened().shape[1]

    def prepare(self, item: str) -> IdArray:
        """The ids of one item, shape (n,) with n >= 1.

        Raises:
            ItemError: it is no list of ids, or an id is not in the table, or no token is in the
                vocabulary, or all is padding.
        """
        ids = self._ids(item) if self._vocabulary is None else self._looked_up(item, self._vocabulary)
        if self._padding is not None:
            ids = ids[ids != self._padding]
            if not len(ids):
                raise ItemError("there is nothing but padding in this item; leave it out")
        return ids

    def encode(self, batch: Sequence[IdArray], role: str) -> FloatArray:  # noqa: ARG002  (a query is alike)
        """The pooled rows of each item, shape (len(batch), dimension).

        Raises:
            ItemError: a row holds NaN or infinity.
        """
        table = self._opened()
        vectors = pooled(table, batch, self.config.pooling)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():  # the host finds the other items of the batch that are not concerned
            raise ItemError(self._not_finite(table, batch[int(finite.argmin())]))
        return vectors

    def cost(self, prepared: IdArray) -> int:
        """Number of ids."""
        return len(prepared)

    # --- the table ---

    def _opened(self) -> Table:
        if self._table is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        return self._table

    def _made(self) -> Table:
        config = self.config
        return random_table(config.num_embeddings or 0, config.embedding_dim or 0, config.seed)

    def _check_shape(self, table: Table) -> None:
        config = self.config
        expected = (config.num_embeddings, config.embedding_dim)
        for name, wanted, found in zip(("num_embeddings", "embedding_dim"), expected, table.shape, strict=True):
            if wanted not in (None, found):
                raise self._unfit(f"{name}={wanted} was asked for, but the table has {found}")

    def _unfit(self, problem: str) -> EmbedderUnavailableError:
        where = f"{self.config.model}: " if self.config.model else ""
        return EmbedderUnavailableError(f"{where}{problem}; correct the option, or give another table")

    # --- items ---

    def _ids(self, item: str) -> IdArray:
        text = item.strip()
        if text[:1] + text[-1:] in ("[]", "()"):
            text = text[1:-1]
        parts = text.replace(",", " ").split()
        if not parts:
            raise ItemError("there is no id in this item; leave it out")
        for part in parts:
            if not (part.isascii() and part.removeprefix("-").isdigit()):
                raise ItemError(
                    f"{_excerpt(part)!r} is not an id; without a vocabulary an item is whole numbers, as '3 17 42' or "
                    "'[3, 17, 42]' (give the option vocabulary for tokens)"
                )
        rows = self._opened().shape[0]
        for part in parts:
            if len(part) > 18 or not 0 <= int(part) < rows:
                raise ItemError(
                    f"the id {_excerpt(part)} is not within 0..{rows - 1}: the table has num_embeddings={rows} rows; "
                    "correct the id, or give the table that it belongs to"
                )
        return np.array(parts, np.int64)

    def _looked_up(self, item: str, vocabulary: Mapping[str, int]) -> IdArray:
        tokens = (item.lower() if self.config.lowercase else item).split()
        found = [vocabulary.get(token, self._unknown) for token in tokens]
        if self.config.unknown == "error" and None in found:
            raise ItemError(
                f"the token {_excerpt(tokens[found.index(None)])!r} is not in the vocabulary; correct it, or give the "
                "option unknown as skip or as a token whose row it gets"
            )
        ids = [row for row in found if row is not None]
        if not ids:
            raise ItemError(
                f"none of the tokens of {_excerpt(' '.join(tokens))!r} is in {self.config.vocabulary}; tokens are "
                "separated by white space and looked up as they stand (the option lowercase may help)"
            )
        return np.array(ids, np.int64)

    def _not_finite(self, table: Table, ids: IdArray) -> str:
        for row in np.unique(ids):
            if not np.isfinite(table.rows(np.array([row]))).all():
                return f"row {row} of the table holds NaN or infinity; leave the item out, or mend the table"
        return "the rows of this item add up to more than a float32 can hold; use the pooling mean"


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."
