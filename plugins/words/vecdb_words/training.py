"""Training a fastText model on one's own texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import InvalidInputError, Trainer
from vecdb_words.config import FastTextTraining
from vecdb_words.cooccurrence import cooccurrence_vectors
from vecdb_words.corpus import Corpus, read_corpus
from vecdb_words.fasttext_writer import write_fasttext
from vecdb_words.skipgram import train_skipgram
from vecdb_words.subword_table import SubwordTable
from vecdb_words.vectors import FloatArray

_FEWEST_WORDS = 10
_INITIAL_SCALE = 0.5
_FREQUENCY_POWER = 0.25  # frequent words have better vectors, so n-grams follow them more, but gently


class FastTextTrainer(Trainer):
    """Trains subword skip-gram vectors (Bojanowski et al. 2017) and writes a fastText `.bin` model.

    Texts are cut into lower-case words as `vecdb_words.tokenise` says. Vectors start from factorised
    co-occurrences, shared out to the n-grams; then come the epochs of skip-gram. With one set of BLAS
    threads the result depends on the texts, the options and the seed alone.
    """

    config = FastTextTraining
    options: FastTextTraining

    def train(
        self, texts: Iterable[str], output: Path, progress: Callable[[int, int | None], None] | None = None
    ) -> Mapping[str, Any]:
        """Train on `texts`, one document an item, and write the model to `output` atomically.

        Args:
            texts: read once.
            output: the `.bin` file.
            progress: called as `progress(done, total)` in words; the initialisation counts as an epoch.

        Returns:
            "texts", "words" (all that were read), "vocabulary", "dimension", "seconds".

        Raises:
            InvalidInputError: fewer than 10 different words are frequent enough, or `output` cannot
                be written.
            DiskFullError: there is no room for the model.
        """
        start = time.monotonic()
        options = self.options
        corpus = read_corpus(texts, options.min_count)
        if len(corpus.words) < _FEWEST_WORDS:
            raise InvalidInputError(
                f"{len(corpus.words)} words stand {options.min_count} times or more in the {corpus.texts} texts, "
                f"too few to learn from ({_FEWEST_WORDS}); give more texts or lower min_count"
            )
        random = np.random.default_rng(options.seed)
        table = SubwordTable(corpus.words, options.min_n, options.max_n, options.buckets)
        report = _Report(progress, (options.epochs + 1) * len(corpus.tokens))
        inputs, outputs = self._initial(corpus, table, random)
        report.add(len(corpus.tokens))
        train_skipgram(
            corpus=corpus,
            table=table,
            inputs=inputs,
            outputs=outputs,
            options=options,
            random=random,
            progress=report.add,
        )
        write_fasttext(Path(output), corpus, inputs, outputs, options)
        return {
            "texts": corpus.texts,
            "words": corpus.total,
            "vocabulary": len(corpus.words),
            "dimension": options.dimension,
            "seconds": time.monotonic() - start,
        }

    def _initial(
        self, corpus: Corpus, table: SubwordTable, random: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        options = self.options
        if options.initialisation == "random":
            inputs = random.random((table.height, options.dimension), dtype=np.float32)
            inputs = (inputs * np.float32(2) - np.float32(1)) / np.float32(options.dimension)
            return inputs, np.zeros((len(corpus.words), options.dimension), np.float32)
        vectors, outputs = cooccurrence_vectors(corpus, options.dimension, options.initial_window, random)
        weights = (corpus.counts**_FREQUENCY_POWER).astype(np.float32)
        return table.fit(vectors * _INITIAL_SCALE, weights), outputs * _INITIAL_SCALE


class _Report:
    """Adds up what is done for a progress callback."""

    def __init__(self, progress: Callable[[int, int | None], None] | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
