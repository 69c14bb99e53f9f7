"""The options of the word-vector embedders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option


@dataclass(frozen=True)
class PoolingConfig:
    """How the words of a text become one vector; common to all word-vector embedders."""

    model: Path = option(affects="location", help="the file of word vectors")
    pooling: str = option(
        "sif",
        choices=("sif", "mean"),
        help="'sif' weighs each word by a / (a + its frequency), so that common words count less",
    )
    sif_a: float = option(1e-4, help="the a of 'sif': smaller makes common words count less")
    frequencies: Path | None = option(
        None,
        affects="location",
        help="a text file 'word count', one word a line, for 'sif'; default: the model's own counts, or its word order",
    )
    remove_components: int | None = option(
        None,
        help="main directions of the vocabulary to take out ('all but the top'); default: one for every 100 dimensions",
    )
    lowercase: str = option(
        "auto",
        choices=("auto", "always", "never"),
        help="'auto' looks a word up as written and then in other cases, or in lower case if the model has no other",
    )

    def __post_init__(self) -> None:
        if not self.sif_a > 0:
            raise InvalidInputError(f"option sif_a={self.sif_a!r} must be above 0; 1e-4 to 1e-3 is usual")
        if self.remove_components is not None and self.remove_components < 0:
            raise InvalidInputError(f"option remove_components={self.remove_components!r} must be 0 or more")


@dataclass(frozen=True)
class WordVectorConfig(PoolingConfig):
    """Options of `word2vec` and `glove`."""

    max_words: int = option(0, help="read only the first words of the file, the most frequent ones; 0 reads all")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_words < 0:
            raise InvalidInputError(f"option max_words={self.max_words!r} must be 0 (all words) or more")


@dataclass(frozen=True)
class FastTextConfig(PoolingConfig):
    """Options of `fasttext`."""

    sif_a: float = option(3e-4, help="the a of 'sif': smaller makes common words count less; 1e-3 suits small corpora")
