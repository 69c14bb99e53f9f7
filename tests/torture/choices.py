"""What the steps of the campaign "model" choose from.

Each choice is one of a list, or follows from one number: so hypothesis, which would else take longer
than the database, has little to do for a step. The small state machine of tests/test_state_machine.py
makes up texts, filters and metadata of its own.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import vecdb
from tests.torture.moody import DIMENSION, MOODS

PREFILLED = 240  # records of the graph at the beginning
POOL = np.random.default_rng(0).standard_normal((600, DIMENSION)).astype(np.float32)

_IDS = ["a", "b", "c", "d", "é", "e\u0301", "日本", "🙂", "'\"\\", "\n", "%s", "never seen"]
_TITLES = ["red", "green", "blue", "日本", "🙂", "'; --", "x" * 300, "unreadable", "r\u00e9d", "re\u0301d"]
_PICTURES = [vecdb.Image(data) for data in (b"one", b"two", b"unreadable", b"\0", b"x" * 9000)]
_METADATA: list[dict[str, Any]] = [
    {},
    {"n": None},
    {"n": True},
    {"n": 1},
    {"n": 1.0},
    {"n": -3},
    {"n": 2.5, "word": "red"},
    {"n": "1"},
    {"n": [1, 2]},
    {"word": "日本", "x.y": 1},
    {"x": {"y": 2}},
    {"word": ""},
    {"'": '"', "": 0},
    {"word": "red", "n": 10**15},
]
_WHERE: list[dict[str, Any] | None] = [
    None,
    None,
    None,
    {},
    {"n": 1},
    {"n": True},
    {"n": None},
    {"n": {"$gte": 0}},
    {"n": {"$lt": 1.5}},
    {"n": {"$exists": True}},
    {"n": {"$ne": 1}},
    {"n": {"$contains": 1}},
    {"word": {"$in": ["red", "日本", 1]}},
    {"word": {"$nin": ["red"]}},
    {"word": ""},
    {"$or": [{"x.y": {"$exists": True}}, {"n": {"$lt": 0}}]},
    {"$not": {"n": {"$gt": 1}}},
]
# Few numbers, so that vectors are often equal, opposite or at one distance.
_VECTORS = [list(row) for row in itertools.product([-1.0, 0.5, 1.0, 2.0], repeat=3)]

WHICH = st.integers(0, 2)  # of the handles
NUMBERS = st.integers(0, 10**6)
METADATA = st.sampled_from(_METADATA)
WHERE = st.sampled_from(_WHERE)
VECTORS = st.sampled_from(_VECTORS)
TITLES = st.sampled_from(_TITLES)
READABLE = st.sampled_from([title for title in _TITLES if title != "unreadable"])
IDS = st.sampled_from(_IDS)
MOOD = st.sampled_from([""] * len(MOODS) + list(MOODS))
HOW = st.sampled_from(["error", "skip", "replace"])


def _from_a_number(make: Callable[[random.Random, int], Any], most: int) -> st.SearchStrategy[Any]:
    """What `make` gives for a random source and a size; smaller numbers give smaller sizes."""
    return NUMBERS.map(lambda number: make(random.Random(number), 1 + number * most // (10**6 + 1)))


def _points(chance: random.Random, size: int) -> dict[str, Any]:
    return {id: (None, chance.choice(_METADATA), {"default": chance.choice(_VECTORS)}) for id in _ids(chance, size)}


def _graph_rows(chance: random.Random, size: int) -> dict[str, Any]:
    """Some share a vector with another one, some replace one of the beginning."""
    start = chance.randrange(10**6)
    names = [f"old {chance.randrange(PREFILLED)}" if chance.random() < 0.5 else f"new {start + n}" for n in range(size)]
    return {
        id: (chance.choice([None, f"text {id}"]), {"n": chance.randrange(4)}, {"default": chance.choice(POOL)})
        for id in names
    }


def _texts(chance: random.Random, size: int) -> dict[str, Any]:
    return {id: (chance.choice(_TITLES), chance.choice(_METADATA), {}) for id in _ids(chance, size)}


def _pictures(chance: random.Random, size: int) -> dict[str, Any]:
    return {id: (chance.choice(_PICTURES), {"n": size}, {}) for id in _ids(chance, size)}


def _fields(chance: random.Random, size: int) -> dict[str, Any]:
    """With a title, a vector for the other space, and perhaps a field that is embedded nowhere."""
    more = chance.choice([{}, {"note": "seen"}])
    return {
        id: ({"title": chance.choice(_TITLES), **more}, {}, {"extra": chance.choice(_VECTORS)})
        for id in _ids(chance, size)
    }


def _stream(chance: random.Random, size: int) -> list[vecdb.Record]:
    """Ids may stand in it twice."""
    return [vecdb.Record(chance.choice(_IDS), chance.choice(_TITLES), chance.choice(_METADATA)) for _ in range(size)]


def _ids(chance: random.Random, size: int) -> list[str]:
    return chance.sample(_IDS, size)


# Id to (content, metadata, vectors by space).
POINTS = _from_a_number(_points, 4)
GRAPH_ROWS = _from_a_number(_graph_rows, 30)
TEXTS = _from_a_number(_texts, 4)
PICTURES = _from_a_number(_pictures, 3)
FIELDS = _from_a_number(_fields, 3)
STREAM = _from_a_number(_stream, 7)
