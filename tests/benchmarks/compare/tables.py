"""The results as tables: medians over the rounds, ratios within a round."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.compare.catalog import NAMES, OURS, REFERENCE
from tests.benchmarks.compare.dataset import SHARES
from tests.benchmarks.compare.knobs import TARGETS
from tests.benchmarks.compare.store import Result, Store

NONE = "–"
_SEARCHED = ("cpu", "recall")


@dataclass(frozen=True)
class Table:
    """A title, what a reader must know, column heads, and rows of text."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.head))]
        shown = ["  ".join(_cells(line, widths)).rstrip() for line in lines]
        return "\n".join([self.title, *([self.note] if self.note else []), "", *shown])

    def markdown(self) -> str:
        """For a file."""
        rule = "|".join(["---", *["---:"] * (len(self.head) - 1)])
        lines = [f"| {' | '.join(line)} |" for line in self.rows]
        return "\n".join([f"### {self.title}", "", *([self.note, ""] if self.note else []),
                          f"| {' | '.join(self.head)} |", f"|{rule}|", *lines])


def _cells(line: tuple[str, ...], widths: list[int]) -> list[str]:
    first, *rest = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separated, or a dash."""
    return NONE if value is None else f"{value:,.{digits}f}"


def times(value: float | None) -> str:
    """A ratio."""
    return NONE if value is None else f"{value:.2f}" if value < 9.995 else f"{value:,.0f}"


class Reader:
    """Medians and ratios of one data set."""

    def __init__(self, store: Store, data: str) -> None:
        self.store, self.data = store, data

    def rounds(self, kind: str, peer: str) -> list[Result]:
        """The rounds of a measurement."""
        return self.store.rounds(f"{self.data}/{kind}/{peer}")

    def median(self, kind: str, peer: str, value: Callable[[Result], float] | str) -> float | None:
        """The median over rounds."""
        read = value if callable(value) else lambda result: float(result[value])
        found = [read(result) for result in self.rounds(kind, peer) if result]  # a round may be empty: no filter
        return statistics.median(found) if found else None

    def ratio(self, kind: str, peer: str, other: str, value: str) -> float | None:
        """The median of the ratios to another peer in the same round."""
        pairs = zip(self.rounds(kind, peer), self.rounds(kind, other), strict=False)
        found = [a[value] / b[value] for a, b in pairs if b[value]]
        return statistics.median(found) if found else None

    def filtered(self, peer: str) -> list[tuple[str, float, float]]:
        """(share, CPU seconds, recall) under each filter; none of a peer that cannot filter."""
        found = []
        for share in map(str, SHARES):
            cpu, recall = (self.median("filter", peer, _under(share, key)) for key in ("cpu", "recall"))
            if cpu is not None and recall is not None:
                found.append((share, cpu, recall))
        return found

    def peers(self, kind: str) -> list[str]:
        """Who has results."""
        return [name for name in NAMES if self.rounds(kind, name)]


def per(value: float | None, count: int) -> float | None:
    """So many in a second."""
    return None if not value else count / value


def ingest(reader: Reader, count: int) -> Table:
    """Until it is found, and until the index is complete."""
    rows: list[tuple[str, ...]] = []
    for peer in reader.peers("ingest"):
        found = {key: reader.median("ingest", peer, key) for key in reader.rounds("ingest", peer)[0]}
        rows.append((
            peer,
            number(per(found["searchable_cpu"], count)),
            number(per(found["searchable_seconds"], count)),
            number(per(found["complete_cpu"], count)),
            number(per(found["complete_seconds"], count)),
            number(found["complete_seconds"], 1),
            times(reader.ratio("ingest", peer, OURS, "complete_cpu")),
            number((found["peak_memory"] or 0) / 1e6),
            times(reader.ratio("ingest", peer, REFERENCE, "peak_memory")),
            number((found["disk"] or 0) / 1e6),
        ))
    head = ("peer", "found: records / CPU s", "/ s wall", "indexed: records / CPU s", "/ s wall", "s wall",
            f"CPU, × {OURS}", "peak MB", f"× {REFERENCE}", "disk MB")
    note = ("Batches of 1,000. Found: all is durable and a search returns the last record; CPU of the whole process "
            "until then, also of threads that build the index beside. Indexed: the index is complete.")
    return Table("Ingest", note, head, rows)


def search(reader: Reader, target: str) -> Table:
    """One query a call, with document and metadata."""
    kind = f"search-{target}"
    rows: list[tuple[str, ...]] = []
    for peer in NAMES:
        chosen = reader.store.get(f"{reader.data}/knobs/{peer}")
        if chosen is None:
            continue
        point = chosen["points"].get(target)
        if point is None:
            best = chosen["best"]
            rows.append((peer, f"at most {best['recall']:.3f}", str(best["knob"]), *[NONE] * 5))
            continue
        cpu, p50, p99 = (reader.median(kind, peer, key) for key in ("cpu", "p50", "p99"))
        rows.append((
            peer,
            number(reader.median(kind, peer, "recall"), 3),
            NONE if point["knob"] is None else str(point["knob"]),
            number(None if cpu is None else cpu * 1e6),
            number(None if p50 is None else p50 * 1e6),
            number(None if p99 is None else p99 * 1e6),
            times(reader.ratio(kind, peer, REFERENCE, "cpu")),
            times(reader.ratio(kind, peer, OURS, "cpu")),
        ))
    head = ("peer", "recall@10", "setting", "CPU µs", "p50 µs", "p99 µs", f"CPU, × {REFERENCE}", f"CPU, × {OURS}")
    note = f"The cheapest setting with a recall@10 of {target}; k = 10, one query a call, one caller."
    return Table(f"Search with document and metadata at recall {target}", note, head, rows)


def threads(reader: Reader) -> Table:
    """Two callers against one."""
    rows: list[tuple[str, ...]] = []
    for peer in reader.peers("threads-2"):
        one, two = (reader.median(f"threads-{number}", peer, "rate") for number in (1, 2))
        pairs = zip(reader.rounds("threads-2", peer), reader.rounds("threads-1", peer), strict=False)
        gains = [a["rate"] / b["rate"] for a, b in pairs]
        rows.append((peer, number(one), number(two), times(statistics.median(gains) if gains else None)))
    note = "Queries a second of wall time, at the setting of recall 0.95 (or the most exact)."
    return Table("Two threads against one", note, ("peer", "one thread", "two threads", "gain"), rows)


def filtered(reader: Reader) -> Table:
    """Under the filter price < s."""
    rows: list[tuple[str, ...]] = []
    for peer in reader.peers("filter"):
        found = reader.filtered(peer)
        if found:
            rows.append((peer, *(text for _, cpu, recall in found for text in (number(cpu * 1e6), number(recall, 3)))))
    head = ("peer", *(text for share in SHARES for text in (f"{share * 100:g} %: CPU µs", "recall")))
    note = "`price < s`, with document and metadata, at the setting of recall 0.95 without a filter."
    return Table("Filtered search", note, head, rows)


def overview(reader: Reader, count: int) -> Table:
    """The figures that most want, one line a peer."""
    rows: list[tuple[str, ...]] = []
    for peer in reader.peers("ingest"):
        searches = [reader.median(f"search-{target}", peer, "cpu") for target in TARGETS]
        narrow, recall = (reader.median("filter", peer, _under("0.1", key)) for key in ("cpu", "recall"))
        memory, disk = reader.median("memory", peer, "memory"), reader.median("ingest", peer, "disk")
        rows.append((
            peer,
            number(per(reader.median("ingest", peer, "searchable_cpu"), count)),
            number(per(reader.median("ingest", peer, "complete_cpu"), count)),
            *(number(per(cpu, 1)) for cpu in searches),
            f"{number(per(narrow, 1))} / {number(recall, 2)}" if narrow else NONE,
            number(reader.median("first", peer, "seconds"), 2),
            number(memory and memory / 1e6),
            number(disk and disk / 1e6),
        ))
    head = ("peer", "found / CPU s", "indexed / CPU s", *(f"queries / CPU s at {target}" for target in TARGETS),
            "filtered to 10 % / recall", "first result s", "memory MB", "disk MB")
    return Table("At a glance", "Per CPU second of the process; the tables below tell more.", head, rows)


def _under(share: str, key: str) -> Callable[[Result], float]:
    return lambda result: float(result[share][key])


def opening(reader: Reader) -> Table:
    """The first answer, and the memory of an open collection."""
    rows: list[tuple[str, ...]] = []
    for peer in reader.peers("first"):
        memory = reader.median("memory", peer, "memory")
        imported = reader.median("first", peer, lambda result: result["seconds"] + result["import_seconds"])
        rows.append((
            peer,
            number(reader.median("first", peer, "seconds"), 3),
            number(reader.median("first", peer, "cpu"), 3),
            number(imported, 3),
            number(None if memory is None else memory / 1e6),
            times(reader.ratio("memory", peer, REFERENCE, "memory")),
        ))
    head = ("peer", "first result s", "CPU s", "with import s", "memory MB", f"× {REFERENCE}")
    note = "A new process, files in the page cache. Memory: growth by opening and 50 queries, libraries loaded before."
    return Table("Open to the first result, and memory", note, head, rows)


def growth(store: Store, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """vecdb at each size that was measured: one ingest, medians of the rest."""
    points = []
    for size in sizes:
        found = {kind: store.rounds(f"curve/{size}/{kind}") for kind in ("ingest", "first", "memory", "search")}
        if all(found.values()):
            searches = {
                setting: {key: statistics.median(one[setting][key] for one in found["search"]) for key in _SEARCHED}
                for setting in ("default", "0.95")
            }
            memory = statistics.median(result["memory"] for result in found["memory"])
            first = statistics.median(result["seconds"] for result in found["first"])
            points.append({
                "size": size, "ingest": found["ingest"][0], "search": searches, "memory": memory, "first": first,
            })
    return points


def curve(points: list[dict[str, Any]]) -> Table:
    """vecdb as it grows: what `growth` found."""
    rows: list[tuple[str, ...]] = []
    for point in points:
        size, made, searches = point["size"], point["ingest"], point["search"]
        rows.append((
            f"{size:,}",
            number(per(made["searchable_cpu"], size)),
            number(per(made["complete_cpu"], size)),
            number(made["complete_seconds"], 1),
            number(searches["default"]["cpu"] * 1e6),
            number(searches["default"]["recall"], 3),
            number(searches["0.95"]["cpu"] * 1e6),
            number(point["memory"] / 1e6),
            number(made["peak_memory"] / 1e6),
            number(point["first"], 3),
            number(made["disk"] / 1e6),
        ))
    head = ("records", "found: / CPU s", "indexed: / CPU s", "s wall", "search CPU µs", "recall", "at 0.95: CPU µs",
            "memory MB", "peak MB", "first result s", "disk MB")
    note = "100 dimensions; searches without a setting, and at the cheapest one with a recall of 0.95."
    return Table("vecdb as it grows", note, head, rows)


def skipped(store: Store) -> Table:
    """What failed, and why."""
    # A message may name folders of this machine or of another's build.
    rows: list[tuple[str, ...]] = [(name, re.sub(r"/\S+/", "…/", reason)) for name, reason in store.errors().items()]
    return Table("Skipped", "", ("what", "why"), rows)


def all_tables(store: Store, data: str, count: int) -> list[Table]:
    """The tables of one data set."""
    reader = Reader(store, data)
    made = [
        overview(reader, count), ingest(reader, count), *(search(reader, target) for target in TARGETS),
        threads(reader), filtered(reader), opening(reader),
    ]
    return [table for table in made if table.rows]
