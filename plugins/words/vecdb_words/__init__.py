"""Word-vector embedders (word2vec, GloVe, fastText): the hook. The work is done in the modules beside it."""

from __future__ import annotations

from vecdb import EmbedderInfo, hookimpl
from vecdb_words.config import FastTextConfig, WordVectorConfig


@hookimpl
def vecdb_register_embedders() -> list[EmbedderInfo]:
    """The word-vector embedders of this plugin."""
    return [
        EmbedderInfo(
            name="word2vec",
            summary="averages word2vec vectors (.bin, .vec, .txt, also .gz, gensim's .kv) over the words of a text",
            modalities=frozenset({"text"}),
            config=WordVectorConfig,
            factory="vecdb_words.embedders:WordVectorEmbedder",
            batch_size=256,
            trainer="vecdb_words.training:Word2VecTrainer",
        ),
        EmbedderInfo(
            name="glove",
            summary="averages GloVe vectors (.txt, also .gz and .zip) over the words of a text",
            modalities=frozenset({"text"}),
            config=WordVectorConfig,
            factory="vecdb_words.embedders:WordVectorEmbedder",
            batch_size=256,
            trainer="vecdb_words.training:GloveTrainer",
        ),
        EmbedderInfo(
            name="fasttext",
            summary="averages fastText vectors (.bin, .ftz, .vec); misspelt and unseen words get one from their parts",
            modalities=frozenset({"text"}),
            config=FastTextConfig,
            factory="vecdb_words.embedders:FastTextEmbedder",
            batch_size=256,
            trainer="vecdb_words.training:FastTextTrainer",
        ),
    ]
