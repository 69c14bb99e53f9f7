"""What the small copies of vectors rule out is never one of the nearest, however their products are computed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.index.data import clustered
from vecdb.index import int8
from vecdb.index.codes import VectorCodes
from vecdb.types import METRICS, Metric
from vecdb.vectors import exact_distances, normalise

WAYS = [False, pytest.param(True, marks=pytest.mark.skipif(not int8.is_fast(), reason="numkong is not installed"))]
MAGNITUDES = st.sampled_from([1e-44, 1e-30, 1e-6, 1.0, 1.0, 1.0, 7.0, 1e9, 1e18, 3e38])


@pytest.fixture(params=WAYS, ids=["float32", "int8"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_fast", lambda: request.param)


def must_be_possible(metric: Metric, query, vectors, k):
    """Where a vector is among the k nearest, or ties with the last of them, as float32."""
    with np.errstate(over="ignore", under="ignore"):
        distances = exact_distances(metric, query, vectors).astype(np.float32)
    return distances <= np.sort(distances)[min(k, len(distances)) - 1]


def possible(metric: Metric, queries, vectors, k):
    codes = VectorCodes(vectors.shape[1])
    for start in range(0, len(vectors), 7):
        codes.append(vectors[start : start + 7])
    places = np.arange(len(vectors))
    found = codes.possible(metric, queries, k, places[::-1])[::-1]
    assert np.array_equal(found, codes.possible(metric, queries, k, places))
    return found


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=max(150, settings().max_examples))
@given(data=st.data())
def test_none_of_the_nearest_is_ruled_out(metric: Metric, data: st.DataObject) -> None:
    dimension, count = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 60))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    vectors = random.normal(size=(count, dimension))
    queries = random.normal(size=(data.draw(st.sampled_from([1, 2, 12])), dimension))
    if data.draw(st.booleans()):  # few values, so that many distances tie
        vectors, queries = np.rint(vectors), np.rint(queries)
    if data.draw(st.booleans()):
        vectors[random.integers(0, count)] = queries[0]
    if metric != "cosine":
        size = np.array([data.draw(MAGNITUDES) for _ in range(4)])
        vectors *= size[random.integers(0, len(size), count)][:, None]
        queries *= data.draw(MAGNITUDES)
    with np.errstate(over="ignore"):
        vectors, queries = (np.clip(some, -3e38, 3e38).astype(np.float32) for some in (vectors, queries))
    if metric == "cosine":
        vectors[~vectors.any(axis=1), 0] = queries[~queries.any(axis=1), 0] = 1
        vectors, queries = normalise(vectors), normalise(queries)
    k = data.draw(st.integers(1, 12))
    found = possible(metric, queries, vectors, k)
    for query in queries:
        assert found[must_be_possible(metric, query, vectors, k)].all()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("metric", METRICS)
def test_few_are_left_of_many(metric: Metric) -> None:
    vectors = clustered(5000, 64, metric=metric)
    queries = clustered(20, 64, seed=1, metric=metric)
    left = [possible(metric, query[None], vectors, 10).sum() for query in queries]
    assert np.mean(left) < 40
    assert min(left) >= 10


def test_products_are_those_of_numpy() -> None:
    if not int8.is_fast():
        pytest.skip("numkong is not installed")
    random = np.random.default_rng(1)
    for dimension in (1, 5, 31, 384, 4096, 65_536):
        queries, rows = (random.integers(-127, 128, (count, dimension), np.int8) for count in (3, 50))
        queries[0] = rows[0] = 127
        queries[1] = -127
        expected = queries.astype(np.int64) @ rows.T.astype(np.int64)
        assert np.array_equal(int8.dots(queries, rows), expected)


def wrong(queries, rows, _):
    products = queries.astype(np.float64) @ rows.T.astype(np.float64)
    return products + (len(queries[0]) == 1027)


def without_that_metric(queries, rows, metric):
    raise ValueError(metric)


@pytest.mark.parametrize("products", [wrong, without_that_metric, None])
def test_a_library_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, products) -> None:
    library = None if products is None else SimpleNamespace(cdist=products)
    monkeypatch.setattr(int8, "numkong", library)
    assert not int8.is_fast.__wrapped__()
