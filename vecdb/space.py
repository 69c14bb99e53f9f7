"""A space of an open collection: its row, its embedder and its index."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from vecdb.definition import opened_options
from vecdb.embedder import FileHashes
from vecdb.embedding import Embedded, EmbedderHost, probe_from_bytes, probes_agree
from vecdb.errors import CorruptDatabaseError, EmbedderMismatchError, UnsupportedContentError
from vecdb.plugins import Plugins
from vecdb.storage.engine import DatabaseEngine
from vecdb.storage.spaces import SpaceRow, update_space
from vecdb.sync import SpaceIndex
from vecdb.types import Progress, Role, Vector
from vecdb.vectors import as_vector, as_vectors, normalise


class Space:
    """One space of an open collection. Safe to use from several threads."""

    def __init__(
        self, engine: DatabaseEngine, plugins: Plugins, row: SpaceRow, *, embed_timeout: float | None = None
    ) -> None:
        self.row = row
        self._embed_timeout = embed_timeout
        self.index = SpaceIndex(engine, row)
        self._engine = engine
        self._plugins = plugins
        self._lock = threading.Lock()
        self._host: EmbedderHost | None = None

    @property
    def embeds(self) -> bool:
        """Whether an embedder makes the vectors, or the caller brings them."""
        return self.row.embedder is not None

    @property
    def what(self) -> str:
        """How messages call the space."""
        return f"space {self.row.name!r}"

    def host(self) -> EmbedderHost:
        """The embedder, once it is certain that its vectors are comparable with the stored ones.

        Raises:
            EmbedderNotFoundError, EmbedderUnavailableError: it is not installed, or a file is missing.
            EmbedderMismatchError: other weights, options or libraries now give other vectors.
        """
        with self._lock:
            if self._host is None:
                if self.row.embedder is None:
                    raise UnsupportedContentError(f"{self.what} has no embedder; bring vectors")
                info = self._plugins.embedder(self.row.embedder).with_timeout(self._embed_timeout)
                host = EmbedderHost(info, opened_options(info, self.row.options, self._engine.folder))
                self._verify(host)
                self._host = host
            return self._host

    def _verify(self, host: EmbedderHost) -> None:
        hashes = FileHashes(self.row.weights)
        found = host.fingerprint(hashes)
        if found != self.row.fingerprint:
            changed_files = [
                path
                for path, (*_, digest) in hashes.known.items()
                if path in self.row.weights and self.row.weights[path][2] != digest
            ]
            cause = (
                f"the content of {', '.join(changed_files)} changed"
                if changed_files
                else f"its files, its options or the version of {host.info.distribution} changed"
            )
            raise EmbedderMismatchError(
                f"{self.what}: embedder {host.info.name!r} now makes other vectors than when the collection was made "
                f"({cause}), so they are not comparable; give it the old ones, or make a new collection. Searching "
                "with a vector still works",
                expected=self.row.fingerprint or "",
                got=found,
            )
        environment = host.environment()
        changed = sorted(
            name
            for name in {*environment, *self.row.environment}
            if environment.get(name) != self.row.environment.get(name)
        )
        if changed and not probes_agree(probe_from_bytes(self.row.probe or b""), host.probe()):
            raise EmbedderMismatchError(
                f"{self.what}: embedder {host.info.name!r} gives other vectors since {', '.join(changed)} changed; "
                "go back, or make a new collection",
                expected=str(dict(self.row.environment)),
                got=str(environment),
            )
        if not self._engine.read_only and (changed or hashes.known != self.row.weights):
            with self._engine.transaction() as transaction:
                update_space(transaction, self.row.id, {"environment": environment, "weights": hashes.known})

    def is_comparable(self, probe: bytes) -> bool:
        """Whether vectors of the same fingerprint whose space had this probe are comparable with those of this one."""
        own = self.row.probe or b""
        if probe == own:
            return True
        try:
            return probes_agree(probe_from_bytes(probe), probe_from_bytes(own))
        except CorruptDatabaseError:  # of another space, maybe: its vectors are embedded again
            return False

    def embed(self, items: Sequence[Any], role: Role, progress: Progress | None = None) -> Embedded:
        """Embed contents with the space's embedder; the vectors are ready to be stored or searched.

        Raises:
            EmbedderMismatchError: the vectors have another length than those of the space.
        """
        embedded = self.host().embed(items, role, metric=self.row.metric, progress=progress)
        expected, got = self.row.dimension, embedded.vectors.shape[1]
        if got != expected:
            raise EmbedderMismatchError(
                f"{self.what}: embedder {self.row.embedder!r} now makes vectors of length {got}, and made {expected} "
                "when the collection was made; give it the old options and files, or make a new collection",
                expected=str(expected),
                got=str(got),
            )
        return embedded

    def as_stored(self, vectors: Any, *, what: str) -> Vector:
        """The caller's vectors (n, dimension), checked, and of length 1 where the metric is cosine."""
        rows = as_vectors(vectors, self.row.dimension, what=what)
        return normalise(rows, what=what) if self.row.metric == "cosine" else rows

    def one_as_stored(self, vector: Any, *, what: str) -> Vector:
        """Like `as_stored` for one vector (dimension,)."""
        row = as_vector(vector, self.row.dimension, what=what)
        return np.asarray(normalise(row[None, :], what=what)[0]) if self.row.metric == "cosine" else row

    def close(self) -> None:
        """Save the index, if that is worthwhile, and let go of the embedder."""
        try:
            self.release()
        finally:
            self.index.close()

    def release(self) -> None:
        """Let go of the embedder."""
        with self._lock:
            host, self._host = self._host, None
        if host is not None:
            host.close()

    def reset_after_fork(self) -> None:
        """In a forked child: the parent's index and locks are of no use."""
        self._lock = threading.Lock()
        self.index = SpaceIndex(self._engine, self.row)
