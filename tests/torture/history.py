"""What a child said that it did, and which states of the database that allows."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.workload import Model, Operation, after, stages

_MOST_STATES = 4096


class Log:
    """Written by the child, a line before and after each operation, so that it outlives a kill."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def trying(self, operation: Operation) -> None:
        """An operation begins."""
        self._write("try", operation)

    def done(self) -> None:
        """It returned: from now on it must not be lost."""
        self._write("done")

    def failed(self, error: BaseException) -> None:
        """It raised: it is there whole or not at all."""
        self._write("failed", type(error).__name__, str(error)[:500])

    def _write(self, *words: Any) -> None:
        os.write(self._descriptor, json.dumps(words).encode() + b"\n")


@dataclass
class History:
    """Follows a log.

    Attributes:
        states: what the database may hold: one, unless something is in flight or has failed.
        acknowledged: operations that returned.
        errors: (operation, class, message) of those that raised.
        in_flight: the operation that was not finished, or None.
        backups: step to the states that a backup of that step may hold; None as the last of them where
            it may be absent.
    """

    states: list[Model]
    acknowledged: int = 0

    def __post_init__(self) -> None:
        self.errors: list[tuple[Operation, str, str]] = []
        self.in_flight: Operation | None = None
        self.backups: dict[int, list[Model | None]] = {}

    def follow(self, path: Path) -> History:
        """Take in what the log says; the last line may be torn."""
        for line in path.read_bytes().split(b"\n")[:-1]:
            self.follow_line(line)
        return self

    def follow_line(self, line: bytes) -> None:
        """Take in one line of a log."""
        self.say(*json.loads(line))

    def say(self, what: str, *words: Any) -> None:
        """Take in one line."""
        if what == "try":
            self.in_flight = words[0]
            if words[0]["do"] == "backup":
                self.backups[words[0]["n"]] = [*self.states, None]
            return
        operation = self.in_flight
        if operation is None:
            raise ValueError(f"{what} without an operation")
        self.in_flight = None
        if what == "done":
            self.acknowledged += 1
            self.states = distinct_states([after(state, operation) for state in self.states])
            if operation["do"] == "backup":
                self.backups[operation["n"]].remove(None)
        else:
            self.errors.append((operation, *words))
            self.states = self._with_stages(operation)

    def _with_stages(self, operation: Operation) -> list[Model]:
        reached = [stage for state in self.states if _fits(state, operation) for stage in stages(state, operation)]
        found = distinct_states([*self.states, *reached])
        if len(found) > _MOST_STATES:
            raise ValueError("too many operations failed: a child must give up sooner")
        return found

    def allowed(self) -> list[Model]:
        """Every state that the database may be in now."""
        return self.states if self.in_flight is None else self._with_stages(self.in_flight)


def _fits(state: Model, operation: Operation) -> bool:
    if operation["do"] == "create":
        return operation["collection"] not in state
    if operation["collection"] not in state:
        return False
    return operation["do"] != "update_metadata" or operation["ids"][0] in state[operation["collection"]]


def distinct_states(states: list[Model]) -> list[Model]:
    """Each state once, in order."""
    found: dict[str, Model] = {}
    for state in states:
        found.setdefault(json.dumps(state), state)
    return list(found.values())
