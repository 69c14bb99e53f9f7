"""The life of a host's embedder: loaded on first use, shared by threads, left behind when it hangs or breaks."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from vecdb.embedder import Embedder, EmbedderInfo
from vecdb.embedding.watch import Watched, one_step
from vecdb.errors import (
    EmbedderContractError,
    EmbedderTimeoutError,
    EmbedderUnavailableError,
    PluginWarning,
    VecdbError,
)
from vecdb.options import reveal_secrets
from vecdb.vectors import MAX_DIMENSION

T = TypeVar("T")

_MOST_LOSSES = 6  # embedders that one call may wear out before it gives up
_MOST_HANGING = 20  # calls that have not come back: each keeps a thread, and a model in memory
_LONGEST_MESSAGE = 2000  # characters of what a plugin says
_NOTHING = object()


class LoadedEmbedder:
    """A loaded embedder, the lock around `encode`, and how many calls use it.

    Attributes:
        closing: to be closed by the last who uses it.
        lost: it hangs or is broken, and nobody begins anything with it any more.
        failed: `encode` has raised something.
        proven: a prepared item that it, or the one before it, has made a vector of.
    """

    def __init__(self, embedder: Embedder, dimension: int) -> None:
        self.embedder = embedder
        self.dimension = dimension
        self.lock = threading.Lock()
        self.users = 0
        self.closing = False
        self.lost = False
        self.failed = False
        self.proven: Any = _NOTHING

    @property
    def is_proven(self) -> bool:
        """Whether there is a `proven` item."""
        return self.proven is not _NOTHING


class EmbedderLife:
    """Makes, lends and closes the embedders of a host: one at a time, another where one is lost.

    Args:
        info: its `timeout` bounds each call into the embedder; without one no thread is made.
        config: an instance of `info.config`; secrets are revealed when an embedder is made.
    """

    def __init__(self, info: EmbedderInfo, config: Any) -> None:
        self.info = info
        self.seconds = None if info.timeout in (None, math.inf) else info.timeout
        self.loaded: LoadedEmbedder | None = None
        self._config = config
        self._owner = f"embedder {info.name!r}"
        self._lock = threading.Lock()
        self._loading: Watched[None] | None = None
        self._closings = 0
        self._proven: Any = _NOTHING
        self._hanging: list[Watched[Any]] = []
        self._abandoned: LoadedEmbedder | None = None

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """The use of the embedder, which stays open meanwhile even if another thread closes the host."""
        lease = Lease(self, self.acquire())
        try:
            yield lease
        finally:
            lease.end()

    def acquire(self) -> LoadedEmbedder:
        """The embedder, loaded now if need be; to be given back by `release`.

        Raises:
            EmbedderUnavailableError: it cannot be loaded.
            EmbedderContractError: it does not say its dimension.
            EmbedderTimeoutError: loading takes too long (it goes on, for the next who asks), or too
                many calls hang already.
        """
        while True:
            with self._lock:
                if self.loaded is None and self.seconds is None:
                    self.loaded = self._load()
                if self.loaded is not None:
                    self.loaded.users += 1
                    return self.loaded
                loading = self._loading
                if loading is None:
                    self._check_hanging()
                    loading = self._loading = Watched(
                        one_step(functools.partial(self._load_apart, self._closings)), name="vecdb-load"
                    )
            if not loading.wait(self.seconds or math.inf):
                raise EmbedderTimeoutError(
                    f"{self._owner} is not loaded after {self.seconds:g} s; it goes on loading: try again later, or "
                    "open the database with a larger embed_timeout",
                    name=self.info.name,
                    seconds=self.seconds,
                )

    def release(self, loaded: LoadedEmbedder) -> None:
        """Give back what `acquire` gave; the last one closes an embedder that is to be closed."""
        with self._lock:
            loaded.users -= 1
            unused = loaded.closing and not loaded.users
        if unused:
            self._close(loaded)

    def close(self) -> None:
        """Let go of the embedder, once the calls under way are done."""
        with self._lock:
            loaded, self.loaded, self._loading = self.loaded, None, None
            self._closings += 1
            if loaded is not None:
                loaded.closing = True
            unused = loaded is not None and not loaded.users
        if loaded is not None and unused:
            self._close(loaded)

    def lose(self, loaded: LoadedEmbedder, hanging: Watched[Any] | None = None) -> bool:
        """Never use this embedder again; it is closed once what hangs in it comes back, if ever.

        Returns:
            Whether it was not lost before.
        """
        with self._lock:
            first = not loaded.lost
            loaded.lost = loaded.closing = True
            if self.loaded is loaded:
                self.loaded = None
            if loaded.is_proven:
                self._proven = loaded.proven
            if hanging is not None:
                self._hanging.append(hanging)
        return first

    def start(self, loaded: LoadedEmbedder, steps: Iterable[T], *, name: str) -> Watched[T]:
        """Begin steps that use the embedder: it stays open until they have come back."""
        with self._lock:
            loaded.users += 1
        return Watched(steps, name=name, then=functools.partial(self.release, loaded))

    def timeout_error(self, what: str) -> EmbedderTimeoutError:
        """The error for a call that took too long."""
        return EmbedderTimeoutError(
            f"{self._owner}: {what} took longer than {self.seconds:g} s; leave out what it cannot embed, or open the "
            "database with a larger embed_timeout",
            name=self.info.name,
            seconds=self.seconds,
        )

    def after_fork(self) -> None:
        """In the child: model libraries do not survive a fork, and another thread may have held the lock.

        The old embedder is kept, not dropped: its destructor would reach for threads that no longer exist.
        """
        self._lock = threading.Lock()
        self._abandoned, self.loaded = self.loaded or self._abandoned, None
        self._loading = None
        self._hanging = []

    # --- loading and closing ---

    def _check_hanging(self) -> None:
        self._hanging = [one for one in self._hanging if not one.ended]
        if len(self._hanging) >= _MOST_HANGING:
            raise EmbedderTimeoutError(
                f"{self._owner}: {len(self._hanging)} calls hang and have not come back; restart the process, and "
                "leave out what it cannot embed",
                name=self.info.name,
                seconds=self.seconds,
            )

    def _load_apart(self, closings: int) -> None:
        """On a thread that nobody may be waiting for any more."""
        loaded = None
        try:
            loaded = self._load()
        finally:
            with self._lock:
                wanted = self._closings == closings
                if wanted:
                    self.loaded, self._loading = loaded, None
        if not wanted:
            self._close(loaded)

    def _load(self) -> LoadedEmbedder:
        with plugin_errors(self.info, "cannot be loaded"):
            embedder = self.info.create(reveal_secrets(self._config, owner=self._owner))
        try:
            with plugin_errors(self.info, "cannot be loaded"):
                embedder.load()
            loaded = LoadedEmbedder(embedder, self._dimension(embedder))
        except BaseException:
            with contextlib.suppress(Exception):  # of what it opened before it failed, it closes what it can
                embedder.close()
            raise
        loaded.proven = self._proven
        return loaded

    def _dimension(self, embedder: Embedder) -> int:
        try:
            dimension = embedder.dimension
        except Exception as error:
            raise EmbedderContractError(
                f"{self._owner}: dimension raised {told(error)}; it must be known after load()",
                name=self.info.name,
            ) from error
        if isinstance(dimension, bool) or not isinstance(dimension, int | np.integer):
            problem = f"dimension is {dimension!r}, not an integer"
        elif not 1 <= dimension <= MAX_DIMENSION:
            problem = f"dimension is {dimension}, not within 1..{MAX_DIMENSION}"
        else:
            return int(dimension)
        raise EmbedderContractError(
            f"{self._owner}: {problem}; report it to the plugin's author", name=self.info.name, got=dimension
        )

    def _close(self, loaded: LoadedEmbedder) -> None:
        """Close it. What it raises is no error of the call that happens to be the last one: its vectors are good.

        That a lost one does not close well surprises nobody.
        """
        problem = None
        try:
            if self.seconds is None:
                loaded.embedder.close()
            elif not Watched(one_step(loaded.embedder.close), name="vecdb-close").wait(self.seconds):
                problem = f"takes longer than {self.seconds:g} s"
        except Exception as error:  # noqa: BLE001  (a plugin's code)
            problem = told(error)
        if problem is not None and not loaded.lost:
            warnings.warn(
                PluginWarning(f"{self._owner} does not close ({problem}); report it to the plugin's author"),
                stacklevel=2,
            )


class Lease:
    """One call's use of the embedder, which is exchanged for a fresh one where it hangs or breaks."""

    def __init__(self, life: EmbedderLife, loaded: LoadedEmbedder) -> None:
        self.life = life
        self.losses = 0
        self._loaded: LoadedEmbedder | None = loaded

    def current(self) -> LoadedEmbedder:
        """The embedder; a fresh one where this one is lost. Errors as in `EmbedderLife.acquire`."""
        if self._loaded is not None and self._loaded.lost:
            self.end()  # before the next is loaded: two may not fit into memory
        if self._loaded is None:
            self._loaded = self.life.acquire()
        return self._loaded

    def end(self) -> None:
        """Give it back."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self.life.release(loaded)

    def wait(self, loaded: LoadedEmbedder, watched: Watched[Any]) -> bool:
        """Wait for steps in this embedder; False if one takes too long: then it is to be lost."""
        try:
            return watched.wait(self.life.seconds or math.inf)
        except BaseException:
            if not watched.ended:  # not an error of the steps: whoever waits was interrupted
                watched.leave()
                self.life.lose(loaded, watched)
            raise

    def count_loss(self, error: Exception) -> None:
        """Go on after the loss of an embedder; too many in one call end it.

        Raises:
            EmbedderTimeoutError, EmbedderUnavailableError: it hangs, or breaks, again and again.
        """
        self.losses += 1
        if self.losses <= _MOST_LOSSES:
            return
        name = self.life.info.name
        advice = f"embedder {name!r} was loaded anew {_MOST_LOSSES} times in this call, which gives up; check the model"
        if isinstance(error, EmbedderTimeoutError):
            raise EmbedderTimeoutError(f"{error}. The {advice}", name=name, seconds=error.seconds) from error
        raise EmbedderUnavailableError(
            f"embedder {name!r} breaks again and again, the last time by {told(error)}. The {advice}",
            name=name,
        ) from error


@contextmanager
def plugin_errors(info: EmbedderInfo, what: str) -> Iterator[None]:
    """Say which embedder it was that raised something of its own."""
    try:
        yield
    except (VecdbError, MemoryError):
        raise
    except Exception as error:
        raise EmbedderUnavailableError(
            f"embedder {info.name!r} {what}: {told(error)}; check its options and its files",
            name=info.name,
        ) from error


def told(error: Exception) -> str:
    """What an error of foreign code says, as text that can be stored and shown: not all of it is."""
    try:
        message = str(error)
    except Exception as another:  # noqa: BLE001  (of what foreign code raises, `__str__` is foreign code, too)
        message = f"its message cannot be shown: {type(another).__name__}"
    if not isinstance(error, VecdbError):
        message = f"{type(error).__name__}: {message}"
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    return message.encode("utf-8", "backslashreplace").decode("utf-8")
