"""A fixed number of records under endless churn: nothing may grow, and nothing may become slower or worse."""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from tests.storage.embedders import Counting, plugins_for_tests
from tests.torture.campaign import Campaign, Outcome, Run
from vecdb.storage import changes, embedding_cache, engine, writes

_DIMENSION = 16
_LIVE = 2_000
_TEXTS = 500
_WINDOWS = 24
_WARM_UP = 6  # windows that do not count
_QUERIES = 40
# Limits that are too high to be reached in minutes are lowered: what lies behind them is to be seen.
_LOWERED = (
    (embedding_cache, "KEPT", 100),
    (writes, "_KEPT_REMOVALS", 1_000),
    (changes, "_KEPT_CHANGES", 1_000),
    (engine, "CHECKPOINT_BYTES", 4 << 20),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured at the end of each window.

    Attributes:
        of: what is compared of the windows of a half.
        factor, more: the second half may have so many times what the first half has, and so much more.
    """

    name: str
    of: Callable[[list[float]], float]
    factor: float
    more: float = 0.0

    def growth(self, first: list[float], second: list[float]) -> str:
        """In words, if it has grown."""
        before, now = self.of(first), self.of(second)
        most = before * self.factor + self.more
        return f"{self.name} grew from {before:,.6g} to {now:,.6g} (allowed: {most:,.6g})" if now > most else ""


FIGURES = (
    Figure("memory (MB)", statistics.median, 1.03, 3),  # anonymous pages; an allocator does not give all back
    Figure("descriptors", max, 1, 1),
    Figure("threads", max, 1, 1),
    Figure("log (MB)", max, 1.5, 1),
    Figure("files", max, 1, 1),  # of an index, one more for a moment
    Figure("database (MB)", max, 1.1, 0.5),
    Figure("index (MB)", max, 1.3, 0.5),
    Figure("nodes of the graph", max, 1.2, 100),
    Figure("removals", max, 1.2, 500),
    Figure("remembered vectors", max, 1.02, 20),
    Figure("failures", max, 1, 5),
    Figure("missed of 10 (%)", statistics.mean, 1.5, 1.0),
    Figure("search (ms of CPU)", statistics.median, 1.5, 0.05),
)


def run(run: Run) -> Outcome:
    """Churn for so many seconds, and compare the second half with the first."""
    if sys.platform != "linux":
        return Outcome(skipped="it reads /proc, as on Linux")
    with _lowered(), Churn(run) as churn:
        windows = []
        for number in range(_WINDOWS):
            churn.go_on(run.count / _WINDOWS)
            windows.append(churn.measure())
            shown = ", ".join(f"{value:.4g} {name}" for name, value in windows[-1].items())
            run.say(f"window {number + 1} of {_WINDOWS}, {churn.turns} turns: {shown}")
        failures = grown(windows) + churn.problems()
    last = {figure.name: round(windows[-1][figure.name], 3) for figure in FIGURES}
    return Outcome({"turns": churn.turns, "calls": churn.calls, **last}, tuple(failures))


def grown(windows: list[dict[str, float]]) -> list[str]:
    """Which figures grew, after the warm-up, from the first half of the windows to the second."""
    counted = windows[_WARM_UP:]
    first, second = counted[: len(counted) // 2], counted[len(counted) // 2 :]
    told = [figure.growth([w[figure.name] for w in first], [w[figure.name] for w in second]) for figure in FIGURES]
    return [line for line in told if line]


@contextlib.contextmanager
def _lowered() -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name, _ in _LOWERED]
    try:
        for module, name, value in _LOWERED:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class Churn:
    """A database, and what goes on with it."""

    def __init__(self, run: Run) -> None:
        self._chance = random.Random(run.seed)
        self._numbers = np.random.default_rng(run.seed)
        self._folder = run.scratch / "soak.vecdb"
        self._database = self._open()
        self._graph = self._database.create_collection("graph", dimension=_DIMENSION, metric="l2", index="hnsw")
        self._texts = self._database.create_collection("texts", embedder="counting", index="hnsw")
        self._ids = [f"r{n}" for n in range(_LIVE)]
        self._rows = dict(zip(self._ids, self._vectors(_LIVE), strict=True))
        self._graph.add([None] * _LIVE, ids=self._ids, vectors=list(self._rows.values()))
        self._written = 0
        self._texts.add([self._text() for _ in range(_TEXTS)], ids=[f"t{n}" for n in range(_TEXTS)])
        self._reading: Iterator[vecdb.Record] = iter(self._graph)
        self.turns = self.calls = 0

    def __enter__(self) -> Churn:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    def _open(self, **options: Any) -> vecdb.Database:
        return vecdb.open(self._folder, plugins=plugins_for_tests(), durability="normal", **options)

    def _vectors(self, count: int) -> np.ndarray:
        return self._numbers.standard_normal((count, _DIMENSION)).astype(np.float32)

    def _text(self) -> str:
        self._written += 1
        return f"text number {self._written}"

    # --- churn ---

    def go_on(self, seconds: float) -> None:
        """One turn after the other."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turns += 1
            for number, act in enumerate(_ACTS):
                every = _ACTS[act]
                if (self.turns + number) % every == 0:
                    act(self)
                    self.calls += 1
            Counting.seen.clear()

    def replace_vectors(self) -> None:
        """Some are deleted and added again with another vector, which makes them the newest."""
        ids = self._chance.sample(self._ids, 20)
        self._graph.delete(ids)
        rows = self._vectors(len(ids))
        self._graph.add([None] * len(ids), ids=ids, vectors=rows, metadata=[{"turn": self.turns % 10}] * len(ids))
        self._rows.update(zip(ids, rows, strict=True))

    def upsert_vectors(self) -> None:
        ids = self._chance.sample(self._ids, 10)
        rows = self._vectors(len(ids))
        self._graph.upsert([None] * len(ids), ids=ids, vectors=rows)
        self._rows.update(zip(ids, rows, strict=True))

    def replace_texts(self) -> None:
        ids = [f"t{self._chance.randrange(_TEXTS)}", "t passing"]
        self._texts.upsert([self._text(), self._text()], ids=ids)
        self._texts.update_metadata(ids[0], {"turn": self.turns})
        self._texts.delete(["t passing"])

    def search(self) -> None:
        self._graph.search(self._vectors(1)[0], k=10)
        self._graph.search(self._vectors(1)[0], k=10, where={"turn": {"$lt": 3}})
        self._graph.search_batch(list(self._vectors(5)), k=100)
        self._texts.search(f"text number {self._written}", k=5)

    def fail(self) -> None:
        """Queries and writes that are refused, and records that are set aside and given up."""
        refused = (
            (vecdb.DimensionMismatchError, lambda: self._graph.search([1.0] * (_DIMENSION + 1))),
            (vecdb.DimensionMismatchError, lambda: self._graph.search_batch([np.ones(3, np.float32)] * 20)),
            (vecdb.NonFiniteVectorError, lambda: self._graph.search([float("nan")] * _DIMENSION)),
            (vecdb.FilterError, lambda: self._graph.search(self._vectors(1)[0], where={"a": {"$no": 1}})),
            (vecdb.DimensionMismatchError, lambda: self._graph.add([None], vectors=[[1.0]])),
            (vecdb.DuplicateIdError, lambda: self._graph.add([None], ids=["r0"], vectors=self._vectors(1))),
            (vecdb.EmbeddingError, lambda: self._texts.add([f"unreadable {self.turns}"])),
        )
        for kind, call in refused:
            with contextlib.suppress(kind):
                call()
                raise AssertionError(f"a call that should raise {kind.__name__} returned")
        self._texts.ingest([vecdb.Record("t bad", f"unreadable {self.turns}")], on_error="quarantine")
        self._texts.delete(["t bad"])

    def read_slowly(self) -> None:
        """An iteration that is always under way."""
        for _ in range(25):
            if next(self._reading, None) is None:
                self._reading = iter(self._graph)

    def in_a_thread(self) -> None:
        """A thread comes, uses the database and goes."""
        thread = threading.Thread(target=self.search)
        thread.start()
        thread.join()

    def open_another(self) -> None:
        with self._open() as database:
            database.collection("graph").search(self._vectors(1)[0])
            database.collection("texts").upsert([self._text()], ids=["t0"])
        with self._open(read_only=True) as database:
            database.collection("texts").search("text number 1")

    def optimize(self) -> None:
        self._graph.optimize()
        self._texts.optimize()

    def reindex(self) -> None:
        self._graph.reindex()

    def make_and_drop(self) -> None:
        passing = self._database.create_collection("passing", dimension=4, index="hnsw")
        passing.add([None] * 20, vectors=self._numbers.standard_normal((20, 4)))
        passing.optimize()
        self._database.delete_collection("passing")

    # --- measuring ---

    def measure(self) -> dict[str, float]:
        """All figures, now."""
        index = list((self._folder / "index").iterdir())
        with self._database._engine.snapshot() as snapshot:
            rows = {
                name: snapshot.rows(f"SELECT count(*) FROM {table}")[0][0]
                for name, table in (
                    ("removals", "removals"),
                    ("remembered vectors", "embedding_cache"),
                    ("failures", "failures"),
                )
            }
        graph = self._graph._space("default").index.graph
        figures = {
            "memory (MB)": _anonymous_memory() / 2**20,
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "threads": len(list(Path("/proc/self/task").iterdir())),
            "log (MB)": _size(self._folder / "vecdb.sqlite3-wal") / 2**20,
            "files": len(index) + len(list(self._folder.iterdir())),
            "database (MB)": _size(self._folder / "vecdb.sqlite3") / 2**20,
            "index (MB)": sum(map(_size, index)) / 2**20,
            "nodes of the graph": graph.nodes if graph is not None else 0,
            **rows,
        }
        self._graph.optimize()  # or what a search costs would depend on when it was done last
        missed, milliseconds = self._searched()
        return {**figures, "missed of 10 (%)": missed, "search (ms of CPU)": milliseconds}

    def _searched(self) -> tuple[float, float]:
        """Per cent of the ten nearest that the graph does not find, and what a search costs."""
        ids, rows = list(self._rows), np.stack(list(self._rows.values()))
        missed, times = 0, []
        for query in self._vectors(_QUERIES):
            begin = time.thread_time()
            hits = self._graph.search(query, k=10)
            times.append(time.thread_time() - begin)
            nearest = np.argsort(((rows - query) ** 2).sum(axis=1))[:10]
            missed += len({ids[place] for place in nearest} - {hit.id for hit in hits})
        return 100 * missed / (10 * _QUERIES), 1000 * statistics.median(times)

    def problems(self) -> list[str]:
        """What is wrong at the end."""
        problems = [f"check: {one.where}: {one.what}" for one in self._database.check()]
        held = {record.id: record.vectors for record in self._graph}
        if held.keys() != self._rows.keys() or any((held[id] != row).any() for id, row in self._rows.items()):
            problems.append("the records of the graph are not those that were written")
        if len(self._texts) != _TEXTS:
            problems.append(f"there are {len(self._texts)} texts, not {_TEXTS}")
        return problems


# What is done, and every how many turns.
_ACTS: dict[Callable[[Churn], None], int] = {
    Churn.replace_vectors: 1,
    Churn.upsert_vectors: 1,
    Churn.replace_texts: 1,
    Churn.search: 1,
    Churn.fail: 2,
    Churn.read_slowly: 1,
    Churn.in_a_thread: 5,
    Churn.open_another: 20,
    Churn.optimize: 40,
    Churn.make_and_drop: 60,
    Churn.reindex: 150,
}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _anonymous_memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


CAMPAIGN = Campaign(
    name="soak",
    summary="a fixed number of records under endless churn: memory, files, recall and latency stay as they are",
    unit="seconds",
    short=120,
    long=7_200,
    run=run,
)
