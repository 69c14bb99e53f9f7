"""Choosing how to search, and searching.

What is cheapest depends on how many vectors a filter admits. Comparing the few allowed ones is exact
and fast; with many allowed, the graph finds more than k and what the filter forbids is dropped, and
more until k are found. The index draws that line, whose costs it knows; here it is decided
whether the graph is asked at all, and the answers of graph and exact tail become one.
"""

from __future__ import annotations

from vecdb.index.base import IndexParts
from vecdb.index.labels import AllowedLabels
from vecdb.index.scan import Found, merge_nearest
from vecdb.sync import EXACT_UNTIL
from vecdb.types import SearchPlan, Vector


def plan_search(
    parts: IndexParts, k: int, *, allowed: int | None, ef: int | None, exact: bool
) -> SearchPlan:
    """How a search over these indexes is done, and why.

    Args:
        parts: the indexes of the space.
        k: hits wanted.
        allowed: number of vectors that the filter admits; None without a filter.
        ef: the caller's wish, or None for the space's default.
        exact: the caller wants the exact answer.
    """
    graph = parts.approximate
    indexed = len(graph) if graph is not None else 0
    vectors = sum(map(len, parts.all))
    if graph is None:
        few = vectors <= EXACT_UNTIL
        why = "brute force is as fast for so few" if few else "there is no graph, or it is still being built"
        strategy, reason = "exact", f"{vectors:,} vectors are compared: {why}"
    elif exact:
        strategy, reason = "exact", "exact=True was asked for"
    elif allowed is not None and graph.scans(allowed, k, ef):
        strategy, reason = "exact", f"the filter admits {allowed:,} vectors: comparing each is cheaper than the graph"
    elif allowed is not None:
        strategy, reason = "graph", f"the filter admits {allowed:,} vectors: the graph finds more, the rest is dropped"
    else:
        strategy, reason = "graph", f"{indexed:,} vectors are in the graph"
    estimates = {}
    if graph is not None and allowed:
        estimates = dict(zip(("exact", "graph"), graph.estimates(allowed, k, ef), strict=True))
    return SearchPlan(
        strategy="graph" if strategy == "graph" else "exact",
        reason=reason,
        vectors=vectors,
        indexed=indexed,
        allowed=allowed,
        k=k,
        ef=max(ef or graph.ef, k) if strategy == "graph" and graph is not None else None,
        estimates=estimates,
    )


def nearest_labels(
    parts: IndexParts, queries: Vector, k: int, *, allowed: AllowedLabels | None, ef: int | None, exact: bool
) -> Found:
    """The k nearest labels of each query over all parts, sorted by (distance, label), each once.

    More than k columns come back only where a tie at the k-th distance would be cut; then the tie is
    whole, so that the caller can break it by insertion order.
    """
    wanted = k + 1
    while True:
        labels, distances = _search(parts, queries, wanted, allowed=allowed, ef=ef, exact=exact)
        if labels.shape[1] <= k:
            return labels, distances
        last, beyond = distances[:, k - 1], distances[:, k]
        if (last[0] != beyond[0]) if len(last) == 1 else (last != beyond).all():
            return labels[:, :k], distances[:, :k]
        if labels.shape[1] < wanted or (last != distances[:, -1]).all():
            return labels, distances
        wanted *= 2


def _search(
    parts: IndexParts, queries: Vector, k: int, *, allowed: AllowedLabels | None, ef: int | None, exact: bool
) -> Found:
    graph = parts.approximate
    found = []
    if graph is not None and exact:
        found.append(graph.search_exactly(queries, k, allowed=allowed))
    elif graph is not None:
        found.append(graph.search(queries, k, allowed=allowed, ef=ef))
    rest = parts.exact
    if rest and found and len(queries) == 1 and found[0][0].shape[1] == k:
        last = float(found[0][1][0, -1])
        rest = [part for part in rest if not part.are_beyond(queries[0], last)]
    found += [part.search(queries, k, allowed=allowed) for part in rest]
    return found[0] if len(found) == 1 else merge_nearest(found, k)
