"""The stream of `ingest`: while a batch is embedded, the one before it is stored and the next one is read."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Generator, Iterator, Sequence

from vecdb.drafts import Draft
from vecdb.storage.failures import NewFailure
from vecdb.writing import Writer, Written

_SLICE = 0.1  # seconds; a longer wait is cut into these, for Ctrl-C does not end one on Windows


def store_batches(
    writer: Writer, batches: Iterator[tuple[Sequence[Draft], Sequence[NewFailure]]]
) -> Generator[Written]:
    """Embed and store one batch after the other; yields what was done with each when it is durable.

    Batches are read on the caller's thread, whose connections and cursors the stream may use: a batch is read
    when all but the last one are durable. Close this iterator; then no thread is left.

    Raises:
        Exception: what went wrong with a batch, when those before it are stored; none of it is, nor of later ones.
    """
    present: _Batch | None = None
    following: _Batch | None = None
    ending: Exception | None = None
    try:
        while True:
            try:
                read = next(batches, None)
            except Exception as error:  # noqa: BLE001  (whatever the caller's stream raises: its turn is after `present`)
                read, ending = None, error
            following = None if read is None else _Batch(writer, *read)
            del read
            if present is not None:
                present.wait(stored=following is None or following.depends_on(present))
            if following is not None:
                following.begin()
            if present is not None:
                yield present.result()
                present = None  # or its memory would be held while the next one is read
            if ending is not None:
                raise ending
            if following is None:
                return
            following.allow()
            present, following = following, None
    finally:
        for one in (present, following):
            if one is not None:
                one.end()


class _Batch:
    """A batch on its way in, on a thread of its own: it is embedded, and stored when it may be."""

    def __init__(self, writer: Writer, drafts: Sequence[Draft], failures: Sequence[NewFailure]) -> None:
        self._writer = writer
        self._drafts = drafts
        self._failures = failures
        self._embedded = threading.Event()  # or it failed
        self._turn = threading.Event()
        self._ending = False
        self._written: Written | None = None
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="vecdb ingest", daemon=True)

    def depends_on(self, earlier: _Batch) -> bool:
        """Whether this one has an id or a content of the earlier one, which decides what has to be embedded."""
        return not self._keys().isdisjoint(earlier._keys())

    def _keys(self) -> set[str | bytes]:
        contents = {digest for draft in self._drafts for _, digest in draft.content.sources.values()}
        return contents.union(draft.id for draft in self._drafts)

    def begin(self) -> None:
        """Begin to embed it."""
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had: `result` does it
            return

    def allow(self) -> None:
        """Let it be stored: the one before it is."""
        self._turn.set()

    def wait(self, *, stored: bool) -> None:
        """Wait until it is embedded, or even stored; raises what went wrong."""
        while self._thread.is_alive() and not self._embedded.wait(_SLICE):
            pass
        if stored or self._error is not None:
            self.result()

    def result(self) -> Written:
        """What was done, when it is durable; raises what went wrong."""
        self._join()
        if self._written is None and self._error is None:  # there was no thread; or there is none in a forked child
            self._run()
        if self._error is not None:
            raise self._error
        return self._written or Written()

    def end(self) -> None:
        """Leave it, if it is not being stored already, and wait for the thread's end."""
        self._ending = True
        self._turn.set()
        self._join()

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(_SLICE)

    def _run(self) -> None:
        try:
            ready = self._writer.embed(self._drafts, self._go_on)
            self._embedded.set()
            self._turn.wait()
            self._go_on()
            self._written = self._writer.store(ready, self._failures)
        except BaseException as error:  # noqa: BLE001  (it is raised where it is waited for)
            self._error = error
        finally:
            self._embedded.set()

    def _go_on(self, _done: int = 0, _total: int | None = None) -> None:
        """Called between two batches of the model, too."""
        if self._ending:
            raise _EndedError


class _EndedError(Exception):
    """Nobody waits any more."""
