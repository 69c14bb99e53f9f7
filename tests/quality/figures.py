"""A figure of the table, and the measures that figures are made by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        embedder: its name, with the options that differ from the defaults.
        model: the weights.
        data: the labelled set.
        metric: what is measured.
        figure: the embedder's.
        reference: what is to be reached, by the reference library or the notes beside the data; None
            where nobody has published one.
        random: what random vectors get.
        source: where the reference comes from.
    """

    embedder: str
    model: str
    data: str
    metric: str
    figure: float
    reference: float | None
    random: float
    source: str = ""


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows of length 1."""
    rows = np.asarray(vectors, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosines(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """The cosine of each row of `left` with the same row of `right`."""
    return (unit(left) * unit(right)).sum(axis=1)


def spearman(found: Sequence[float], wanted: Sequence[float]) -> float:
    """Rank correlation (Spearman 1904), equal values sharing the mean of their ranks."""
    return float(np.corrcoef(_ranks(found), _ranks(wanted))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]


def neighbour_accuracy(
    vectors: NDArray[np.floating], labels: Sequence[str], apart: Sequence[str] | None = None
) -> float:
    """Share of items whose nearest other item by cosine has the same label (1-NN, leave one out).

    Args:
        vectors: (n, dimension).
        labels: the class of each.
        apart: the group of each (fold, speaker): only items of other groups are looked at.
    """
    rows = unit(vectors)
    similar = rows @ rows.T
    groups = np.arange(len(rows)) if apart is None else np.asarray(apart)
    similar[groups[:, None] == groups] = -2
    names = np.asarray(labels)
    return float((names[similar.argmax(axis=1)] == names).mean())


def ndcg_at_10(
    queries: Mapping[str, NDArray[np.floating]],
    documents: Mapping[str, NDArray[np.floating]],
    judgements: Mapping[str, Mapping[str, float]],
) -> float:
    """Mean normalised discounted cumulative gain of the first ten by cosine, gains linear (Järvelin 2002)."""
    names = list(documents)
    corpus = unit(np.stack([documents[name] for name in names]))
    discounts = 1 / np.log2(np.arange(2, 12))
    scores = []
    for query, vector in queries.items():
        grades = judgements.get(query, {})
        ideal = np.sort(np.array(list(grades.values()), np.float64))[::-1][:10]
        if not ideal.size or ideal[0] <= 0:
            continue
        nearest = np.argsort(-(corpus @ unit(vector[None, :])[0]), kind="stable")[:10]
        gains = np.array([grades.get(names[i], 0.0) for i in nearest])
        scores.append((gains * discounts[: len(gains)]).sum() / (ideal * discounts[: len(ideal)]).sum())
    return float(np.mean(scores))
