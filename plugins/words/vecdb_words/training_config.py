"""The options of training word vectors."""

from __future__ import annotations

from dataclasses import dataclass

from vecdb import InvalidInputError, option

ALGORITHMS = ("skipgram", "cbow")
LOSSES = ("negative_sampling", "hierarchical_softmax")
INITIALISATIONS = ("cooccurrence", "random")


@dataclass(frozen=True)
class WordTraining:
    """Options that training has in common for all word vectors."""

    dimension: int = option(100, help="length of the vectors")
    epochs: int = option(5, help="passes over the text")
    window: int = option(5, help="words to either side that belong to the context of a word")
    min_count: int = option(5, help="leave out words that stand in the text less often")
    learning_rate: float = option(0.25, help="first step of AdaGrad; it falls to a hundredth of this")
    seed: int = option(1, help="seed of the random numbers; the same seed and texts give the same model")

    def __post_init__(self) -> None:
        for name in ("dimension", "window", "min_count"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        for name in ("epochs", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("learning_rate", self.learning_rate > 0, "above 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InvalidInputError(f"training option {name}={getattr(self, name)!r} must be {expected}")


@dataclass(frozen=True)
class PredictionTraining(WordTraining):
    """Options of models that predict words from their neighbours: word2vec and fastText."""

    algorithm: str = option(
        "skipgram",
        choices=ALGORITHMS,
        help="'skipgram' predicts each word from each neighbour, 'cbow' from the mean of its neighbours",
    )
    negative: int = option(5, help="wrong words drawn for each right one")
    sample: float = option(1e-3, help="frequency above which words are passed over at random")
    initialisation: str = option(
        "cooccurrence",
        choices=INITIALISATIONS,
        help="'cooccurrence' starts from factorised word pair counts and needs few epochs; 'random' needs 10 or more",
    )
    initial_window: int = option(10, help="words to either side that are counted for that")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("negative", "initial_window"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("sample", self.sample > 0, "above 0")
        self._require("epochs", self.epochs > 0 or self.initialisation != "random", "1 or more with random vectors")


@dataclass(frozen=True)
class Word2VecTraining(PredictionTraining):
    """Options of training a word2vec model."""

    loss: str = option(
        "negative_sampling",
        choices=LOSSES,
        help="what predicting a word means: telling it from words drawn at random, or a walk down a Huffman tree",
    )


@dataclass(frozen=True)
class FastTextTraining(PredictionTraining):
    """Options of training a fastText model."""

    epochs: int = option(2, help="passes over the text; 0 keeps the vectors of the initialisation")
    min_count: int = option(2, help="leave out words that stand in the text less often")
    sample: float = option(1e-4, help="frequency above which words are passed over at random")
    learning_rate: float = option(0.1, help="first step of AdaGrad; it falls to a hundredth of this")
    min_n: int = option(2, help="length of the shortest n-grams, in characters")
    max_n: int = option(4, help="length of the longest n-grams, in characters; 0 is off (no vectors for unseen words)")
    buckets: int = option(50_000, help="rows that n-grams are hashed to; more for a large vocabulary")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("min_n", self.min_n >= 0, "0 or more")
        self._require("max_n", self.max_n >= 0, "0 or more")
        self._require("min_n", self.max_n == 0 or 1 <= self.min_n <= self.max_n, "from 1 to max_n")
        self._require("buckets", self.max_n == 0 or self.buckets >= 1, "1 or more")


@dataclass(frozen=True)
class GloveTraining(WordTraining):
    """Options of training a GloVe model (names and defaults of the authors' program, but for x_max)."""

    epochs: int = option(25, help="passes over the counts")
    window: int = option(10, help="words to either side that are counted; a word d away counts 1 / d")
    learning_rate: float = option(0.05, help="first step of AdaGrad")
    x_max: float = option(
        10.0, help="counts from here on weigh fully; 10 suits a corpus of millions of words, 100 more"
    )
    alpha: float = option(0.75, help="a smaller count x weighs (x / x_max) to the power of alpha")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("epochs", self.epochs >= 1, "1 or more")
        self._require("x_max", self.x_max > 0, "above 0")
        self._require("alpha", self.alpha > 0, "above 0")
