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


@dataclass(frozen=True)
class FastTextTraining:
    """Options of training a fastText model."""

    dimension: int = option(100, help="length of the vectors")
    epochs: int = option(2, help="passes over the text; 0 keeps the vectors of the initialisation")
    window: int = option(5, help="words to either side that a word is trained to predict")
    negatives: int = option(5, help="wrong words for each right one")
    min_count: int = option(2, help="leave out words that stand in the text less often")
    sample: float = option(1e-4, help="frequency above which words are passed over at random")
    learning_rate: float = option(0.1, help="first step of AdaGrad; it falls to a hundredth of this")
    min_n: int = option(2, help="length of the shortest n-grams, in characters")
    max_n: int = option(4, help="length of the longest n-grams, in characters; 0 is off (no vectors for unseen words)")
    buckets: int = option(50_000, help="rows that n-grams are hashed to; more for a large vocabulary")
    initialisation: str = option(
        "cooccurrence",
        choices=("cooccurrence", "random"),
        help="'cooccurrence' starts from factorised word pair counts and needs few epochs; 'random' needs 10 or more",
    )
    initial_window: int = option(10, help="words to either side that are counted for that")
    seed: int = option(1, help="seed of the random numbers; the same seed and texts give the same model")

    def __post_init__(self) -> None:
        for name in ("dimension", "window", "negatives", "min_count", "initial_window"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        for name in ("epochs", "min_n", "max_n", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("sample", "learning_rate"):
            self._require(name, getattr(self, name) > 0, "above 0")
        self._require("min_n", self.max_n == 0 or 1 <= self.min_n <= self.max_n, "from 1 to max_n")
        self._require("buckets", self.max_n == 0 or self.buckets >= 1, "1 or more")
        self._require("epochs", self.epochs > 0 or self.initialisation != "random", "1 or more with random vectors")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InvalidInputError(f"training option {name}={getattr(self, name)!r} must be {expected}")
