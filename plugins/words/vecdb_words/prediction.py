"""Learning word vectors by predicting words from their neighbours, in blocks of dense matrix products.

Skip-gram and continuous bag of words: Mikolov, Chen, Corrado, Dean: "Efficient estimation of word
representations in vector space" (2013); over subwords: Bojanowski et al. (2017). What a word is made
of is the table's business (its own row, or n-grams as well), what a prediction is that of the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecdb_words.adagrad import AdaGradRows
from vecdb_words.corpus import Corpus
from vecdb_words.losses import Loss, NegativeSampling, gradients
from vecdb_words.subword_table import SubwordTable
from vecdb_words.training_config import PredictionTraining
from vecdb_words.vectors import FloatArray
from vecdb_words.windows import Block, blocks

_BLOCK_TOKENS = 100
_BLOCK_TOKENS_OF_PAIRS = 500  # skip-gram with shared draws: its matrices are small and full
_LAST_RATE = 0.01


def train_prediction(
    *,
    corpus: Corpus,
    table: SubwordTable,
    loss: Loss,
    inputs: FloatArray,
    outputs: FloatArray,
    options: PredictionTraining,
    random: np.random.Generator,
    progress: Callable[[int], None],
) -> None:
    """Train `inputs` (table.height, dimension) and `outputs` (loss.height, dimension) in place.

    `progress` is called with the number of tokens that each block stood for.
    """
    make = skipgram if options.algorithm == "skipgram" else cbow
    full = options.algorithm == "skipgram" and isinstance(loss, NegativeSampling)
    size = _BLOCK_TOKENS_OF_PAIRS if full else _BLOCK_TOKENS
    input_rows, output_rows = AdaGradRows(inputs), AdaGradRows(outputs)
    total = options.epochs * len(corpus.tokens)
    done = 0
    for _ in range(options.epochs):
        for block in blocks(corpus, size, options.window, options.sample, random):
            rate = options.learning_rate * max(_LAST_RATE, 1 - done / total)
            mixture, counts = make(block)
            selection = table.select(block.words)
            vectors = selection.means(inputs)
            hidden = vectors if mixture is None else mixture @ vectors
            questions = loss.questions(block.words, counts, random)
            to_hidden, to_outputs = gradients(hidden, outputs[questions.rows], questions)
            output_rows.move(questions.rows, to_outputs, rate)
            to_words = to_hidden if mixture is None else mixture.T @ to_hidden
            input_rows.move(*selection.spread(to_words), rate)
            done += block.tokens
            progress(block.tokens)


def skipgram(block: Block) -> tuple[None, FloatArray]:
    """Each word's vector predicts the words that it is a neighbour of: how often, shape (words, words)."""
    return None, block.pair_counts()


def cbow(block: Block) -> tuple[FloatArray, FloatArray]:
    """The mean vector of a token's neighbours predicts its word, once.

    Returns:
        the share of each word in each mean, and what each mean predicts, both (tokens, words).
    """
    contexts = block.contexts()
    lengths = contexts.sum(axis=1)
    contexts /= np.maximum(lengths, 1)[:, None]
    counts = np.zeros_like(contexts)
    counts[np.arange(len(counts)), block.numbers] = lengths > 0
    return contexts, counts
