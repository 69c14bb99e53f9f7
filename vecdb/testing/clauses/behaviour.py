"""How an embedder behaves: bad items, its surroundings, closing, threads."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.embedding import EmbedderHost
from vecdb.errors import VecdbError
from vecdb.testing.case import ContractCase, ContractError, NotApplicableError
from vecdb.testing.compare import SAME, SAME_IN_BATCH, all_close, require_close, rows
from vecdb.types import Vector

_THREADS = 4
_THREAD_ROUNDS = 25
_THREAD_SECONDS = 2.0
_NO_TRACE = 1e-5  # relative distance: more than rounding, less than one word among thousands
_LONG_TEXT = 20_000  # characters: more than most models take; still longer ones would make the check slow


def isolation(case: ContractCase) -> None:
    """An item that cannot be embedded fails alone; the others keep their vectors."""
    reference = case.vectors
    with case.host() as host:
        for bad in case.bad:
            result = host.embed([case.good[0], bad, *case.good[1:]])
            failed = [error.index for error in result.errors]
            if failed == []:
                raise ContractError(
                    f"the bad item {bad!r} got a vector; raise vecdb.ItemError in `prepare` for what cannot be embedded"
                )
            if failed != [1]:
                raise ContractError(
                    f"with the bad item {bad!r} at 1, the items {failed} fail; check an item in `prepare`, and keep "
                    "nothing from one item to the next"
                )
            require_close(
                reference,
                np.delete(result.vectors, 1, axis=0),
                SAME_IN_BATCH,
                fault=f"beside the bad item {bad!r}",
                advice="keep nothing from one item to the next",
            )


def truncation(case: ContractCase) -> None:
    """Nothing is cut without a trace: where the end of a long text makes no difference, it is marked."""
    if "text" not in case.info.modalities:
        raise NotApplicableError("only texts are checked; a cut image or sound would show in its vector")
    texts = [item for item in case.good if isinstance(item, str)]
    if len(texts) < 2:
        raise NotApplicableError("give at least two texts among the good items")
    first, *others = texts
    body = " ".join([first] * (_LONG_TEXT // (len(first) + 1) + 1))
    long = [f"{body} {' '.join([other] * 20)}" for other in others]
    with case.host() as host:
        result = host.embed([body, *long])
    traced = {*result.truncated, *(error.index for error in result.errors)}
    unmarked = result.vectors[[i for i in range(len(long) + 1) if i not in traced]]
    if len(unmarked) > 1 and all_close(unmarked[1:], np.repeat(unmarked[:1], len(unmarked) - 1, axis=0), _NO_TRACE):
        raise ContractError(
            f"of a text of {len(body)} characters the end makes no difference, and it is not marked as cut; return "
            "vecdb.Windows from `prepare` for an item that is longer than the model takes"
        )


def offline(case: ContractCase) -> None:
    """Loading and embedding reach for no network."""
    report = case.other_process
    if report.get("network"):
        raise ContractError(
            f"the embedder tried to reach {', '.join(report['network'][:3])}; load from local files only"
        )
    case.from_other_process("vectors")


def silence(case: ContractCase) -> None:
    """Nothing is printed."""
    printed = case.from_other_process("output")
    if printed:
        raise ContractError(
            f"the embedder prints {printed[0][:300]!r}; use `logging`, and turn off progress bars of libraries"
        )


def side_effects(case: ContractCase) -> None:
    """Nothing outside the embedder is changed."""
    changed = case.from_other_process("changed")
    if changed:
        raise ContractError(
            f"the embedder changes {', '.join(changed)}; use a generator of your own (numpy.random.default_rng), "
            "full paths, and arguments instead of environment variables"
        )


def input_unchanged(case: ContractCase) -> None:
    """Items, files, and what `prepare` made are left as they are: after a failure the host encodes again."""
    before = [_content(item) for item in case.good]
    with case.loaded() as embedder:
        batch = case.prepared(embedder)
        kept = list(batch)
        first = rows(embedder, batch)
        if len(batch) != len(kept) or any(a is not b for a, b in zip(batch, kept, strict=True)):
            raise ContractError("encode changes the list it is given; work on a copy")
        try:
            second = rows(embedder, kept)
        except Exception as error:
            raise ContractError(
                f"encoding the same prepared items again fails ({type(error).__name__}: {error}); encode must not "
                "change them"
            ) from error
    if [_content(item) for item in case.good] != before:
        raise ContractError("the embedder changes its items or their files; only read them")
    require_close(
        first,
        second,
        SAME,
        fault="encoding the same prepared items again",
        advice="encode must not change what `prepare` made",
    )


def reuse(case: ContractCase) -> None:
    """After `close`, and closing again, `load` makes it work as before; another instance can take its place."""
    embedder = case.info.create(case.config)
    try:
        embedder.load()
        prepared = case.prepared(embedder)
        before = rows(embedder, prepared)
        embedder.close()
        embedder.close()
        embedder.load()
        after = rows(embedder, case.prepared(embedder))
        embedder.close()
    except VecdbError:
        raise
    except Exception as error:
        raise ContractError(
            f"closing twice and loading again fails ({type(error).__name__}: {error}); `close` must be repeatable, "
            "and `load` must make everything that `close` let go of"
        ) from error
    require_close(before, after, SAME, fault="after close and load", advice="`load` must restore everything")
    # So it is where an embedder hangs or breaks: a fresh one encodes what the lost one prepared.
    advice = "what `prepare` returns must need nothing of the instance that made it"
    with case.loaded() as another:
        try:
            encoded = rows(another, prepared)
        except Exception as error:
            raise ContractError(
                f"another instance cannot encode what one prepared ({type(error).__name__}: {error}); {advice}"
            ) from error
    require_close(before, encoded, SAME, fault="what one instance prepared and another encodes", advice=advice)


def threads(case: ContractCase) -> None:
    """Several threads at once get the vectors that one thread gets."""
    reference = case.vectors
    interval = sys.getswitchinterval()
    with case.host() as host:
        host.embed(case.good[:1]).check()
        faults: list[str] = []
        workers = [
            threading.Thread(target=_embed_repeatedly, args=(host, case.good, reference, i % len(case.good), faults))
            for i in range(_THREADS)
        ]
        sys.setswitchinterval(1e-6)  # as many changes of thread as possible
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            sys.setswitchinterval(interval)
    if faults:
        raise ContractError(
            f"several threads at once: {faults[0]}; `prepare` is called from several threads and must keep nothing "
            "in `self`"
        )


def _embed_repeatedly(host: EmbedderHost, items: list[Any], reference: Vector, shift: int, faults: list[str]) -> None:
    turned = [*items[shift:], *items[:shift]]
    expected = np.roll(reference, -shift, axis=0)
    until = time.monotonic() + _THREAD_SECONDS
    for _ in range(_THREAD_ROUNDS):
        try:
            result = host.embed(turned)
        except Exception as error:  # noqa: BLE001  (whatever a plugin raises in a thread is the finding)
            faults.append(f"{type(error).__name__}: {error}")
            return
        if result.errors:
            faults.append(f"item {result.errors[0].index} fails: {result.errors[0]}")
        elif not all_close(expected, result.vectors, SAME_IN_BATCH):
            faults.append("other vectors than in one thread")
        if faults or time.monotonic() > until:
            return


def _content(item: Any) -> Any:
    if isinstance(item, Path):
        return item.read_bytes()
    return item if isinstance(item, str) else item.data
