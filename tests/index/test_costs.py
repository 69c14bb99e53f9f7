"""Choosing between comparing what a filter admits and asking the graph for more, by what each of them costs here."""

from __future__ import annotations

import numpy as np
import pytest

from tests.index.data import clustered, numbered
from vecdb.index import allowed_search
from vecdb.index.costs import Line, SearchCosts, Try
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.labels import AllowedLabels

COUNT = 3000


@pytest.fixture(scope="module")
def vectors():
    return clustered(COUNT, 16)


@pytest.fixture
def index(vectors):
    index = HnswIndex(16, "cosine", ef_construction=60)
    index.add(numbered(vectors), vectors)
    return index


def test_a_line_goes_through_both_points_and_never_falls() -> None:
    line = Line.through((10, 3.0), (30, 7.0))
    assert (line.at(10), line.at(30), line.at(0)) == (3.0, 7.0, 1.0)
    assert Line.through((10, 3.0), (30, 2.0)).at(1000) == 3.0  # a slow machine, once
    assert Line.through((10, 1.0), (20, 5.0)).at(0) == 0.0


def test_the_fastest_of_several_searches_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 29.0])
    monkeypatch.setattr("vecdb.index.costs.time.perf_counter", lambda: next(clock))
    assert Try(7, [lambda: None] * 3).seconds() == 1.0


@pytest.mark.parametrize(("scan", "strategy"), [(1e-9, "scan"), (1.0, "graph")])
def test_the_cheaper_way_is_taken_and_both_find_the_nearest(index, vectors, scan, strategy) -> None:
    index._among.costs = SearchCosts(Line(0.0, scan), Line(0.0, 1e-6))
    exact = ExactIndex(16, "cosine")
    exact.add(numbered(vectors), vectors)
    queries, allowed = clustered(20, 16, seed=3), np.arange(1, COUNT, 3)
    assert index.scans(len(allowed), 10) == (strategy == "scan")
    found, distances = index.search(queries, 10, allowed=allowed)
    true, _ = exact.search(queries, 10, allowed=allowed)
    assert np.isin(found, allowed).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found, true, strict=True)])
    assert recall == 1.0 if strategy == "scan" else recall >= 0.95
    comparing, asking = index.estimates(len(allowed), 10)
    assert (comparing < asking) == (strategy == "scan")


def test_costs_are_measured_after_some_searches_and_once(index, vectors, monkeypatch) -> None:
    monkeypatch.setattr(allowed_search, "_MANY_VECTORS", 1000)
    measured = []
    original = SearchCosts.measured.__func__

    def noting(cls, scan, graph):
        measured.append((scan[1].number, graph[1].number))
        return original(cls, scan, graph)

    monkeypatch.setattr(SearchCosts, "measured", classmethod(noting))
    usual = index._among.costs
    for count in range(1, 8):
        index.search(vectors[:1], 5, allowed=np.arange(1, COUNT, 2))
        assert len(measured) == (count >= allowed_search._MEASURED_AFTER)
    assert measured == [(1000, allowed_search._MANY_RESULTS)]
    costs = index._among.costs
    assert costs != usual
    assert costs.scan.at(1000) > 0
    assert costs.graph.at(100) > 0


def test_a_small_index_is_not_measured(vectors) -> None:
    index = HnswIndex(16, "cosine", ef_construction=40)
    index.add(numbered(vectors[:500]), vectors[:500])
    usual = index._among.costs
    for _ in range(10):
        index.search(vectors[:1], 5, allowed=np.arange(1, 500, 2))
    assert index._among.costs is usual


def test_allowed_labels_are_those_that_the_mask_marks() -> None:
    for known in (np.arange(5, 25), np.arange(5, 45, 2), np.array([1, 2, 3, 90])):
        mask = np.arange(len(known)) % 3 == 0
        allowed = AllowedLabels(known, mask)
        assert len(allowed) == mask.sum()
        assert allowed.labels.tolist() == known[mask].tolist()
        wanted = np.array([[-(2**63), 0, 1, 2, 3, 5], [7, 8, 11, 24, 90, 2**63 - 1]])
        assert (allowed.among(wanted) == np.isin(wanted, known[mask])).all()
        assert (AllowedLabels(known).among(wanted) == np.isin(wanted, known)).all()
    nothing = AllowedLabels(np.empty(0, np.int64), np.empty(0, np.bool_))
    assert not len(nothing)
    assert not nothing.among(np.array([1, 2])).any()
