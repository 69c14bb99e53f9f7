"""What a child does with a damaged database, and the judgement: it may refuse, warn or report, never err in silence."""

from __future__ import annotations

import json
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from tests.storage.filter_oracle import matches
from tests.torture.damage_bases import CACHED, DIMENSION, WORDS
from tests.torture.damage_files import Damage
from tests.torture.damage_state import (
    Answer,
    Collected,
    Kept,
    State,
    alike,
    answered,
    as_failure,
    as_json,
    collected,
    described,
    embedded,
    kept,
    nearest,
    state_of,
)

QUERIES = np.random.default_rng(99).standard_normal((2, DIMENSION)).astype(np.float32)
FILTERS = ({"year": {"$gte": 2000}}, {"author.name": WORDS[1]}, {"$not": {"even": True}})
K = 10
_EXCERPT = 300


@dataclass(slots=True)
class Verdict:
    """What a visit saw.

    Attributes:
        outcome: "harmless", "refused" (it does not open), "found" (a warning, an error, or a problem that
            `check` reports), "mended" (found, and all is well after `check(fix=True)`).
        failures: (what kind, what exactly) of each broken promise.
    """

    outcome: str = "harmless"
    failures: list[tuple[str, str]] = field(default_factory=list)


class Visit:
    """Opens a damaged database, asks it everything, mends it, and asks again.

    Args:
        folder: the database.
        state: what it held.
        damage: what was done to it.
        plugins: where embedders come from.
    """

    def __init__(self, folder: Path, state: State, damage: Damage, plugins: vecdb.Plugins) -> None:
        self._folder = folder
        self._state = state
        self._damage = damage
        self._plugins = plugins
        self._wrong: list[str] = []  # answers that were wrong, without a warning
        self._rebuilt = 0
        self._noticed: list[str] = []  # errors, warnings and reports
        self.verdict = Verdict()

    def run(self) -> Verdict:
        database = self._attempt("open", self._open)
        if database is None:
            self._settle_refusal()
            return self.verdict
        try:
            self._visit(database)
        finally:
            self._attempt("close", database.close)
        return self.verdict

    def _open(self) -> vecdb.Database:
        return vecdb.open(self._folder, plugins=self._plugins, timeout=5)

    def _settle_refusal(self) -> None:
        self.verdict.outcome = "refused"
        if self._damage.family in ("index", "shared memory") and not self._damage.replaced:
            self._fail("does not open", self._noticed[-1])

    def _visit(self, database: vecdb.Database) -> None:
        state = self._accepted(database)
        self._ask_all(database, state)
        if self._damage.family == "index":
            self._attempt("optimize", lambda: [database.collection(name).optimize() for name in state])
        report = self._check(database)
        if self._damage.family in ("index", "shared memory", "log"):
            self._judge_strictly(report, state)
        elif self._wrong and report is not None and not list(report):
            self._fail("silently wrong", "; ".join(self._wrong[:3]))
        well = self._mend(database)
        if not well and self._damage.family == "index":
            self._fail("cannot be mended", "; ".join(self._noticed[-2:]))
        if self._noticed:
            self.verdict.outcome = "mended" if well else "found"
        if well and not self.verdict.failures:
            self._after(database, state)

    def _judge_strictly(self, report: vecdb.CheckReport | None, state: State) -> None:
        """For what may be lost without any loss: index files, shared memory, and the end of the log."""
        if self._wrong:
            self._fail("wrong", "; ".join(self._wrong[:3]))
        # A generation that is kept back may be the damaged one: that is worth a word, and `fix` takes it away.
        ours = [] if report is None else [problem for problem in report if problem.where != "index files"]
        if report is None or ours or (list(report) and self._damage.family != "index"):
            self._fail("check is not well", str(report and [problem.what for problem in report]))
        spaces = sum(len(found.spaces) for found in state.values())
        if self._rebuilt > (spaces if self._damage.family == "index" else 0):
            self._fail("too many warnings of rebuilding", f"{self._rebuilt}: {self._noticed}")
        said = [text for text in self._noticed if "IndexRebuiltWarning" not in text and not text.startswith("check: ")]
        if said and not self._damage.replaced:
            self._fail("not unnoticed", "; ".join(said[:3]))

    def _check(self, database: vecdb.Database, *, fix: bool = False) -> vecdb.CheckReport | None:
        name = "check(fix=True)" if fix else "check"
        report = self._attempt(name, lambda: database.check(fix=fix))
        if report is not None and list(report):
            self._noticed.append(f"{name}: " + "; ".join(f"{problem.where}: {problem.what}" for problem in report))
        return report

    def _mend(self, database: vecdb.Database) -> bool:
        """Whether all is well after mending, as the next check says."""
        fixed, again = self._check(database, fix=True), self._check(database)
        if fixed and (again is None or list(again)):
            problems = again and "; ".join(f"{problem.where}: {problem.what}" for problem in again)
            self._fail("mended, and yet not well", f"{[p.what for p in fixed]}, then {problems}")
        return again is not None and not list(again)

    def _after(self, database: vecdb.Database, state: State) -> None:
        """All is said to be well: what is there must be right, now, after writing, and after reopening."""
        self._wrong, self._noticed = [], []
        held = self._attempt("read all", lambda: state_of(database))
        if held is not None:
            self._compare_rest(held, state)
            self._ask_all(database, held)
            held = self._write(database, held)
        self._attempt("close", database.close)
        with_one_more = self._attempt("open again", self._open)
        if with_one_more is not None and held is not None:
            self._ask_all(with_one_more, held)
            self._attempt("close", with_one_more.close)
        expected = "IndexRebuiltWarning", *(("StorageError", "ReadOnlyError") if self._damage.replaced else ())
        said = [text for text in self._noticed if not any(word in text for word in expected)]
        if self._wrong or said:
            self._fail("wrong though well", "; ".join((self._wrong + said)[:3]))

    def _compare_rest(self, held: State, state: State) -> None:
        """Records may be gone, if that was reported; those that are there are what they were."""
        for name, found in held.items():
            if name not in state:
                self._wrong.append(f"there is a collection {name!r} that never was")
                continue
            expected = state[name]
            order = {record.id: place for place, record in enumerate(expected.records)}
            by_id = {record.id: record for record in expected.records}
            for record in found.records:
                if record != by_id.get(record.id):
                    self._wrong.append(f"{name}: {record!r:.{_EXCERPT}} was {by_id.get(record.id)!r:.{_EXCERPT}}")
            places = [order[record.id] for record in found.records if record.id in order]
            if places != sorted(places):
                self._wrong.append(f"{name}: the order of the records changed")
            if not set(found.failures) <= set(expected.failures):
                self._wrong.append(f"{name}: failures {set(found.failures) - set(expected.failures)!r:.{_EXCERPT}}")
            if dict(found.metrics) != dict(expected.metrics):
                self._wrong.append(f"{name}: spaces {found.metrics} were {expected.metrics}")

    # --- asking ---

    def _accepted(self, database: vecdb.Database) -> State:
        """What it held; or one of the states that the damage may have brought back, if it is just that."""
        if not self._damage.states:
            return self._state
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                held = state_of(database)
            except Exception:
                return self._state  # asking again, one by one, tells what it was
        return next((one for one in (self._state, *self._damage.states) if one == held), self._state)

    def _ask_all(self, database: vecdb.Database, state: State) -> None:
        self._ask("collections", database.collections, list(state))
        for name, expected in state.items():
            collection = self._attempt(f"collection {name!r}", lambda name=name: database.collection(name))
            if collection is not None:
                self._ask_collection(collection, expected)

    def _ask_collection(self, collection: vecdb.Collection, expected: Collected) -> None:
        name, names = collection.name, [space for space, _ in expected.spaces]
        ids = [record.id for record in expected.records]
        self._ask(f"{name}: spaces", lambda: described(collection.spaces), expected.spaces)
        self._ask(f"{name}: len", lambda: len(collection), len(ids))
        self._ask(f"{name}: records", lambda: [kept(one, names) for one in collection], list(expected.records))
        self._ask(f"{name}: get", lambda: [kept(one, names) for one in collection.get(ids)], list(expected.records))
        self._ask(f"{name}: in", lambda: [id in collection for id in ids[:5]], [True] * len(ids[:5]))
        failures = list(expected.failures)
        self._ask(f"{name}: failures", lambda: [as_failure(one) for one in collection.failures()], failures)
        for space, metric in expected.metrics:
            self._ask_space(collection, space, metric, expected.records)
        for where in FILTERS:
            self._ask(f"{name}: count", lambda where=where: collection.count(where), _counted(expected.records, where))

    def _ask_space(self, collection: vecdb.Collection, space: str, metric: str, records: Sequence[Kept]) -> None:
        for number, query in enumerate(QUERIES):
            for how, options in (("exact", {"exact": True}), ("graph", {"ef": 1000}), ("filter", {})):
                where = FILTERS[number] if how == "filter" else None
                expected = nearest(records, metric, space, query, K, where)

                def search(where=where, query=query, options=options) -> Answer:
                    return answered(collection.search(query, k=K, space=space, where=where, **options))

                self._ask(f"{collection.name}: {how} search in {space!r}", search, expected, alike)

    def _ask(
        self, what: str, call: Callable[[], Any], expected: Any, right: Callable[[Any, Any], bool] = lambda a, b: a == b
    ) -> None:
        heard = len(self._noticed)
        answer = self._attempt(what, call)
        if answer is not None and not right(answer, expected) and len(self._noticed) == heard:
            self._wrong.append(f"{what} gave {_difference(answer, expected)}")

    def _attempt(self, what: str, call: Callable[[], Any]) -> Any:
        """What a call returns; None if it raised one of vecdb's errors. Another error or warning is a failure."""
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                answer = call()
            except vecdb.VecdbError as error:
                self._noticed.append(f"{what}: {type(error).__name__}: {error}"[:_EXCERPT])
                answer = None
                if self._damage.family == "log" and not isinstance(error, vecdb.StorageError):
                    self._fail("another error than StorageError", self._noticed[-1])
            except Exception as error:
                self._fail(*_foreign(what, error))
                answer = None
        for warning in heard:
            self._noticed.append(f"{what}: {warning.category.__name__}: {warning.message}"[:_EXCERPT])
            self._rebuilt += issubclass(warning.category, vecdb.IndexRebuiltWarning)
            if not issubclass(warning.category, vecdb.VecdbWarning):
                self._fail(f"foreign warning: {warning.category.__name__}", f"{self._noticed[-1]} ({warning.filename})")
        return answer

    def _fail(self, kind: str, text: str) -> None:
        self.verdict.failures.append((kind, text))

    # --- writing ---

    def _write(self, database: vecdb.Database, held: State) -> State | None:
        """A record more in each collection, of which two are embedded from what the database remembers."""
        state = dict(held)
        for name in held:
            collection = database.collection(name)
            added = self._attempt(f"{name}: add", lambda collection=collection: _add(collection))
            if added is None:
                return None
            now = self._attempt(f"{name}: read", lambda collection=collection: collected(collection))
            if now is None:
                return None
            if now.records != (*held[name].records, added):
                self._wrong.append(f"{name}: after adding {added!r:.{_EXCERPT}} the last is {now.records[-1:]!r}")
            state[name] = now
        return state


def _add(collection: vecdb.Collection) -> Kept:
    """Add a record, and tell what it must be."""
    infos = collection.spaces
    facts = {"year": 2030, "new": True}
    if all(info.embedder is None for info in infos.values()):
        rows = {name: np.roll(QUERIES[0], number) for number, name in enumerate(infos)}
        collection.add([None], ids=["new"], metadata=[facts], vectors={name: row[None] for name, row in rows.items()})
        for name, info in infos.items():
            if info.metric == "cosine":
                rows[name] = (rows[name] / np.linalg.norm(rows[name].astype(np.float64))).astype(np.float32)
        content: Any = None
    elif infos["default"].embedder == "bytes":
        content = vecdb.Image(b"a new picture")
        collection.add([content], ids=["new"], metadata=[facts])
        return Kept("new", content, as_json(facts), kept(collection.get(["new"])[0], infos).vectors, ())
    else:
        content = CACHED if infos["default"].source is None else {"title": CACHED, "body": CACHED}
        collection.add([content], ids=["new"], metadata=[facts])
        rows = {name: embedded(CACHED, info.metric) for name, info in infos.items()}
    return Kept("new", content, as_json(facts), tuple((name, rows[name].tobytes()) for name in sorted(rows)), ())


def _foreign(what: str, error: Exception) -> tuple[str, str]:
    """An error that is not vecdb's, by the last place of vecdb that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((frame for frame in reversed(frames) if "/vecdb/" in Path(frame.filename).as_posix()), frames[-1])
    kind = f"foreign error: {type(error).__name__} from {Path(own.filename).name}, {own.name}"
    trace = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-6:])
    return kind, f"{what}: {error!r:.{_EXCERPT}} [{trace}]"


def _counted(records: Sequence[Kept], where: dict[str, Any]) -> int:
    return sum(matches(where, json.loads(record.metadata)) for record in records)


def _difference(answer: Any, expected: Any) -> str:
    if isinstance(answer, list | tuple) and isinstance(expected, list | tuple):
        for place, (one, other) in enumerate(zip(answer, expected, strict=False)):
            if one != other:
                return (
                    f"{len(answer)} of {len(expected)}, at {place} {one!r:.{_EXCERPT}} instead of {other!r:.{_EXCERPT}}"
                )
        return f"{len(answer)} instead of {len(expected)}"
    return f"{answer!r:.{_EXCERPT}} instead of {expected!r:.{_EXCERPT}}"
