"""SVG plots, where matplotlib is: `python -m tests.benchmarks.compare.plots NUMBERS FOLDER` prints the file names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS, REFERENCE = "#c0392b", "#7f8c8d", "#2c3e50"
_RED = 3  # of the usual ten colours the one that looks like OURS
RECALL_FLOOR = 0.95  # a filtered search below is drawn hollow: fast, but not an answer


def _save(figure: Any, folder: Path, name: str) -> None:
    figure.tight_layout()
    figure.savefig(folder / name, metadata={"Date": None})  # the same numbers give the same file
    plt.close(figure)
    print(name)


def _color(peer: str, numbers: dict[str, Any]) -> str:
    return OURS if peer == numbers["ours"] else REFERENCE if peer == numbers["order"][0] else OTHERS


def _bars(axes: Any, values: dict[str, float | None], numbers: dict[str, Any], title: str, form: str) -> None:
    """One bar a peer, on a logarithmic scale: the peers lie far apart."""
    shown = {peer: value for peer, value in values.items() if value}
    places = range(len(shown))
    axes.barh(places, list(shown.values()), color=[_color(peer, numbers) for peer in shown])
    axes.set_yticks(places, list(shown))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(shown.values(), default=1) / 2, max(shown.values(), default=1) * 4)
    for place, value in zip(places, shown.values(), strict=True):
        axes.text(value, place, f" {value:{form}}", va="center", fontsize=8)
    axes.set_title(title, fontsize=10)


def dataset(name: str, found: dict[str, Any], numbers: dict[str, Any], folder: Path) -> None:
    """Search, ingest and filters of one data set."""
    figure, axes = plt.subplots(1, len(found["search"]) + 1, figsize=(13, 3.6))
    for place, (target, cpu) in zip(axes, found["search"].items(), strict=False):
        values = {peer: value and value * 1e6 for peer, value in cpu.items()}
        _bars(place, values, numbers, f"µs of CPU a query, recall {target}", ",.0f")
    rates = {peer: value and found["count"] / value for peer, value in found["ingest"].items()}
    _bars(axes[-1], rates, numbers, "records indexed per CPU second", ",.0f")
    _save(figure, folder, f"{name}-search-and-ingest.svg")
    figure, axis = plt.subplots(figsize=(8, 4))
    others = (color for place, color in enumerate(mpl.colormaps["tab10"].colors) if place != _RED)
    for peer, points in found["filter"].items():
        if not points:
            continue  # it cannot filter
        shares = [float(share) * 100 for share, _, _ in points]
        costs = [cpu * 1e6 for _, cpu, _ in points]
        ours = peer == numbers["ours"]
        color = OURS if ours else mpl.colors.to_hex(next(others))
        axis.plot(shares, costs, label=peer, color=color, linewidth=2.5 if ours else 1.2)
        for share, cost, (_, _, recall) in zip(shares, costs, points, strict=True):
            fill = color if recall >= RECALL_FLOOR else "white"
            axis.plot(share, cost, "o", markersize=6, markeredgecolor=color, markerfacecolor=fill)
    axis.set(xscale="log", yscale="log", xlabel="% of the records that pass the filter", ylabel="µs of CPU a query")
    axis.set_title(f"filtered search (hollow: recall below {RECALL_FLOOR})", fontsize=10)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, folder, f"{name}-filter.svg")


def curve(points: list[dict[str, Any]], folder: Path) -> None:
    """vecdb as it grows."""
    sizes = [point["size"] for point in points]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))

    def draw(axis: Any, title: str, lines: dict[str, list[float]]) -> None:
        for (label, values), style in zip(lines.items(), ("o-", "o--"), strict=False):
            axis.plot(sizes, values, style, color=OURS, label=label)
        axis.set(xscale="log", xlabel="records")
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=10)
        axis.legend(fontsize=8)

    def rates(key: str) -> list[float]:
        return [size / point["ingest"][key] for size, point in zip(sizes, points, strict=True)]

    def costs(setting: str) -> list[float]:
        return [point["search"][setting]["cpu"] * 1e6 for point in points]

    draw(axes[0], "records per CPU second", {"found": rates("searchable_cpu"), "indexed": rates("complete_cpu")})
    draw(axes[1], "µs of CPU a query", {"recall 0.95": costs("0.95"), "no setting": costs("default")})
    draw(axes[2], "MB of memory", {
        "open": [point["memory"] / 1e6 for point in points],
        "peak of ingest": [point["ingest"]["peak_memory"] / 1e6 for point in points],
    })
    _save(figure, folder, "curve.svg")


def main(source: Path, folder: Path) -> None:
    """Draw what there is."""
    mpl.rcParams["svg.hashsalt"] = "vecdb"
    numbers = json.loads(source.read_text("utf-8"))
    for name, found in numbers["data"].items():
        dataset(name, found, numbers, folder)
    if numbers["curve"]:
        curve(numbers["curve"], folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
