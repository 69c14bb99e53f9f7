"""An embedder of texts and pictures that fails and lies as it is told."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import vecdb

DIMENSION = 8

# Mood: what a call raises whose contents have to be embedded.
SPOILING = {
    "few rows": vecdb.EmbedderContractError,
    "one row": vecdb.EmbedderContractError,
    "integers": vecdb.EmbedderContractError,
    "nothing": vecdb.EmbedderContractError,
    "no memory": MemoryError,
    "interrupted": KeyboardInterrupt,
}
REFUSING = ("raises", "raises sometimes", "NaN", "NaN sometimes", "zeros")  # item by item
MOODS = (*SPOILING, *REFUSING)


@dataclass(frozen=True)
class Config:
    """No options."""


class Moody(vecdb.Embedder):
    """A content's vector is random but fixed; what begins with "unreadable" cannot be embedded in any mood."""

    mood: ClassVar[str] = ""
    extra: ClassVar[int] = 0  # numbers more than DIMENSION

    def load(self) -> None:
        self._dimension = DIMENSION + self.extra

    @property
    def dimension(self) -> int:
        return self._dimension

    def prepare(self, item: Any) -> bytes:
        data = as_bytes(item)
        if data.startswith(b"unreadable"):
            raise vecdb.ItemError("this cannot be read")
        return data

    def encode(self, batch: Any, role: str) -> Any:
        rows = np.stack([_row(data, self.dimension) for data in batch])
        bad = [is_picked(data) for data in batch]
        match self.mood:
            case "raises":
                raise RuntimeError("in no mood")
            case "raises sometimes":
                if any(bad):
                    raise RuntimeError("in no mood for one of these")
            case "NaN":
                rows[:, 0] = np.nan
            case "NaN sometimes":
                rows[bad] = np.nan
            case "zeros":
                rows[:] = 0
            case "few rows":
                return rows[1:]
            case "one row":
                return rows[0]
            case "integers":
                return np.ones(rows.shape, np.int64)
            case "nothing":
                return None
            case "no memory":
                raise MemoryError
            case "interrupted":
                raise KeyboardInterrupt
        return rows


def as_bytes(content: Any) -> bytes:
    """What of a text or picture is embedded."""
    return content.encode() if isinstance(content, str) else content.data


def is_picked(data: bytes) -> bool:
    """Whether "sometimes" means this one."""
    return zlib.crc32(data) % 3 == 0


def _row(data: bytes, dimension: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(data)).standard_normal(dimension)


def vector_of(content: Any) -> np.ndarray:
    """What a good mood makes of a content."""
    return _row(as_bytes(content), DIMENSION).astype(np.float32)


def refuses(mood: str, content: Any) -> bool:
    """Whether this content alone cannot be embedded in this mood."""
    data = as_bytes(content)
    if data.startswith(b"unreadable"):
        return True
    return mood in REFUSING and ("sometimes" not in mood or is_picked(data))


@contextlib.contextmanager
def in_mood(mood: str, *, extra: int = 0) -> Iterator[None]:
    """For the time of a block."""
    Moody.mood, Moody.extra = mood, extra
    try:
        yield
    finally:
        Moody.mood, Moody.extra = "", 0


class _Plugin:
    @vecdb.hookimpl
    def vecdb_register_embedders(self) -> list[vecdb.EmbedderInfo]:
        return [
            vecdb.EmbedderInfo(
                name="moody",
                summary="fails and lies as it is told",
                modalities=frozenset({"text", "image"}),
                config=Config,
                factory=f"{__name__}:Moody",
                batch_size=4,
            )
        ]


def moody_plugins() -> vecdb.Plugins:
    """No plugin but this one."""
    found = vecdb.Plugins(load=[])
    found.register(_Plugin(), "moody")
    return found
