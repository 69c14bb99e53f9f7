"""One call of `EmbedderHost.embed`: batches of like cost, finding the bad item, and verifying the vectors."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.embedder import Embedder
from vecdb.embedding.life import Lease
from vecdb.embedding.preparing import Outcome, Preparation, Prepared, broken
from vecdb.embedding.watch import one_step
from vecdb.errors import EmbedderContractError, EmbedderTimeoutError, EmbedderUnavailableError, ItemError
from vecdb.types import Progress, Role, Vector

_OUT_OF_MEMORY = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})  # of torch, of TensorFlow
# Of the longest texts a full batch would be padding for a quarter, but each call of a model has its price, too.
_FEWEST = 8  # items of a batch, before one that costs less than three quarters of the first begins the next batch
_MOST_DOUBTS = 2  # embedders loaded anew in one call because nothing has proven that they work

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


def _batch_at(prepared: Sequence[Prepared], start: int, size: int) -> Sequence[Prepared]:
    """The next batch, of at most `size` items of like cost, of items in falling order of cost."""
    lowest = prepared[start].cost * 3 // 4  # in integers: a plugin may say any, also one that no float holds
    full = min(start + size, len(prepared))
    end = min(start + _FEWEST, full)
    while end < full and prepared[end].cost >= lowest:
        end += 1
    return prepared[start:end]


class EmbedCall:
    """Embeds distinct items; `vectors` and `failures` hold the result after `run`.

    Attributes:
        vectors: (n, dimension) float32, zero where an item failed.
        failures: position to (what was raised, "prepare" or "encode").
        truncated: positions of items of which only the beginning was embedded.
    """

    def __init__(
        self,
        lease: Lease,
        items: Sequence[Any],
        role: Role,
        *,
        counts: Sequence[int],
        progress: Progress | None,
    ) -> None:
        """`counts`: how often each item stands in the caller's list, which `progress` speaks of."""
        self.vectors: Vector = np.zeros((len(items), lease.current().dimension), np.float32)
        self.failures: dict[int, tuple[Exception, str]] = {}
        self.truncated: set[int] = set()
        self._means: dict[int, _Mean] = {}
        self._lease = lease
        self._used = lease.current()
        self._name = lease.life.info.name
        self._items = items
        self._role: Role = role
        self._counts = counts
        self._progress = progress
        self._done = 0
        self._total = sum(counts)
        self._size = lease.life.info.batch_size
        self._doubts = 0

    def run(self) -> None:
        """Embed everything; see `EmbedderHost.embed` for what is raised."""
        with closing(Preparation(self._lease, self._items).windows()) as windows:
            for window in windows:
                prepared = self._good(window)
                prepared.sort(key=lambda item: item.cost, reverse=True)
                start = 0
                while start < len(prepared):
                    batch = _batch_at(prepared, start, self._size)
                    self._encode(batch)
                    start += len(batch)
                    self._advance(self._finished(batch))

    def _good(self, window: Iterable[Outcome]) -> list[Prepared]:
        good: list[Prepared] = []
        failed: list[int] = []
        for outcome in window:
            good += outcome.prepared
            if outcome.error is not None:
                self.failures[outcome.position] = (outcome.error, "prepare")
                failed.append(outcome.position)
                if isinstance(outcome.error, BrokenExecutor):  # as the embedder's own processes now are, for good
                    self._lease.life.lose(self._lease.current())
            elif len(outcome.prepared) > 1:
                self._means[outcome.position] = _Mean(np.zeros(self.vectors.shape[1]), len(outcome.prepared))
            if outcome.truncated:
                self.truncated.add(outcome.position)
        if failed:
            self._advance(failed)
        return good

    def _finished(self, batch: Sequence[Prepared]) -> Iterator[int]:
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

    # --- encode ---

    def _encode(self, batch: Sequence[Prepared]) -> None:
        """Encode a batch; one that fails is halved until the bad item stands alone.

        One in which the embedder hangs or breaks is encoded item by item, with a fresh embedder: each
        failure costs a timeout or a model, beside which a good item alone costs nothing.
        """
        exhausted = False
        try:
            rows = self._rows([item.value for item in batch])
        except (EmbedderUnavailableError, EmbedderContractError, EmbedderTimeoutError):
            raise
        except Exception as error:
            exhausted = isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY
            if exhausted and len(batch) == 1:
                if isinstance(error, MemoryError):
                    raise
                raise EmbedderUnavailableError(
                    f"embedder {self._name!r}: one item does not fit into the device's memory; "
                    "free memory or choose another device",
                    name=self._name,
                ) from error
            if exhausted:
                self._size = min(self._size, len(batch) // 2)
            # Of a batch that is tried again, the traceback would keep the memory alive.
            cause = error if len(batch) == 1 else error.with_traceback(None)
        else:
            if rows is not None:
                self._keep(batch, rows)
                return
            what = "this item" if len(batch) == 1 else f"{len(batch)} items"
            cause = self._lease.life.timeout_error(f"encoding {what}")
        self._after(cause, batch, exhausted=exhausted)

    def _after(self, cause: Exception, batch: Sequence[Prepared], *, exhausted: bool) -> None:
        """Go on after a failure: with parts of the batch, or with an item set apart."""
        hangs = isinstance(cause, EmbedderTimeoutError)
        fresh = not (self._used.is_proven or self._used.failed)  # so what fails is not its state
        self._used.failed = True
        if hangs or (not exhausted and self._is_broken(alone=len(batch) == 1)):
            self._lease.life.lose(self._used)
            self._lease.count_loss(cause)
            if len(batch) > 1 or not (hangs or fresh or self._lease.losses > 1):
                self._one_by_one(batch, slow=hangs)
                return
        if len(batch) == 1:
            self.failures[batch[0].position] = (cause, "encode")
            return
        middle = len(batch) // 2
        self._encode(batch[:middle])
        self._encode(batch[middle:])

    def _one_by_one(self, batch: Sequence[Prepared], *, slow: bool) -> None:
        losses = self._lease.losses
        for item in batch:
            self._encode([item])
        if slow and self._lease.losses == losses:  # none of them hangs: together they were too many
            self._size = min(self._size, max(1, len(batch) // 2))

    def _rows(self, values: Sequence[Any]) -> Vector | None:
        """What `encode` makes of prepared items; None where it takes too long, and then the embedder is lost."""
        while True:
            loaded = self._used = self._lease.current()
            with loaded.lock:
                if loaded.lost:  # by the one that was waited for
                    continue
                work = functools.partial(self._call, loaded.embedder, values)
                if self._lease.life.seconds is None:
                    rows = work()
                else:
                    watched = self._lease.life.start(loaded, one_step(work), name="vecdb-encode")
                    if not self._lease.wait(loaded, watched) and not watched.results:
                        self._lease.life.lose(loaded, watched)
                        return None
                    rows = watched.results[0]
                loaded.proven = values[0]
                return rows

    def _call(self, embedder: Embedder, values: Sequence[Any]) -> Vector:
        return self._checked(embedder.encode(list(values), self._role), len(values))

    def _is_broken(self, *, alone: bool) -> bool:
        """Whether the fault lies with the embedder: it fails for an item that it could embed before, too.

        Where it never embedded one, a failure of an item `alone` is reason to doubt it, but not for ever.
        """
        if self._used.lost:
            return True
        if self._used.is_proven:
            try:
                return self._rows([self._used.proven]) is None
            except MemoryError:
                return False
            except Exception:  # noqa: BLE001  (whatever a plugin raises is the answer)
                return True
        if not alone or self._doubts == _MOST_DOUBTS:
            return False
        self._doubts += 1
        return True

    def _keep(self, batch: Sequence[Prepared], raw: Any) -> None:
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
        self.failures[position] = (ItemError(message.format(self._name), stage="encode"), "encode")

    def _checked(self, raw: Any, count: int) -> Vector:
        expected = (count, self.vectors.shape[1])
        try:
            array = np.asarray(raw)
        except Exception as error:
            raise broken(self._name, f"floats of shape {expected}", f"a {type(raw).__name__}") from error
        if array.shape != expected or array.dtype.kind != "f":
            raise broken(self._name, f"floats of shape {expected}", f"{array.dtype} of shape {array.shape}")
        with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is found then
            return array.astype(np.float32)  # a copy: the embedder may write its next result into the same array
