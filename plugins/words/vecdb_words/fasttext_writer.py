"""Writing a fastText model (.bin, version 12) that the official program reads."""

from __future__ import annotations

import struct
from pathlib import Path

from vecdb_words.corpus import Corpus
from vecdb_words.fasttext_binary import ARGUMENTS, DICTIONARY, ENTRY, MAGIC_AND_VERSION, SHAPE, VERSION
from vecdb_words.files import FASTTEXT_MAGIC
from vecdb_words.training_config import FastTextTraining
from vecdb_words.vectors import FloatArray
from vecdb_words.writing import replaced_file

_NEGATIVE_SAMPLING = 2
_MODELS = {"cbow": 1, "skipgram": 2}
_UPDATE_RATE = 100  # the official default; it plays no part once training is over
_NOT_PRUNED = -1
_NOT_QUANTISED = struct.pack("<?", False)


def write_fasttext(
    path: Path, corpus: Corpus, inputs: FloatArray, outputs: FloatArray, options: FastTextTraining
) -> None:
    """Write a model. Raises: as `vecdb_words.writing.replaced_file`."""
    words = len(corpus.words)
    with replaced_file(path) as file:
        file.write(MAGIC_AND_VERSION.pack(FASTTEXT_MAGIC, VERSION))
        file.write(
            ARGUMENTS.pack(
                inputs.shape[1],
                options.window,
                options.epochs,
                options.min_count,
                options.negative,
                1,
                _NEGATIVE_SAMPLING,
                _MODELS[options.algorithm],
                len(inputs) - words,
                options.min_n if options.max_n else 0,
                options.max_n,
                _UPDATE_RATE,
                options.sample,
            )
        )
        file.write(DICTIONARY.pack(words, words, 0, corpus.total, _NOT_PRUNED))
        for word, count in zip(corpus.words, corpus.counts.tolist(), strict=True):
            file.write(word.encode("utf-8", "replace") + b"\0" + ENTRY.pack(count, 0))
        for matrix in (inputs, outputs):
            file.write(_NOT_QUANTISED + SHAPE.pack(*matrix.shape))
            file.write(matrix.astype("<f4", copy=False).tobytes())
