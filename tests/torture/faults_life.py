"""A workload that meets a fault, and watches how vecdb takes it."""

from __future__ import annotations

import errno
import functools
import random
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vecdb
from tests.torture import shim
from tests.torture.history import History, distinct_states
from tests.torture.power_upgrade import start_upgrade
from tests.torture.shim import Action, Kind
from tests.torture.verdict import difference, resembles
from tests.torture.workload import LASTING, WEIGHTS, Model, Operation, choose, open_database, perform
from vecdb.database import upgrade
from vecdb.embedding import probe

OPERATIONS = 60
_WEIGHTS = {**WEIGHTS, "backup": 4, "reopen": 6, "drop": 5, "create": 5, "optimize": 10}
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Point:
    """The `at`-th operation of a kind meets an error, once or from then on."""

    kind: Kind
    at: int
    action: Action
    error: int
    for_ever: bool

    def __str__(self) -> str:
        how = "is short, then " if self.action is Action.SHORT else ""
        often = "for ever" if self.for_ever else "once"
        return f"{self.kind.name} {self.at} {how}{errno.errorcode[self.error]} {often}"


class Life:
    """Goes through the workload.

    Args:
        folder: of the database; what lies beside it is watched as well.
        over: whether the fault is over.
        end: ends a fault that does not end by itself.
        may_run_out: whether MemoryError is an answer.
    """

    def __init__(
        self, folder: Path, *, over: Callable[[], bool], end: Callable[[], object], may_run_out: bool = False
    ) -> None:
        self.folder = folder
        self.database: vecdb.Database | None = None
        self.history = History([{}])
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self._over, self._end = over, end
        raised = (vecdb.StorageError, vecdb.PluginError)  # of plugins: an embedder's files could not be read
        self._raised = (*raised, MemoryError) if may_run_out else raised

    @property
    def model(self) -> Model:
        return self.history.states[0]

    def go(self, operations: int) -> None:
        """The whole workload, with its upgrade, opening and closing."""
        self._attempt_until_over("upgrade", lambda: upgrade(self.folder.with_name("old.vecdb")))
        self._attempt_until_over("open", self._open)
        for step in range(operations):
            operation = self.operation(step)
            if not self.attempt(operation):
                self.settle(operation, step)
        self._close()
        self._end()
        self._attempt_until_over("open", self._open)
        self.look()
        self._close()

    def operation(self, step: int) -> Operation:
        """What comes next; the same for the same step and the same model."""
        missing = next((name for name in LASTING if name not in self.model), None)
        if missing is not None:
            return {"do": "create", "collection": missing, "n": step}
        return choose(random.Random(step), self.model, step, _WEIGHTS, most=5)

    # --- one operation --------------------------------------------------------------------------

    def attempt(self, operation: Operation) -> bool:
        """Do it; whether it returned."""
        self.history.say("try", operation)
        try:
            if operation["do"] == "reopen":
                self._close()
                self._open()
            elif self.database is None:
                self._open()
                perform(self.database, self.model, operation)
            else:
                perform(self.database, self.model, operation)
        except AssertionError as error:
            self.problems.append(f"wrong answers: {error}")
        except Exception as error:
            self._judge_error(operation["do"], error)
            self.history.say("failed", type(error).__name__, str(error))
            return False
        self.history.say("done")
        self.counts["acknowledged"] += 1
        return True

    def _judge_error(self, what: str, error: Exception) -> None:
        self.counts["raised"] += 1
        if not isinstance(error, self._raised):
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
            self.problems.append(f"foreign exceptions: {what} raised {type(error).__name__}: {error} ({where})")
        elif not isinstance(error, MemoryError) and ";" not in str(error):
            self.problems.append(f"unhelpful: {what} raised {type(error).__name__}: {error}")

    def settle(self, operation: Operation, step: int) -> None:
        """After a failure: reads go on or fail properly; when the fault is over, all goes on."""
        before = self.model
        readable = self.look()
        claimed = self.history.errors[0][2] if readable and len(self.history.errors) == 1 else ""
        if "nothing of this call was stored" in claimed and operation["do"] != "ingest" and self.model != before:
            self.problems.append(f"untrue: {operation['do']} was stored, although it said: {claimed}")
        if not self._over():
            for more in self._while_it_fails(step) if readable else ():
                gone = self.attempt(more)
                if more["do"] == "delete":
                    self.counts["deleted meanwhile" if gone else "could not delete meanwhile"] += 1
                if not self.look():
                    break
            self._end()
        if not self.look():
            self._open_freshly()
            if not self.look():
                self.problems.append("no going on: a fresh handle cannot read what is there either")
                return
        again = self.operation(1000 + step)
        if not self.attempt(again):
            self.look()
            self._open_freshly()
            if not self.look() or not self.attempt(self.operation(2000 + step)):
                why = self.history.errors[-1]
                self.problems.append(f"no going on: {again['do']} fails on a fresh handle, too: {why}")

    def _while_it_fails(self, step: int) -> Iterator[Operation]:
        if "texts" in self.model:
            yield {"do": "add", "collection": "texts", "n": 500 + step, "ids": [f"{step}-more"]}
        if self.model.get("texts"):
            yield {"do": "delete", "collection": "texts", "n": step, "ids": list(self.model["texts"])}

    def look(self) -> bool:
        """Read everything: whether it can be read. What is there becomes the one state."""
        try:
            if self.database is None:
                self._open()
            names = self.database.collections()
            held = {name: {one.id: one for one in self.database.collection(name)} for name in names}
        except Exception as error:
            self._judge_error("reading", error)
            return False
        allowed = distinct_states(self.history.allowed())
        there = [state for state in allowed if resembles(held, state) and not difference(held, state)]
        if not there:
            self.problems.append(f"half or lost: none of {len(allowed)} states; {difference(held, allowed[0])}")
            return False
        self.history.states = there[:1]
        return True

    # --- handles --------------------------------------------------------------------------------

    def _open(self) -> None:
        self.database = open_database(self.folder, timeout=3)

    def _close(self) -> None:
        database, self.database = self.database, None
        if database is None:
            return
        try:
            database.close()
        except Exception as error:
            self._judge_error("closing", error)

    def _open_freshly(self) -> None:
        self.counts["handles given up"] += 1
        self._close()
        self._attempt_until_over("opening afresh", self._open)

    def _attempt_until_over(self, what: str, do: Callable[[], object]) -> None:
        """Do it; if it fails, again after the fault, when it must work."""
        for _ in range(2):
            try:
                do()
            except Exception as error:
                self._judge_error(what, error)
                if not self._over():
                    self._end()
            else:
                return
        try:
            do()
        except Exception as error:
            self.problems.append(f"no going on: {what} fails after the fault: {type(error).__name__}: {error}")


def warm_up(folder: Path) -> None:
    """Import what a life imports, and make what is always the same, before there are children."""
    probe._picture = functools.cache(probe._picture)
    folder.mkdir()
    start_upgrade(folder / "old.vecdb", 0)
    Life(folder / "faults.vecdb", over=lambda: True, end=lambda: None).go(OPERATIONS)


def watched(life: Life, go: Callable[[], None]) -> dict[str, Any]:
    """Live, and tell what was seen; what is only said by hooks and warnings counts as well."""
    threading.excepthook = lambda found: life.problems.append(
        f"foreign exceptions: in a thread: {found.exc_type.__name__}: {found.exc_value}"
    )
    sys.unraisablehook = lambda found: life.problems.append(
        f"foreign exceptions: unraisable: {found.exc_value!r} in {found.object!r}"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go()
    life.problems += [
        f"foreign warnings: {one.category.__name__}: {one.message}"
        for one in caught
        if not issubclass(one.category, vecdb.VecdbWarning)
    ]
    backups = [(step, states) for step, states in life.history.backups.items()]
    return {
        "problems": life.problems,
        "counts": dict(life.counts),
        "states": life.history.allowed(),
        "backups": backups,
    }


def live(root: Path, point: Point | None) -> dict[str, Any]:
    """A life with one fault; with None: without, to see what there is to fail."""
    root.mkdir()
    start_upgrade(root / "old.vecdb", 0)
    shim.watch(root)
    if point is None:
        life = Life(root / "faults.vecdb", over=lambda: True, end=lambda: None)
        shim.arm(frozenset(Kind), 0, Action.FAIL)
        found = watched(life, lambda: life.go(OPERATIONS))
        return found | {"reached": {int(kind): shim.seen(kind) for kind in Kind}}
    ended = []

    def over() -> bool:
        return bool(ended) or (not point.for_ever and shim.hits() > 0)

    def end() -> None:
        ended.append(shim.disarm())

    memory = point.kind is Kind.ALLOCATE or point.error == errno.ENOMEM
    life = Life(root / "faults.vecdb", over=over, end=end, may_run_out=memory)
    shim.arm({point.kind}, point.at, point.action, point.error, for_ever=point.for_ever)
    found = watched(life, lambda: life.go(OPERATIONS))
    found["counts"]["points reached"] = int(sum(ended) > 0)
    return found
