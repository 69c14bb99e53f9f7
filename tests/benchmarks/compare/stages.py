"""The measurements on one data set, each in rounds of all peers in turn, so that all meet the same machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.compare.catalog import PeerEntry
from tests.benchmarks.compare.client import Client, PeerError
from tests.benchmarks.compare.dataset import SHARES
from tests.benchmarks.compare.knobs import TARGETS, choose
from tests.benchmarks.compare.session import Session
from tests.benchmarks.compare.store import Result

FILTER_SECONDS, FILTER_QUERIES = 1.5, (30, 300)


@dataclass(frozen=True)
class Stage:
    """A data set in a run: its folder, how many of its records, and how often they are ingested."""

    session: Session
    data: Path
    count: int
    ingest_rounds: int

    def run(self) -> None:
        """All measurements."""
        everyone = list(self.session.peers)
        self._ingest()
        self._in_turn("first", self._first)
        self._in_turn("memory", self._memory)
        self._search()
        self.session.peers = everyone  # one that failed on this data set is tried on the next

    def _in_turn(self, kind: str, make: Callable[[PeerEntry], Result]) -> None:
        """Each round: one process a peer, one after the other."""
        print(f"{self.data.name}: {kind}", flush=True)
        for number in range(self.session.rounds):
            for peer in list(self.session.peers):
                self._measure(peer, f"{kind}/{peer.name}/{number}", partial(make, peer))

    def _measure(
        self, peer: PeerEntry, name: str, make: Callable[[], Result], *, needed: bool = True
    ) -> Result | None:
        """A result, or None where the peer failed, which drops it if the result is needed."""
        try:
            return self.session.store.measure(f"{self.data.name}/{name}", make)
        except PeerError as error:
            if needed:
                self.session.drop(peer, str(error))
            return None

    def _ingest(self) -> None:
        print(f"{self.data.name}: ingest of {self.count:,}", flush=True)
        for number in range(self.ingest_rounds):
            for peer in list(self.session.peers):
                name = f"ingest/{peer.name}/{number}"
                if number == self.ingest_rounds - 1 and self._lacks_database(peer):
                    self.session.store.forget(f"{self.data.name}/{name}")
                self._measure(peer, name, partial(self._ingest_one, peer))

    def _lacks_database(self, peer: PeerEntry) -> bool:
        """A run is resumed whose database is gone, though not all was measured on it."""
        done = self._has_searched(peer, self.session.rounds - 1)
        return not done and not self.session.database(self.data.name, peer).exists()

    def _ingest_one(self, peer: PeerEntry) -> Result:
        folder = self.session.database(self.data.name, peer)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self.session.client(peer) as client:
            try:
                return client.call("ingest", folder=str(folder), data=str(self.data), count=self.count)
            except PeerError:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def _first(self, peer: PeerEntry) -> Result:
        folder = self.session.database(self.data.name, peer)
        with self.session.client(peer) as client:
            return client.call("first", folder=str(folder), data=str(self.data))

    def _memory(self, peer: PeerEntry) -> Result:
        folder = self.session.database(self.data.name, peer)
        with self.session.client(peer) as client:
            return client.call("memory", folder=str(folder), data=str(self.data))

    def _search(self) -> None:
        """All peers are open at once, one living process each; they are measured in turn."""
        print(f"{self.data.name}: search", flush=True)
        clients: dict[str, Client] = {}
        try:
            for peer in list(self.session.peers):
                if all(self._has_searched(peer, number) for number in range(self.session.rounds)):
                    continue
                client = self._open(peer)
                if client is not None:
                    clients[peer.name] = client
            for number in range(self.session.rounds):
                for peer in list(self.session.peers):
                    if peer.name in clients:
                        self._search_one(peer, clients[peer.name], number)
        finally:
            for client in clients.values():
                client.end()

    def _has_searched(self, peer: PeerEntry, number: int) -> bool:
        return self.session.store.get(f"{self.data.name}/filter/{peer.name}/{number}") is not None

    def _open(self, peer: PeerEntry) -> Client | None:
        folder = self.session.database(self.data.name, peer)
        client = None
        try:
            client = self.session.start(peer)
            client.call("open", folder=str(folder), data=str(self.data), count=self.count)
        except PeerError as error:
            self.session.store.put(f"{self.data.name}/open/{peer.name}", {"error": str(error)})
            self.session.drop(peer, str(error))
            if client is not None:
                client.end()
            return None
        return client

    def _search_one(self, peer: PeerEntry, client: Client, number: int) -> None:
        """One round of one peer: both recalls, one and two threads, filters."""
        chosen = self._measure(peer, f"knobs/{peer.name}", partial(choose, client))
        if chosen is None:
            return
        queries = chosen["queries"]
        for target in TARGETS:
            point = chosen["points"].get(target)
            if point is None:
                continue
            name = f"search-{target}/{peer.name}/{number}"
            self._measure(peer, name, partial(client.call, "search", queries=queries, knob=point["knob"]))
        usual = next(iter(chosen["points"].values()), None) or chosen["best"]
        for threads in (1, 2):
            name = f"threads-{threads}/{peer.name}/{number}"
            make = partial(client.call, "threads", queries=queries, knob=usual["knob"], threads=threads)
            self._measure(peer, name, make, needed=False)  # not every peer can be searched from threads
        self._measure(peer, f"filter/{peer.name}/{number}", partial(self._filtered, client, usual["knob"]))

    @staticmethod
    def _filtered(client: Client, knob: int | None) -> Result:
        if not client.about["keeps_records"]:
            return {}
        found = {}
        for share in SHARES:
            mean = client.call("search", queries=5, knob=knob, share=share)["mean"]
            least, most = FILTER_QUERIES
            queries = int(min(most, max(least, FILTER_SECONDS / mean)))
            found[str(share)] = client.call("search", queries=queries, knob=knob, share=share)
        return found
