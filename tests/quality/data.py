"""The labelled sets, as Python values. All of them lie beside the checkout (see `tests.shared`)."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.quality.figures import Figure, cosines, ndcg_at_10, spearman
from tests.quality.weights import WeightsUnavailableError
from tests.shared import SHARED
from vecdb.embedding import EmbedderHost


def data(*parts: str) -> Path:
    """A path in the shared data, or the reason why a figure is left out."""
    if SHARED is None or not SHARED.joinpath(*parts).exists():
        raise WeightsUnavailableError(f"{'/'.join(parts)} is not beside the checkout")
    return SHARED.joinpath(*parts)


def stsb(part: str = "test") -> list[tuple[str, str, float]]:
    """STS-B, English: pairs of sentences and how alike people find them, 0 to 5. `part`: "dev" or "test"."""
    with data("sts", f"stsb-en-{part}.csv").open(newline="", encoding="utf-8") as file:
        return [(left, right, float(score)) for left, right, score in csv.reader(file)]


def korsts(part: str = "test") -> list[tuple[str, str, float]]:
    """KorSTS, as `stsb`."""
    with data("sts", f"korsts-{part}.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(row["sentence1"], row["sentence2"], float(row["score"])) for row in rows]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Questions, documents and grades of relevance, by name."""

    queries: dict[str, str]
    documents: dict[str, str]
    judgements: dict[str, dict[str, float]]


def cranfield() -> Retrieval:
    """1,400 abstracts of aerodynamics, 225 questions. Documents without text are left out."""
    return _retrieval("retrieval-cranfield")


def tldr() -> Retrieval:
    """6,789 command pages; questions `en:` in English, `ko:` in Korean."""
    return _retrieval("retrieval-tldr")


def _retrieval(folder: str) -> Retrieval:
    documents = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in _lines(folder, "corpus")}
    queries = {row["_id"]: row["text"] for row in _lines(folder, "queries")}
    judgements: dict[str, dict[str, float]] = {}
    with data(folder, "qrels.tsv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            judgements.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    return Retrieval(queries, {name: text for name, text in documents.items() if text}, judgements)


def _lines(folder: str, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(data(folder, f"{name}.jsonl.gz"), "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def sts_figure(
    host: EmbedderHost, pairs: list[tuple[str, str, float]], name: str, **about: Any
) -> Figure:
    """The rank correlation of cosines with people's grades; a pair that cannot be embedded counts as cosine 0."""
    texts = list(dict.fromkeys(text for left, right, _ in pairs for text in (left, right)))
    embedded = host.embed(texts, metric="cosine")
    rows = {text: i for i, text in enumerate(texts)}
    unknown = {error.index for error in embedded.errors}
    left, right = ([rows[pair[side]] for pair in pairs] for side in (0, 1))
    vectors = embedded.vectors.copy()
    vectors[list(unknown), 0] = 1e-30  # a direction, so that a cosine can be taken; it is set to 0 below
    found = cosines(vectors[left], vectors[right])
    found[[i for i, pair in enumerate(zip(left, right, strict=True)) if unknown & set(pair)]] = 0
    return Figure(data=name, metric="Spearman", figure=spearman(found, [p[2] for p in pairs]), random=0.0, **about)


def retrieval_figure(host: EmbedderHost, task: Retrieval, name: str, **about: Any) -> Figure:
    """nDCG@10 of exact search; a document or question that cannot be embedded is found by nobody."""
    documents = _embedded(host, task.documents, "document")
    queries = _embedded(host, task.queries, "query")
    random = np.random.default_rng(0)
    chance = {key: random.standard_normal(64) for key in documents}
    asked = {key: random.standard_normal(64) for key in queries}
    return Figure(
        data=name,
        metric="nDCG@10",
        figure=ndcg_at_10(queries, documents, task.judgements),
        random=ndcg_at_10(asked, chance, task.judgements),
        **about,
    )


def _embedded(host: EmbedderHost, texts: dict[str, str], role: Any) -> dict[str, Any]:
    result = host.embed(list(texts.values()), role, metric="cosine")
    failed = {error.index for error in result.errors}
    return {key: row for i, (key, row) in enumerate(zip(texts, result.vectors, strict=True)) if i not in failed}
