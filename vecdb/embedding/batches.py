"""One call of `EmbedderHost.embed`: preparing ahead, batches of like cost, and finding the bad item."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.embedder import Embedder, EmbedderInfo, Windows
from vecdb.embedding.content import read_content
from vecdb.errors import EmbedderContractError, EmbedderUnavailableError, ItemError
from vecdb.types import Progress, Role, Vector

# Prepared items wait in windows of so many batches: sorting by cost needs a choice, memory a bound.
# Decoded media are large, and two windows exist at a time (one is encoded, one prepared).
_TEXT_WINDOW = 32
_MEDIA_WINDOW = 2
_MAX_THREADS = 8
_OUT_OF_MEMORY = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})  # of torch, of TensorFlow


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What `encode` takes: an item, or a part of one. `share`: of the item's vector, 1 where it is all of it."""

    position: int
    value: Any
    cost: int
    share: float = 1.0


_NOT_FINITE = "embedder {!r} made a vector with NaN or infinity of this item; leave it out"
_UNKNOWN = "nothing in this item is known to the embedder {!r}; leave it out or use another model"


class _Mean:
    """The weighted mean of the vectors of an item's parts, as they come in.

    A part in which nothing is known (a zero row) counts for nothing, as an unknown word does.
    """

    def __init__(self, zero: NDArray[np.float64], parts: int) -> None:
        self.sum = zero
        self.known = 0.0  # the share of the parts in which something is known
        self.missing = parts  # have no vector yet
        self.left = parts  # are not done with, one way or the other

    def add(self, share: float, row: Vector) -> None:
        if row.any():
            self.sum += share * row.astype(np.float64)
            self.known += share
        self.missing -= 1

    def vector(self) -> Vector:
        """Of what is in, (dimension,) float32; zero where nothing is known."""
        return (self.sum / (self.known or 1.0)).astype(np.float32)


class LoadedEmbedder:
    """A loaded embedder, the lock around `encode`, and how many calls use it."""

    def __init__(self, info: EmbedderInfo, embedder: Embedder, dimension: int) -> None:
        self.info = info
        self.embedder = embedder
        self.dimension = dimension
        self.lock = threading.Lock()
        self.users = 0
        self.closing = False


class EmbedCall:
    """Embeds distinct items; `vectors` and `failures` hold the result after `run`.

    Attributes:
        vectors: (n, dimension) float32, zero where an item failed.
        failures: position to (what was raised, "prepare" or "encode").
        truncated: positions of items of which only the beginning was embedded.
    """

    def __init__(
        self,
        loaded: LoadedEmbedder,
        items: Sequence[Any],
        role: Role,
        *,
        counts: Sequence[int],
        progress: Progress | None,
    ) -> None:
        """`counts`: how often each item stands in the caller's list, which `progress` speaks of."""
        self.vectors: Vector = np.zeros((len(items), loaded.dimension), np.float32)
        self.failures: dict[int, tuple[Exception, str]] = {}
        self.truncated: set[int] = set()
        self._on_truncate: str = getattr(loaded.embedder.config, "on_truncate", "mark")
        self._means: dict[int, _Mean] = {}
        self._info = loaded.info
        self._embedder = loaded.embedder
        self._lock = loaded.lock
        self._items = items
        self._role = role
        self._counts = counts
        self._progress = progress
        self._done = 0
        self._total = sum(counts)
        self._size = loaded.info.batch_size

    def run(self) -> None:
        """Embed everything; see `EmbedderHost.embed` for what is raised."""
        with closing(self._windows()) as windows:
            for prepared in windows:
                prepared.sort(key=lambda item: item.cost, reverse=True)
                start = 0
                while start < len(prepared):
                    batch = prepared[start : start + self._size]
                    self._encode(batch)
                    start += len(batch)
                    self._advance(self._finished(batch))

    def _finished(self, batch: Sequence[_Prepared]) -> Iterator[int]:
        """The items of which nothing is left to encode."""
        for item in batch:
            mean = self._means.get(item.position)
            if mean is not None:
                mean.left -= 1
                if mean.left:
                    continue
                del self._means[item.position]
            yield item.position

    def _advance(self, positions: Iterable[int]) -> None:
        self._done += sum(self._counts[position] for position in positions)
        if self._progress is not None:
            self._progress(self._done, self._total)

    # --- prepare ---

    def _windows(self) -> Generator[list[_Prepared], None, None]:
        """The prepared items, window by window; media are read ahead on threads."""
        media = sum(not isinstance(item, str) for item in self._items)
        length = self._info.batch_size * (_MEDIA_WINDOW if media else _TEXT_WINDOW)
        windows = [range(start, len(self._items))[:length] for start in range(0, len(self._items), length)]
        if media < 2:
            for window in windows:
                yield self._good(map(self._prepare, window))
            return
        pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1, media), "vecdb-prepare")
        try:
            waiting: Iterator[list[_Prepared] | tuple[int, Exception]] | None = None
            for window in windows:
                ahead = pool.map(self._prepare, window)  # begins at once
                if waiting is not None:
                    yield self._good(waiting)
                waiting = ahead
            if waiting is not None:
                yield self._good(waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, position: int) -> list[_Prepared] | tuple[int, Exception]:
        try:
            value = self._embedder.prepare(read_content(self._items[position], self._info))
            parts = list(value.parts) if isinstance(value, Windows) else [value]
            if not parts:
                raise self._broken("at least one part in Windows", "none", method="prepare")
            if self._on_truncate == "mean":
                return self._shared(position, parts)
            if len(parts) > 1 and self._on_truncate == "error":
                raise ItemError(
                    f"it is longer than the embedder {self._info.name!r} takes ({len(parts)} parts); split it, "
                    "or choose on_truncate='mark' or 'mean'"
                )
            if len(parts) > 1:
                self.truncated.add(position)
            return [_Prepared(position, parts[0], int(self._embedder.cost(parts[0])))]
        except (MemoryError, EmbedderContractError):
            raise
        except Exception as error:  # noqa: BLE001  (a plugin's code and its decoders: one item, not the call)
            return position, error

    def _shared(self, position: int, parts: Sequence[Any]) -> list[_Prepared]:
        """All parts of an item, each with its share of the mean."""
        costs = [int(self._embedder.cost(part)) for part in parts]
        if len(parts) == 1:
            return [_Prepared(position, parts[0], costs[0])]
        self._means[position] = _Mean(np.zeros(self.vectors.shape[1]), len(parts))
        total = sum(max(cost, 1) for cost in costs)
        return [
            _Prepared(position, part, cost, max(cost, 1) / total) for part, cost in zip(parts, costs, strict=True)
        ]

    def _good(self, results: Iterable[list[_Prepared] | tuple[int, Exception]]) -> list[_Prepared]:
        good: list[_Prepared] = []
        failed: list[int] = []
        for result in results:
            if isinstance(result, list):
                good += result
            else:
                position, error = result
                self.failures[position] = (error, "prepare")
                failed.append(position)
        if failed:
            self._advance(failed)
        return good

    # --- encode ---

    def _encode(self, batch: Sequence[_Prepared]) -> None:
        """Encode a batch; one that fails is halved until the bad item stands alone."""
        try:
            with self._lock:
                raw = self._embedder.encode([item.value for item in batch], self._role)
        except (EmbedderUnavailableError, EmbedderContractError):
            raise
        except Exception as error:
            exhausted = isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY
            if len(batch) == 1:
                if isinstance(error, MemoryError):
                    raise
                if exhausted:
                    raise EmbedderUnavailableError(
                        f"embedder {self._info.name!r}: one item does not fit into the device's memory; "
                        "free memory or choose another device",
                        name=self._info.name,
                    ) from error
                self.failures[batch[0].position] = (error, "encode")
                return
            if exhausted:
                self._size = min(self._size, len(batch) // 2)
        else:
            self._keep(batch, raw)
            return
        # Outside the handler: the traceback would keep the failed batch's memory alive.
        middle = len(batch) // 2
        self._encode(batch[:middle])
        self._encode(batch[middle:])

    def _keep(self, batch: Sequence[_Prepared], raw: Any) -> None:
        rows = self._checked(raw, len(batch))
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        known = np.asarray(rows.any(axis=1))
        for item, row, is_finite, is_known in zip(batch, rows, finite, known, strict=True):
            mean = self._means.get(item.position)
            if not is_finite:
                self._refuse(item.position, _NOT_FINITE)
            elif mean is not None:
                mean.add(item.share, row)
                if not mean.missing:
                    self.vectors[item.position] = mean.vector()
                    if not self.vectors[item.position].any():
                        self._refuse(item.position, _UNKNOWN)
            elif is_known:
                self.vectors[item.position] = row
            else:
                self._refuse(item.position, _UNKNOWN)

    def _refuse(self, position: int, message: str) -> None:
        self.failures[position] = (ItemError(message.format(self._info.name), stage="encode"), "encode")

    def _checked(self, raw: Any, count: int) -> Vector:
        expected = (count, self.vectors.shape[1])
        try:
            array = np.asarray(raw)
        except Exception as error:
            raise self._broken(f"floats of shape {expected}", f"a {type(raw).__name__}") from error
        if array.shape != expected or array.dtype.kind != "f":
            raise self._broken(f"floats of shape {expected}", f"{array.dtype} of shape {array.shape}")
        with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is found then
            return array.astype(np.float32, copy=False)

    def _broken(self, expected: str, got: str, *, method: str = "encode") -> EmbedderContractError:
        return EmbedderContractError(
            f"embedder {self._info.name!r}: {method} must return {expected}, but it returned {got}; "
            "report it to the plugin's author (`vecdb embedders check` shows it)",
            name=self._info.name,
            expected=expected,
            got=got,
        )
