"""What records tests make up at random, and what a search over them must find: a plain search in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import vecdb
from tests.storage.filter_oracle import matches

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
IDS = st.sampled_from(["a", "b", "c", "é", "e\u0301", "日本", "🙂", "'\"\\", "\n", "A"]) | TEXT.filter(bool)
CONTENTS = st.none() | TEXT.filter(str.strip)
METADATA = st.dictionaries(
    st.sampled_from(["n", "word", "x.y"]) | TEXT,
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | TEXT | st.lists(st.integers(0, 2), max_size=2),
    max_size=3,
)
WHERE = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"n": st.integers(-3, 3) | st.booleans() | st.none()}),
    st.fixed_dictionaries(
        {"n": st.sampled_from([{"$gte": 0}, {"$lt": 1.5}, {"$exists": True}, {"$ne": 1}, {"$contains": 1}])}
    ),
    st.fixed_dictionaries({"word": st.fixed_dictionaries({"$in": st.lists(TEXT | st.integers(0, 1), max_size=3)})}),
    st.just({"$or": [{"x.y": {"$exists": True}}, {"n": {"$lt": 0}}]}),
)
# Few numbers, so that vectors are often equal, opposite or at one distance.
DIMENSION = 3
VECTORS = st.lists(st.sampled_from([-1.0, 0.5, 1.0, 2.0]), min_size=DIMENSION, max_size=DIMENSION)

_TOLERANCE = 3e-6


class Entry(NamedTuple):
    """What is stored under an id; the vector as it was given."""

    content: Any
    metadata: dict[str, Any]
    vector: Any


def as_stored(metric: str, vector: Any) -> np.ndarray:
    """A vector as `get` gives it back."""
    row = np.float32(vector)
    return row / np.linalg.norm(row) if metric == "cosine" else row


def distances(metric: str, query: Any, rows: Any) -> np.ndarray:
    """Distances as DESIGN defines them, in float64."""
    query, rows = np.float64(query), np.float64(rows)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    if metric == "cosine":
        query = np.float64(np.float32(query / np.linalg.norm(query)))
        rows = np.float64(np.float32(rows / np.linalg.norm(rows, axis=1, keepdims=True)))
    return 1 - rows @ query


def matching(entries: Mapping[str, Entry], where: dict[str, Any] | None) -> dict[str, Entry]:
    """Those that a filter admits, in order of insertion."""
    return {id: entry for id, entry in entries.items() if where is None or matches(where, entry.metadata)}


def assert_hits(
    hits: Sequence[vecdb.Hit], entries: Mapping[str, Entry], metric: str, query: Any, k: int, where: Any = None
) -> None:
    """The hits are the nearest of these entries, all that there should be, in the right order, with what they hold."""
    found = matching(entries, where)
    assert len(hits) == min(k, len(found))
    if not found:
        return
    truth = distances(metric, query, [entry.vector for entry in found.values()])
    by_id = dict(zip(found, truth, strict=True))
    given = [hit.distance for hit in hits]
    # An absolute tolerance suits vectors of length 1; longer ones have larger distances.
    close = {"rtol": 1e-5, "atol": _TOLERANCE}
    np.testing.assert_allclose(given, [by_id[hit.id] for hit in hits], **close)
    np.testing.assert_allclose(given, np.sort(truth)[: len(hits)], **close)
    place = {id: number for number, id in enumerate(entries)}
    for one, two in itertools.pairwise(hits):
        assert one.distance < two.distance or (one.distance == two.distance and place[one.id] < place[two.id])
    for hit in hits:
        entry = found[hit.id]
        assert (hit.content, repr(hit.metadata)) == (entry.content, repr(entry.metadata))


def assert_holds(found: Sequence[vecdb.Record], entries: Mapping[str, Entry], metric: str) -> None:
    """These are the records of the entries, in this order, with their vectors."""
    assert [(record.id, record.content, repr(record.metadata)) for record in found] == [
        (id, entry.content, repr(entry.metadata)) for id, entry in entries.items()
    ]
    if found:
        rows = np.stack([record.vectors for record in found])
        wanted = np.float32([entry.vector for entry in entries.values()])
        if metric == "cosine":
            wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(rows, wanted, atol=1e-6)
