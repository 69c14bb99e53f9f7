"""The cheapest setting of a peer that reaches a recall, against exact answers."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.compare.client import Client
from tests.benchmarks.compare.store import Result

TARGETS = ("0.95", "0.99")
SECONDS = 3.0  # that one try may take, about
QUERIES = (30, 1000)
CLOSE = 1.04  # two settings so near to one another that no one lies between


def choose(client: Client) -> Result:
    """For each target the smallest knob that reaches it; `best` is the most exact one that was tried.

    A larger knob is slower and more exact with every peer: the smallest that is enough is the cheapest.
    """
    knob = client.about["knob"]
    smallest, largest = knob if knob else (None, None)
    mean = client.call("search", queries=20, knob=smallest)["mean"]
    queries = int(min(QUERIES[1], max(QUERIES[0], SECONDS / mean)))
    tried: dict[int, float] = {}

    def recall(setting: Any) -> float:
        if setting not in tried:
            tried[setting] = client.call("search", queries=queries, knob=setting)["recall"]
        return tried[setting]

    if smallest is None or largest is None:
        point = {"knob": None, "recall": recall(None)}
        return {"queries": queries, "points": dict.fromkeys(TARGETS, point), "best": point, "tried": []}
    setting = smallest
    while recall(setting) < float(TARGETS[-1]) and setting < largest:
        setting = min(largest, 2 * setting)
    points = {}
    for target in TARGETS:
        enough = [setting for setting in sorted(tried) if tried[setting] >= float(target)]
        if not enough:
            continue
        high = enough[0]
        low = max((setting for setting in tried if setting < high), default=high)
        while high - low > 1 and high / low > CLOSE:
            middle = (low + high) // 2
            if recall(middle) >= float(target):
                high = middle
            else:
                low = middle
        points[target] = {"knob": high, "recall": tried[high]}
    best = max(tried, key=lambda setting: (tried[setting], -setting))
    return {
        "queries": queries,
        "points": points,
        "best": {"knob": best, "recall": tried[best]},
        "tried": sorted(tried.items()),
    }
