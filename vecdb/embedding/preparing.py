"""Preparing items ahead of `encode`: window by window, media on threads, each item for itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vecdb.embedder import Embedder, Windows
from vecdb.embedding.content import read_content
from vecdb.embedding.life import Lease, LoadedEmbedder
from vecdb.embedding.watch import Watched
from vecdb.errors import EmbedderContractError, ItemError

# Prepared items wait in windows of so many batches: sorting by cost needs a choice, memory a bound.
# Decoded media are large, and two windows exist at a time (one is encoded, one prepared).
_TEXT_WINDOW = 32
_MEDIA_WINDOW = 2
_MAX_THREADS = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `encode` takes: an item, or a part of one. `share`: of the item's vector, 1 where it is all of it."""

    position: int
    value: Any
    cost: int
    share: float = 1.0


@dataclass(slots=True)  # not frozen: one is made for each text, and that would take three times as long
class Outcome:
    """What `prepare` made of one item: what is to be encoded, or an error."""

    position: int
    prepared: Sequence[Prepared] = ()
    truncated: bool = False
    error: Exception | None = None


class Preparation:
    """The preparing of all items of one call.

    Without a timeout, texts are prepared where they are needed; media, and all with a timeout, on threads.
    """

    def __init__(self, lease: Lease, items: Sequence[Any]) -> None:
        self._lease = lease
        self._info = lease.life.info
        self._items = items
        media = sum(not isinstance(item, str) for item in items)
        self._length = self._info.batch_size * (_MEDIA_WINDOW if media else _TEXT_WINDOW)
        if media > 1:
            self._threads = min(_MAX_THREADS, os.cpu_count() or 1, media)
        else:
            self._threads = 0 if lease.life.seconds is None else 1

    def windows(self) -> Generator[Iterable[Outcome], None, None]:
        """The outcomes, a window at a time; the next one is being prepared meanwhile where there are threads."""
        count, length = len(self._items), self._length
        windows = [range(start, count)[:length] for start in range(0, count, length)]
        if not self._threads:
            for window in windows:
                yield map(functools.partial(self._prepare, self._lease.current().embedder), window)
            return
        ahead: list[_Lane] = []
        begun: list[_Lane] = []
        try:
            for window in [*windows, range(0)]:
                waiting, ahead = ahead, self._begin(window)
                begun = [*waiting, *ahead]
                if waiting:
                    outcomes = [outcome for lane in waiting for outcome in self._outcomes(lane)]
                    yield sorted(outcomes, key=lambda outcome: outcome.position)
        finally:
            for lane in begun:
                lane.watched.leave()

    # --- on threads ---

    def _begin(self, window: Sequence[int]) -> list[_Lane]:
        lanes = min(self._threads, len(window))
        return [self._lane(window[lane::lanes]) for lane in range(lanes)]

    def _lane(self, positions: Sequence[int]) -> _Lane:
        loaded = self._lease.current()
        steps = map(functools.partial(self._prepare, loaded.embedder), positions)
        return _Lane(positions, loaded, self._lease.life.start(loaded, steps, name="vecdb-prepare"))

    def _outcomes(self, lane: _Lane) -> list[Outcome]:
        """Those of a lane; an item that hangs costs its thread, and the others go on with a fresh embedder."""
        found: list[Outcome] = []
        while not self._lease.wait(lane.loaded, lane.watched):
            done = lane.watched.results
            found += done
            rest = lane.positions[len(done) :]
            if self._lease.life.lose(lane.loaded, lane.watched):
                error = self._lease.life.timeout_error("preparing this item")
                found += [Outcome(position, error=error) for position in rest[:1]]
                self._lease.count_loss(error)
                rest = rest[1:]  # where another hung in it first, this one is not to blame: it is tried again
            if not rest:
                return found
            lane = self._lane(rest)
        return found + lane.watched.results

    # --- one item ---

    def _prepare(self, embedder: Embedder, position: int) -> Outcome:
        try:
            value = embedder.prepare(read_content(self._items[position], self._info))
            parts = list(value.parts) if isinstance(value, Windows) else [value]
            if not parts:
                raise broken(self._info.name, "at least one part in Windows", "none", method="prepare")
            if len(parts) == 1:
                return Outcome(position, [Prepared(position, parts[0], int(embedder.cost(parts[0])))])
            wanted = getattr(embedder.config, "on_truncate", "mark")
            if wanted == "mean":
                return Outcome(position, _shared(embedder, position, parts))
            if wanted == "error":
                raise ItemError(
                    f"it is longer than the embedder {self._info.name!r} takes ({len(parts)} parts); split it, "
                    "or choose on_truncate='mark' or 'mean'"
                )
            return Outcome(position, [Prepared(position, parts[0], int(embedder.cost(parts[0])))], truncated=True)
        except (MemoryError, EmbedderContractError):
            raise
        except Exception as error:  # noqa: BLE001  (a plugin's code and its decoders: one item, not the call)
            return Outcome(position, error=error)


@dataclass(slots=True)
class _Lane:
    """Some items that one thread prepares, one after the other."""

    positions: Sequence[int]
    loaded: LoadedEmbedder
    watched: Watched[Outcome]


def _shared(embedder: Embedder, position: int, parts: Sequence[Any]) -> list[Prepared]:
    """All parts of an item, each with its share of the mean."""
    costs = [int(embedder.cost(part)) for part in parts]
    total = sum(max(cost, 1) for cost in costs)
    return [
        Prepared(position, part, cost, max(cost, 1) / total)
        for part, cost in zip(parts, costs, strict=True)
    ]


def broken(name: str, expected: str, got: str, *, method: str = "encode") -> EmbedderContractError:
    """The error for a result that is none."""
    return EmbedderContractError(
        f"embedder {name!r}: {method} must return {expected}, but it returned {got}; "
        "report it to the plugin's author (`vecdb embedders check` shows it)",
        name=name,
        expected=expected,
        got=got,
    )
