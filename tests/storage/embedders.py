"""Embedders that write down what they were asked to embed; in a module that a child process can import."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

import vecdb
from vecdb.embedding.probe import probe_items

DIMENSION = 8


@dataclass(frozen=True)
class Config:
    flavour: int = vecdb.option(0, help="another one makes other vectors")
    device: str = vecdb.option("cpu", affects="runtime", help="changes no vector")
    drift: float = vecdb.option(0.0, affects="runtime", help="changes vectors, though it is said not to")
    model: Path | None = vecdb.option(None, affects="location", help="a file; another content makes other vectors")


class _Writing(vecdb.Embedder):
    seen: ClassVar[list]
    salt = b""

    def load(self):
        self.salt = self.config.model.read_bytes() if self.config.model else b""

    @property
    def dimension(self):
        return DIMENSION

    def weights(self):
        return [self.config.model] if self.config.model else []

    def row(self, data):
        digest = hashlib.sha256(self.salt + b"%d/" % self.config.flavour + data).digest()
        direction = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(DIMENSION)
        return direction + self.config.drift

    def encode(self, batch, role):
        self.seen += [(item, role) for item in batch]
        return np.stack([self.row(self.as_bytes(item)) for item in batch])


class Counting(_Writing):
    """A text's vector is random but fixed. Texts with "unreadable" cannot be embedded."""

    seen: ClassVar[list] = []

    @classmethod
    def documents(cls):
        """The texts embedded to be stored, probes left out."""
        probes = probe_items("text")
        return [item for item, role in cls.seen if role == "document" and item not in probes]

    def prepare(self, item):
        if "unreadable" in item:
            raise vecdb.ItemError("this text cannot be read")
        return item

    def as_bytes(self, item):
        return item.encode()


@dataclass(frozen=True)
class NamedConfig:
    model: str = vecdb.option(affects="location", help="a file, or a name that means one elsewhere")


class Named(Counting):
    """As `Counting`, with a model that is text: a path where there is such a file."""

    def load(self):
        self.salt = Path(self.config.model).read_bytes()

    def weights(self):
        return [Path(self.config.model)]

    def row(self, data):
        return np.random.default_rng([*self.salt, *data]).standard_normal(DIMENSION)


class Bytes(_Writing):
    """The same for images and sounds; those that begin with "broken" cannot be read."""

    seen: ClassVar[list] = []

    def prepare(self, item):
        data = item.read_bytes() if isinstance(item, Path) else item.data
        if data.startswith(b"broken"):
            raise ValueError("not a picture")
        return data

    def as_bytes(self, item):
        return item


class _Plugin:
    @vecdb.hookimpl
    def vecdb_register_embedders(self):
        return [
            vecdb.EmbedderInfo(
                name="counting",
                summary="writes down what it embeds",
                modalities=frozenset({"text"}),
                config=Config,
                factory=f"{__name__}:Counting",
                batch_size=16,
            ),
            vecdb.EmbedderInfo(
                name="named",
                summary="the same with a model that is a path or a name",
                modalities=frozenset({"text"}),
                config=NamedConfig,
                factory=f"{__name__}:Named",
            ),
            vecdb.EmbedderInfo(
                name="bytes",
                summary="the same for images and sounds",
                modalities=frozenset({"image", "audio"}),
                config=Config,
                factory=f"{__name__}:Bytes",
            ),
        ]


def plugins_for_tests():
    """The installed plugins and those of this module."""
    found = vecdb.Plugins()
    found.register(_Plugin(), "tests")
    return found
