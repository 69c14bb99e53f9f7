"""`static`: the table of WordLlama, whole and its first columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.quality.data import cranfield, korsts, retrieval_figure, sts_figure, stsb
from tests.quality.figures import Figure
from tests.quality.weights import python_package
from vecdb.embedding import EmbedderHost
from vecdb_text import vecdb_register_embedders

MODEL = "WordLlama l2_supercat"
NOTES = "measured with wordllama 0.4"


def wordllama() -> Path:
    """The package's folder; its files are read, its code is not."""
    return python_package("wordllama==0.4.0.post1") / "wordllama"


def host(**options: Any) -> EmbedderHost:
    """A host of that table."""
    [info] = [info for info in vecdb_register_embedders() if info.name == "static"]
    return EmbedderHost(info, info.configure({"model": wordllama(), **options}))


def similarity() -> list[Figure]:
    """STS-B, and KorSTS for a language that the table was hardly trained on."""
    found = []
    for dimension, reference in ((None, 0.759), (128, 0.753), (64, 0.730)):
        name = "static" + (f" dimension={dimension}" if dimension else "")
        with host(dimension=dimension) as embedder:
            about = {"embedder": name, "model": MODEL, "reference": reference, "source": NOTES}
            found.append(sts_figure(embedder, stsb(), "STS-B test", **about))
    with host() as embedder:
        about = {"embedder": "static", "model": MODEL, "reference": 0.541, "source": NOTES}
        found.append(sts_figure(embedder, korsts(), "KorSTS test", **about))
    return found


def retrieval() -> list[Figure]:
    """Cranfield."""
    with host() as embedder:
        about = {"embedder": "static", "model": MODEL, "reference": None}
        return [retrieval_figure(embedder, cranfield(), "Cranfield", **about)]


PARTS: tuple[Callable[[], list[Figure]], ...] = (similarity, retrieval)
