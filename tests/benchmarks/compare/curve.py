"""vecdb alone, from 10,000 to 1,000,000 records: ingest, search and memory as it grows."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

from tests.benchmarks.compare.catalog import OURS, PeerEntry
from tests.benchmarks.compare.client import Client, PeerError
from tests.benchmarks.compare.dataset import truth
from tests.benchmarks.compare.knobs import choose
from tests.benchmarks.compare.session import Session
from tests.benchmarks.compare.store import Result

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
NAME = "curve"
QUERIES = 1000


def sizes(count: int | None) -> tuple[int, ...]:
    """The sizes of a run; one with few records has few."""
    return SIZES if count is None else (count // 4, count // 2, count)


def run(session: Session, data: Path) -> None:
    """All sizes, each in a database of its own."""
    ours = [peer for peer in session.peers if peer.name == OURS]
    for size in sizes(session.count) if ours else ():
        print(f"{NAME}: {size:,}", flush=True)
        truth(data, size)
        try:
            _size(session, ours[0], data, size)
        except PeerError as error:
            print(f"  {NAME} of {size:,} failed: {error}", file=sys.stderr, flush=True)


def _size(session: Session, peer: PeerEntry, data: Path, size: int) -> None:
    folder = session.database(f"{NAME}-{size}", peer)
    place = {"folder": str(folder), "data": str(data)}
    last = f"{NAME}/{size}/search/{session.rounds - 1}"
    if session.store.get(last) is not None:
        return

    def ingest() -> Result:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with session.client(peer) as client:
            return client.call("ingest", **place, count=size)

    if not folder.exists():
        session.store.forget(f"{NAME}/{size}/ingest/0")
    session.store.measure(f"{NAME}/{size}/ingest/0", ingest)
    for number in range(session.rounds):
        for kind in ("first", "memory"):
            with session.client(peer) as client:
                session.store.measure(f"{NAME}/{size}/{kind}/{number}", partial(client.call, kind, **place))
    with session.client(peer) as client:
        client.call("open", **place, count=size)
        session.store.measure(f"{NAME}/{size}/knobs", lambda: choose(client))
        for number in range(session.rounds):
            session.store.measure(f"{NAME}/{size}/search/{number}", lambda: _search(session, client, size))
    shutil.rmtree(folder)


def _search(session: Session, client: Client, size: int) -> Result:
    """As an application calls it, without a setting; and at a recall of 0.95."""
    chosen = session.store.get(f"{NAME}/{size}/knobs") or {}
    point = chosen["points"].get("0.95") or chosen["best"]
    return {
        "default": client.call("search", queries=QUERIES, knob=None),
        "0.95": client.call("search", queries=QUERIES, knob=point["knob"]),
    }
