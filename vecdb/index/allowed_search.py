"""Searching a graph among the labels that a filter admits, in the cheaper of two ways.

Each of them is compared, which is exact; or the graph is asked for more than k, what the filter forbids is dropped,
and it is asked for more again until k are left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from vecdb.index.costs import SearchCosts, Try
from vecdb.index.labels import AllowedLabels, LabelSet
from vecdb.index.scan import Found, no_neighbours
from vecdb.types import Labels, Vector

_OVERFETCH = 2
_LONGER = 1.2  # times ef and the square root: see `_first_fetch`
_WIDEN = 4
_MEASURED_AFTER = 3  # searches that had the choice; measuring takes as long as some tens of them
_TRIED_ON = 8  # queries
_FEW_VECTORS, _MANY_VECTORS = 256, 4096
_FEW_RESULTS, _MANY_RESULTS = 64, 512
_K = 10


class Ways(NamedTuple):
    """What a graph index can do; made for one search, so that it keeps no index.

    Attributes:
        labels: of the index.
        scan: the k nearest of each query among live labels, exactly.
        from_graph: the k nearest of each query, by the graph with a candidate list of this length.
        vectors: gives the vectors of live labels.
        are_scans_ready: whether scans are as fast as they will be.
    """

    labels: LabelSet
    scan: Callable[[Vector, int, Labels], Found]
    from_graph: Callable[[Vector, int, int], Found]
    vectors: Callable[[Labels], Vector]
    are_scans_ready: bool


class AllowedSearch:
    """Safe to use from several threads."""

    def __init__(self, dimension: int) -> None:
        self.costs = SearchCosts.usual(dimension)
        self._choices = 0

    def search(self, ways: Ways, queries: Vector, k: int, *, ef: int, allowed: AllowedLabels) -> Found:
        """The nearest allowed vectors of each query, always min(k, number that can match)."""
        labels = ways.labels
        k = min(k, len(labels), len(allowed))
        if not k:
            return no_neighbours(len(queries))
        self._measure(ways)
        matching: Labels | None = None
        found, distances = no_neighbours(len(queries), k)
        pending = np.arange(len(queries))  # the queries that have no answer yet
        fetch = _first_fetch(len(labels), len(allowed), k, ef)
        while pending.size:
            most = len(allowed) if matching is None else len(matching)
            if self._is_scan_cheaper(len(labels), most, k, fetch):
                if matching is None:
                    matching = labels.live_among(allowed)
                width = min(k, len(matching))
                if len(pending) == len(queries):
                    return ways.scan(queries, width, matching)
                found, distances = found[:, :width], distances[:, :width]
                found[pending], distances[pending] = ways.scan(queries[pending], k, matching)
                break
            answered = []
            candidates, lengths = ways.from_graph(np.ascontiguousarray(queries[pending]), fetch, fetch)
            fits = allowed.among(candidates)
            for row, place in enumerate(pending):
                chosen = np.flatnonzero(fits[row])[:k]
                if len(chosen) == k:
                    found[place], distances[place] = candidates[row, chosen], lengths[row, chosen]
                    answered.append(row)
            pending = np.delete(pending, answered)
            if matching is None and pending.size:
                matching = labels.live_among(allowed)
            fetch *= _WIDEN
        return found, distances

    def scans(self, count: int, allowed: int, k: int, ef: int) -> bool:
        """Whether a search with so many allowed labels of `count` compares each of them, and does not ask the graph."""
        return not allowed or self._is_scan_cheaper(count, allowed, k, _first_fetch(count, allowed, k, ef))

    def estimates(self, count: int, allowed: int, k: int, ef: int) -> tuple[float, float]:
        """Seconds of a search of one query among so many labels of `count`, by comparing them, and by the graph."""
        fetch = min(_first_fetch(count, max(allowed, 1), k, ef), count)
        return self.costs.scan.at(allowed), self.costs.graph.at(fetch)

    def _is_scan_cheaper(self, count: int, allowed: int, k: int, fetch: int) -> bool:
        if fetch > count // 2 or allowed <= 2 * k:
            return True
        return self.costs.scan.at(allowed) <= self.costs.graph.at(fetch)

    def _measure(self, ways: Ways) -> None:
        """Find out, once, what either way costs here. A process that searches once or twice need not know."""
        if self._choices == _MEASURED_AFTER or len(ways.labels) < 2 * _MANY_VECTORS or not ways.are_scans_ready:
            return
        self._choices += 1
        if self._choices < _MEASURED_AFTER:
            return
        live = ways.labels.live
        queries = ways.vectors(live[:: len(live) // _TRIED_ON][:_TRIED_ON])

        def comparing(count: int) -> Try:
            some = live[:: len(live) // count][:count]
            return Try(count, [partial(ways.scan, queries[i : i + 1], _K, some) for i in range(_TRIED_ON)])

        def fetching(count: int) -> Try:
            return Try(count, [partial(ways.from_graph, queries[i : i + 1], count, count) for i in range(_TRIED_ON)])

        self.costs = SearchCosts.measured(
            (comparing(_FEW_VECTORS), comparing(_MANY_VECTORS)), (fetching(_FEW_RESULTS), fetching(_MANY_RESULTS))
        )


def _first_fetch(count: int, allowed: int, k: int, ef: int) -> int:
    """How many results to ask of the graph, so that the first k allowed have the recall of an unfiltered search.

    The k-th allowed one is further down, where a list of the same length finds less. Measured on 340,000 word and
    100,000 sentence vectors, with half to 3 % allowed: a list longer by the square root of that keeps the recall.
    """
    rarity = max(count / allowed, 1.0)
    return max(int(_OVERFETCH * k * rarity), int(_LONGER * ef * math.sqrt(rarity)))
