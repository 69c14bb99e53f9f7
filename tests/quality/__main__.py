"""Measures every embedder on real weights and labelled data, and prints one table.

    python -m tests.quality [FAMILY …] [--format table|json]

The table is Markdown; that of all families is kept in RESULTS.md beside this file.

Families: words, tables, static, use, sentences, onnx, images, audio, which is the default, and training (20 minutes).
What is neither beside the checkout nor to be had from a package index is left out, with its reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Iterable

from tests.quality.figures import Figure
from tests.quality.weights import WeightsUnavailableError

FAMILIES = ("words", "tables", "static", "use", "sentences", "onnx", "images", "audio")
SLOW = ("training",)


def measure(families: list[str]) -> list[Figure]:
    """All figures of these families, in order; progress and what is left out goes to standard error."""
    found: list[Figure] = []
    for family in families:
        for part in importlib.import_module(f"tests.quality.{family}").PARTS:
            print(f"{family}: {part.__name__} …", file=sys.stderr, flush=True)
            try:
                found += part()
            except (WeightsUnavailableError, ImportError) as error:
                print(f"  left out: {error}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join((*FAMILIES, *SLOW)))
    parser.add_argument("--format", choices=("table", "json"), default="table")
    options = parser.parse_args()
    unknown = set(options.families) - {*FAMILIES, *SLOW}
    if unknown:
        parser.error(f"no such family: {', '.join(sorted(unknown))}")
    figures = measure(options.families or list(FAMILIES))
    if options.format == "json":
        print(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=1))
        return
    names = ("embedder", "model", "data", "metric", "figure", "reference", "random")
    print(row(names), row(["---"] * 4 + ["---:"] * 3), sep="\n")
    for figure in figures:
        print(row(shown(getattr(figure, name)) for name in names))


def row(cells: Iterable[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def shown(value: str | float | None) -> str:
    """A cell; a figure with three decimals."""
    return "–" if value is None else value if isinstance(value, str) else f"{value:.3f}"


if __name__ == "__main__":
    main()
