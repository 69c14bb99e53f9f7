"""What all stages of one run share: options, the peers that take part, where things are, and what fell out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.compare.catalog import PeerEntry
from tests.benchmarks.compare.client import Client, PeerError
from tests.benchmarks.compare.environments import InstallError, environment
from tests.benchmarks.compare.store import Store


@dataclass
class Session:
    """One run."""

    cache: Path
    store: Store
    rounds: int
    count: int | None
    peers: list[PeerEntry]
    pythons: dict[str, Path] = field(default_factory=dict)

    def install(self) -> None:
        """An interpreter for each peer; those that cannot be installed drop out."""
        for peer in list(self.peers):
            try:
                if peer.requirements:
                    folder = self.cache / "environments"
                    self.pythons[peer.name] = environment(folder, peer.environment, peer.requirements)
                else:
                    self.pythons[peer.name] = Path(sys.executable)
                with self.client(peer) as client:
                    self.store.put(f"about/{peer.name}", client.about)
            except (InstallError, PeerError) as error:
                self.store.put(f"about/{peer.name}", {"error": str(error)})
                self.drop(peer, str(error))

    def drop(self, peer: PeerEntry, reason: str) -> None:
        """Go on without a peer."""
        print(f"  {peer.name} is skipped: {reason}", file=sys.stderr, flush=True)
        self.peers = [other for other in self.peers if other.name != peer.name]

    def start(self, peer: PeerEntry) -> Client:
        """A new process of a peer, ready for requests."""
        client = Client(peer, self.pythons[peer.name], self.cache / "logs" / f"{peer.name}.log")
        try:
            client.about = client.call("hello")
        except PeerError:
            client.end()
            raise
        return client

    @contextmanager
    def client(self, peer: PeerEntry) -> Iterator[Client]:
        """A new process of a peer that ends with the block."""
        client = self.start(peer)
        try:
            yield client
        finally:
            client.end()

    def database(self, data: str, peer: PeerEntry) -> Path:
        """The folder in which a peer keeps its records of a data set."""
        return self.cache / "databases" / self.store.folder.name / data / peer.name

    def forget_databases(self) -> None:
        """Remove the folders of all peers in this run."""
        shutil.rmtree(self.cache / "databases" / self.store.folder.name, ignore_errors=True)
