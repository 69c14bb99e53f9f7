"""What a peer must do to be measured: a durable store of records behind its own public Python API.

Nothing here imports vecdb or a peer. Adapters return documents and metadata as Python objects, as an
application would get them: a peer that hands over a table or a cursor is read out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Metadata = dict[str, Any]

# The same graph for every peer that lets one say: links a node, and candidates while building.
M, EF_CONSTRUCTION = 16, 200
# The machine that this is made for has two cores; peers that ask how many threads they may use get this.
THREADS = 2


class Hit(NamedTuple):
    """One result: its number, and what is stored with it."""

    id: int
    document: str | None = None
    metadata: Metadata | None = None


class Peer(ABC):
    """A peer. Ids are row numbers, vectors have length 1, `price` of the metadata is uniform in [0, 1)."""

    packages: ClassVar[tuple[str, ...]]
    # Smallest and largest value worth trying of the option that trades time for recall; None: always exact.
    knob: ClassVar[tuple[int, int] | None] = (10, 1280)
    # False: it stores ids and vectors only, and cannot filter.
    keeps_records: ClassVar[bool] = True

    def versions(self) -> str:
        """Names and versions of the packages that are measured."""
        return ", ".join(f"{name} {version(name)}" for name in self.packages)

    @abstractmethod
    def create(self, folder: Path, dimension: int) -> None:
        """Make an empty collection in `folder`, which is empty."""

    @abstractmethod
    def open(self, folder: Path, dimension: int) -> None:
        """Open what another process made."""

    @abstractmethod
    def insert(self, ids: list[int], documents: list[str], metadata: list[Metadata], vectors: Vector) -> None:
        """Add a batch; what the peer promises to be durable then, is."""

    def commit(self) -> None:  # noqa: B027
        """What must be done before all that was inserted is durable and found, where `insert` is not enough."""

    def finish(self) -> None:  # noqa: B027
        """Wait until the index is complete, or build it, where the peer leaves that to its user."""

    @abstractmethod
    def search(self, query: Vector, k: int, knob: int | None, below: float | None = None) -> list[Hit]:
        """The k nearest with document and metadata; with `below`, among those with `price < below`."""

    @abstractmethod
    def close(self) -> None:
        """Close it, so that another process may open it."""
