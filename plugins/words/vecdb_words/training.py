"""Training word vectors on one's own texts."""

from __future__ import annotations

import abc
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import InvalidInputError, Progress, Trainer
from vecdb_words.corpus import Corpus, read_corpus
from vecdb_words.fasttext_writer import write_fasttext
from vecdb_words.glove import GloveModel, count_neighbours, train_glove
from vecdb_words.losses import HierarchicalSoftmax, Loss, NegativeSampling
from vecdb_words.mutual_information import mutual_information_vectors
from vecdb_words.prediction import train_prediction
from vecdb_words.subword_table import SubwordTable
from vecdb_words.training_config import (
    FastTextTraining,
    GloveTraining,
    PredictionTraining,
    Word2VecTraining,
    WordTraining,
)
from vecdb_words.vectors import FloatArray
from vecdb_words.writing import write_glove, write_word2vec

_FEWEST_WORDS = 10
_INITIAL_SCALE = 0.5
_FREQUENCY_POWER = 0.25  # frequent words have better vectors, so n-grams follow them more, but gently


class _WordTrainer(Trainer):
    """Reads the texts, and reports; subclasses learn from the corpus and write the model.

    Texts are cut into lower-case words as `vecdb_words.tokenise` says. With one set of BLAS threads the
    result depends on the texts, the options and the seed alone.
    """

    options: WordTraining

    def train(self, texts: Iterable[str], output: Path, progress: Progress | None = None) -> Mapping[str, Any]:
        """Train on `texts`, one document an item, and write the model to `output` atomically.

        Args:
            texts: read once.
            output: the file of the model.
            progress: called as `progress(done, total)` in words; what comes before the epochs counts as one.

        Returns:
            "texts", "words" (all that were read), "vocabulary", "dimension", "seconds"; for GloVe "cost",
            the mean cost of a count in the last epoch.

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
        report = _Report(progress, (options.epochs + 1) * len(corpus.tokens))
        found = self._learn(corpus, Path(output), np.random.default_rng(options.seed), report)
        return {
            "texts": corpus.texts,
            "words": corpus.total,
            "vocabulary": len(corpus.words),
            "dimension": options.dimension,
            "seconds": time.monotonic() - start,
            **found,
        }

    @abc.abstractmethod
    def _learn(self, corpus: Corpus, output: Path, random: np.random.Generator, report: _Report) -> Mapping[str, Any]:
        """Train and write; what is to be told besides."""


class Word2VecTrainer(_WordTrainer):
    """Trains skip-gram or CBOW vectors (Mikolov et al. 2013) and writes a word2vec file.

    It is text if its name ends in `.txt` or `.vec`, otherwise binary, and packed if it ends in `.gz`.
    """

    config = Word2VecTraining
    options: Word2VecTraining

    def _learn(self, corpus: Corpus, output: Path, random: np.random.Generator, report: _Report) -> Mapping[str, Any]:
        options = self.options
        table = SubwordTable(corpus.words, 0, 0, 0)
        hierarchical = options.loss == "hierarchical_softmax"
        loss = HierarchicalSoftmax(corpus) if hierarchical else NegativeSampling(corpus, options.negative)
        inputs, _ = _predict(corpus, table, loss, options, random=random, report=report)
        write_word2vec(output, corpus.words, inputs)
        return {}


class FastTextTrainer(_WordTrainer):
    """Trains subword skip-gram or CBOW vectors (Bojanowski et al. 2017) and writes a fastText `.bin` model."""

    config = FastTextTraining
    options: FastTextTraining

    def _learn(self, corpus: Corpus, output: Path, random: np.random.Generator, report: _Report) -> Mapping[str, Any]:
        options = self.options
        table = SubwordTable(corpus.words, options.min_n, options.max_n, options.buckets)
        loss = NegativeSampling(corpus, options.negative)
        inputs, outputs = _predict(corpus, table, loss, options, random=random, report=report)
        write_fasttext(output, corpus, inputs, outputs, options)
        return {}


class GloveTrainer(_WordTrainer):
    """Trains GloVe vectors (Pennington et al. 2014) and writes GloVe text, packed if its name ends in `.gz`."""

    config = GloveTraining
    options: GloveTraining

    def _learn(self, corpus: Corpus, output: Path, random: np.random.Generator, report: _Report) -> Mapping[str, Any]:
        pairs = count_neighbours(corpus, self.options.window)
        report.add(len(corpus.tokens))
        model = GloveModel.random(len(corpus.words), self.options.dimension, random)
        costs = train_glove(pairs, model, self.options, random, lambda part: report.add(part * len(corpus.tokens)))
        report.finish()
        write_glove(output, corpus.words, model.vectors())
        return {"cost": costs[-1]}


def _predict(
    corpus: Corpus,
    table: SubwordTable,
    loss: Loss,
    options: PredictionTraining,
    *,
    random: np.random.Generator,
    report: _Report,
) -> tuple[FloatArray, FloatArray]:
    """Trained rows of the table, and of the loss."""
    inputs, outputs = _initial(corpus, table, loss, options, random)
    report.add(len(corpus.tokens))
    train_prediction(
        corpus=corpus,
        table=table,
        loss=loss,
        inputs=inputs,
        outputs=outputs,
        options=options,
        random=random,
        progress=report.add,
    )
    return inputs, outputs


def _initial(
    corpus: Corpus, table: SubwordTable, loss: Loss, options: PredictionTraining, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    if options.initialisation == "random":
        inputs = random.random((table.height, options.dimension), dtype=np.float32)
        inputs = (inputs * np.float32(2) - np.float32(1)) / np.float32(options.dimension)
        return inputs, np.zeros((loss.height, options.dimension), np.float32)
    vectors, outputs = mutual_information_vectors(corpus, options.dimension, options.initial_window, random)
    inputs = table.fit(vectors * _INITIAL_SCALE, (corpus.counts**_FREQUENCY_POWER).astype(np.float32))
    if isinstance(loss, HierarchicalSoftmax):  # its rows are no words
        return inputs, np.zeros((loss.height, options.dimension), np.float32)
    return inputs, outputs * _INITIAL_SCALE


class _Report:
    """Adds up what is done for a progress callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0.0

    def add(self, count: float) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(min(int(self._done), self._total), self._total)

    def finish(self) -> None:
        """Say that all is done: parts of words do not add up to the last one."""
        self.add(self._total - self._done)
