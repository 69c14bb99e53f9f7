"""A good embedder of words, and broken ones, each with one fault; in a module that a child can import."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from tests.testing.config import HeavyConfig

GOOD = ["the red dog", "the small cat", "music in the night", "a river of water", "one city"]
DIMENSION = 64


@dataclass(frozen=True)
class Config:
    seed: int = vecdb.option(1, help="another seed makes other vectors")
    threads: int = vecdb.option(1, affects="runtime", help="does not matter")
    scale: float = vecdb.option(1.0, affects="runtime", help="matters only to the embedder that lies")
    device: str = vecdb.option("cpu", help="matters to no vector, but is said to")
    table: Path | None = vecdb.option(None, affects="location", help="a file")


class Good(vecdb.Embedder):
    """A sum of fixed random vectors, one a word."""

    rows: dict[str, np.ndarray] | None = None

    def load(self):
        self.rows = {}

    def close(self):
        self.rows = None

    @property
    def dimension(self):
        if self.rows is None:
            raise RuntimeError("not loaded")
        return DIMENSION

    def weights(self):
        return [self.config.table] if self.config.table else []

    def prepare(self, item):
        words = item.lower().split()
        if words == ["unknown"]:
            raise vecdb.ItemError("no known word")
        return words

    def row(self, word):
        seed = hashlib.sha256(f"{self.config.seed}/{word}".encode()).digest()
        return np.random.default_rng(list(seed)).standard_normal(DIMENSION)

    def encode(self, batch, role):
        if self.rows is None:
            raise RuntimeError("not loaded")
        return np.stack([sum(self.row(word) for word in words) for words in batch])


class GlobalSeed(Good):
    def encode(self, batch, role):
        np.random.seed(0)
        return super().encode(batch, role)


class UnseededNoise(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        return rows + np.random.default_rng().standard_normal(rows.shape)


class HashBased(Good):
    def row(self, word):
        return np.random.default_rng(hash(word) % 2**32).standard_normal(DIMENSION)


class WrongDimension(Good):
    def encode(self, batch, role):
        return super().encode(batch, role)[:, 1:]


class DroppedItem(Good):
    def encode(self, batch, role):
        return super().encode(batch, role)[: max(1, len(batch) - 1)]


class Integers(Good):
    def encode(self, batch, role):
        return (super().encode(batch, role) * 100).astype(np.int64)


class BatchDependent(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        return rows + 0.5 * rows.mean(axis=0)


class NotANumber(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        rows[:, 0] = np.nan
        return rows


class Prints(Good):
    def encode(self, batch, role):
        print("embedding", len(batch))
        return super().encode(batch, role)


class Constant(Good):
    def row(self, word):
        return np.ones(DIMENSION)

    def prepare(self, item):
        return super().prepare(item)[:1]


class Reordered(Good):
    def encode(self, batch, role):
        return super().encode(sorted(batch, key=len), role)


class Network(Good):
    def load(self):
        super().load()
        with contextlib.suppress(OSError):  # a model hub that is politely not reached
            socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()


class RuntimeChangesVectors(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        rows[:, : DIMENSION // 2] *= self.config.scale
        return rows


class NotReusable(Good):
    def load(self):
        if "rows" in vars(self):
            raise RuntimeError("loaded before")
        super().load()


class CloseOnce(Good):
    def close(self):
        self.rows.clear()
        self.rows = None


class PreparesForItself(Good):
    def load(self):
        super().load()
        self.texts = []

    def prepare(self, item):
        self.texts.append(super().prepare(item))
        return len(self.texts) - 1

    def encode(self, batch, role):
        return super().encode([self.texts[place] for place in batch], role)


class ThreadUnsafe(Good):
    def prepare(self, item):
        self.words = super().prepare(item)
        time.sleep(1e-4)
        return self.words


class ChangesPrepared(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        for words in batch:
            words.pop()
            words.append("changed")
        return rows


class SortsItsBatch(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        batch.sort()
        return rows


class ChangesFolder(Good):
    def load(self):
        super().load()
        os.chdir("/")


class ChangesEnvironment(Good):
    def load(self):
        super().load()
        os.environ["MY_MODEL_HOME"] = "/nowhere"


class ChangesRandom(Good):
    def encode(self, batch, role):
        random.random()
        return super().encode(batch, role)


class RoleCrash(Good):
    def encode(self, batch, role):
        return {"document": super().encode}[role](batch, role)


class OneBadSpoilsAll(Good):
    spoilt = False

    def prepare(self, item):
        self.spoilt = self.spoilt or item == "unknown"
        if self.spoilt:
            raise ValueError("spoilt")
        return super().prepare(item)


class EmbedsAnything(Good):
    def prepare(self, item):
        return item.lower().split()


class CutsSilently(Good):
    """Like the model libraries: what is longer than the model takes is left out without a word."""

    def prepare(self, item):
        return super().prepare(item)[:100]


class CutsAndRounds(CutsSilently):
    """The same on a processor that rounds other rows of a batch otherwise."""

    def encode(self, batch, role):
        rows = super().encode(batch, role)
        rows[::2] *= 1 + 4e-6
        return rows


class CutsAndSaysSo(Good):
    def prepare(self, item):
        words = super().prepare(item)
        parts = [words[start : start + 100] for start in range(0, len(words), 100)]
        return vecdb.Windows(parts) if len(parts) > 1 else words


class ForgetsWeights(Good):
    def weights(self):
        return []


class DimensionBeforeLoad(Good):
    @property
    def dimension(self):
        return DIMENSION + 1


class DropsConfig(Good):
    def __init__(self, config):
        self.config = replace(config, threads=7)


class FarIsNear(Good):
    def encode(self, batch, role):
        rows = super().encode(batch, role)
        return -rows if role == "query" else rows


class ProcessInFingerprint(Good):
    """Names another file as its weights in each process."""

    def weights(self):
        path = Path(self.config.table).with_name(f"cache-{os.getpid()}")
        path.write_text(str(os.getpid()))
        return [self.config.table, path]


def info_of(embedder: type, config: type = Config, **more: Any) -> vecdb.EmbedderInfo:
    return vecdb.EmbedderInfo(
        name="sample", summary="for the tests", modalities=frozenset({"text"}), config=config,
        factory=f"{embedder.__module__}:{embedder.__name__}", **more,
    )  # fmt: skip


HEAVY = info_of(Good, HeavyConfig, requires=("plistlib",))
