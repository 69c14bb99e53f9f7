"""The embedders: texts to vectors by the words in them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecdb import Embedder, ItemError
from vecdb_words import pooling
from vecdb_words.config import FastTextConfig, PoolingConfig, WordVectorConfig
from vecdb_words.fasttext_binary import FastTextModel, read_fasttext
from vecdb_words.files import is_fasttext, unusable
from vecdb_words.gensim_format import side_files
from vecdb_words.reading import read_word_vectors
from vecdb_words.tokenise import Lookup, chunks
from vecdb_words.vectors import FloatArray, IntArray

_SAMPLE_WORDS = 50_000
_REMEMBERED_CHUNKS = 50_000
_EXCERPT = 60


class Weighted(NamedTuple):
    """Rows of the model's matrix and the weight of each; what is left of a text."""

    rows: IntArray
    weights: FloatArray
    words: int


_NOTHING = Weighted(np.empty(0, np.int64), np.empty(0, np.float32), 0)


class _PooledWords(Embedder):
    """A weighted mean of word vectors. Subclasses say where they come from."""

    config: PoolingConfig
    _alternative = ", or a fastText model (.bin), which knows parts of words"

    def __init__(self, config: PoolingConfig) -> None:
        super().__init__(config)
        self._matrix: FloatArray | None = None
        self._lookup: Lookup | None = None
        self._word_weights: FloatArray = np.empty(0, np.float32)
        self._components: pooling.TopComponents | None = None
        self._remembered: dict[str, Weighted] = {}

    def weights(self) -> Sequence[Path]:
        """The file of word vectors with what lies beside it, and that of frequencies where one is given."""
        files = (self.config.model, *side_files(self.config.model), self.config.frequencies)
        return [path for path in files if path is not None]

    def close(self) -> None:
        """Let go of vectors and maps."""
        self._matrix = None
        self._lookup = None
        self._components = None
        self._word_weights = np.empty(0, np.float32)
        self._remembered = {}

    @property
    def dimension(self) -> int:
        """Length of the word vectors."""
        return int(self._opened().shape[1])

    def prepare(self, item: str) -> Weighted:
        """The known words of a text.

        Raises:
            ItemError: there is no word in it, or none that the model knows.
        """
        self._opened()
        found = [self._remember(chunk) for chunk in chunks(item)]
        if not any(part.words for part in found):
            raise ItemError(self._nothing_known(item))
        rows, weights, words = zip(*found, strict=True)
        return Weighted(np.concatenate(rows), np.concatenate(weights), sum(words))

    def encode(self, batch: Sequence[Weighted], role: str) -> FloatArray:  # noqa: ARG002  (queries are texts as well)
        """The mean of each text's words, shape (len(batch), dimension)."""
        matrix = self._opened()
        vectors = np.empty((len(batch), matrix.shape[1]), np.float32)
        for row, part in enumerate(batch):
            vectors[row] = pooling.weighted_mean(matrix, part.rows, part.weights)
        return vectors if self._components is None else self._components.remove_from(vectors)

    def cost(self, prepared: Weighted) -> int:
        """Number of rows to be summed."""
        return len(prepared.rows)

    def _open(self, index: Mapping[str, int], matrix: FloatArray, frequencies: NDArray[np.float64]) -> None:
        """Make ready what the pooling needs; `frequencies` are those of the first rows."""
        config = self.config
        dimension = matrix.shape[1]
        components = dimension // 100 if config.remove_components is None else config.remove_components
        if components >= dimension:
            raise unusable(
                config.model,
                f"its vectors have {dimension} numbers, too few for remove_components={components}",
                "lower that option",
            )
        if config.frequencies is not None:
            frequencies = pooling.read_frequencies(config.frequencies, index, len(frequencies))
        if config.pooling == "sif":
            self._word_weights = pooling.sif_weights(frequencies, config.sif_a)
        else:
            self._word_weights = np.ones(len(frequencies), np.float32)
        self._lookup = Lookup(index, config.lowercase)
        self._matrix = matrix
        if components:
            sample = self._sample()
            if not np.isfinite(sample).all():
                raise unusable(config.model, "its vectors hold numbers that are not finite", "fetch the file again")
            self._components = pooling.TopComponents(sample, components)

    def _opened(self) -> FloatArray:
        if self._matrix is None:
            raise RuntimeError("load() comes first")
        return self._matrix

    def _remember(self, chunk: str) -> Weighted:
        found = self._remembered.get(chunk)
        if found is None:
            found = self._resolve(chunk)
            if len(self._remembered) >= _REMEMBERED_CHUNKS:
                self._remembered = {}
            self._remembered[chunk] = found
        return found

    def _resolve(self, chunk: str) -> Weighted:
        if self._lookup is None:
            raise RuntimeError("load() comes first")
        found = [part for part in map(self._word, self._lookup.words(chunk)) if part.words]
        if not found:
            return _NOTHING
        rows, weights, words = zip(*found, strict=True)
        return Weighted(np.concatenate(rows), np.concatenate(weights), sum(words))

    def _nothing_known(self, item: str) -> str:
        if not item.strip():
            return "the text is empty; give one with words in it"
        excerpt = " ".join(item.split())
        excerpt = excerpt if len(excerpt) <= _EXCERPT else excerpt[:_EXCERPT] + "..."
        return (
            f"none of the words of {excerpt!r} is in the vocabulary of {self.config.model}; "
            f"use a model of this language and subject{self._alternative}"
        )

    @abc.abstractmethod
    def _word(self, word: str) -> Weighted:
        """The rows of one word; none if the model does not know it."""

    @abc.abstractmethod
    def _sample(self) -> FloatArray:
        """Vectors of the most frequent words."""


class WordVectorEmbedder(_PooledWords):
    """`word2vec` and `glove`: a vector for each word of a list; other words are passed over."""

    config: WordVectorConfig

    def __init__(self, config: WordVectorConfig) -> None:
        super().__init__(config)
        self._index: Mapping[str, int] = {}

    def load(self) -> None:
        """Read the file of word vectors.

        Raises:
            EmbedderUnavailableError: it is missing, damaged, or of another kind.
        """
        if self._matrix is None:
            found = read_word_vectors(self.config.model, self.config.max_words)
            self._index = found.index
            self._open(found.index, found.matrix, pooling.frequencies_by_rank(len(found.matrix)))

    def close(self) -> None:
        """Let go of the vectors."""
        super().close()
        self._index = {}

    def _word(self, word: str) -> Weighted:
        row = self._index.get(word)
        if row is None:
            return _NOTHING
        return Weighted(np.array([row]), self._word_weights[row : row + 1], 1)

    def _sample(self) -> FloatArray:
        return self._opened()[:_SAMPLE_WORDS]


class FastTextEmbedder(_PooledWords):
    """`fasttext`: words that the model has never seen get a vector from their character n-grams."""

    config: FastTextConfig
    _alternative = ""

    def __init__(self, config: FastTextConfig) -> None:
        super().__init__(config)
        self._model: FastTextModel | None = None

    def load(self) -> None:
        """Map a `.bin` model, or read a `.ftz` or `.vec` file.

        Raises:
            EmbedderUnavailableError: it is missing, damaged, or of another kind.
        """
        if self._matrix is not None:
            return
        if is_fasttext(self.config.model):
            model = read_fasttext(self.config.model)
            frequencies = pooling.frequencies_of_counts(model.counts, model.tokens)
        else:
            found = read_word_vectors(self.config.model)
            words = len(found.matrix)
            model = FastTextModel(found.index, np.zeros(words, np.int64), 0, words, found.matrix, 0, 0, 0)
            frequencies = pooling.frequencies_by_rank(words)
        self._model = model
        self._open(model.index, model.matrix, frequencies)

    def close(self) -> None:
        """Let go of the map."""
        super().close()
        self._model = None

    def _word(self, word: str) -> Weighted:
        if self._model is None:
            raise RuntimeError("load() comes first")
        rows = self._model.rows(word)
        if not rows:
            return _NOTHING
        known = self._model.index.get(word)
        if known is None and not self._model.matrix[rows].any():
            return _NOTHING  # no part of the word was ever trained: rows of zeros say nothing
        weight = 1.0 if known is None else float(self._word_weights[known])  # an unseen word is a rare word
        return Weighted(np.array(rows), np.full(len(rows), weight / len(rows), np.float32), 1)

    def _sample(self) -> FloatArray:
        if self._model is None:
            raise RuntimeError("load() comes first")
        words = list(self._model.index)[:_SAMPLE_WORDS]
        return np.stack([self._model.matrix[self._model.rows(word)].mean(axis=0) for word in words])
