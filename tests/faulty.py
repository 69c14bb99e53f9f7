"""An embedder that does what its texts say: with a good text it works, with a fault's name it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

import vecdb

DIMENSION = 4
RELEASE = threading.Event()  # lets what hangs go, when a test is over
HANGING = threading.Event()  # something hangs


@dataclass(frozen=True)
class Config:
    lying: bool = vecdb.option(False, affects="runtime", help="cost says anything")


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("this error cannot even be shown")


def row(text):
    """A text's vector: random but fixed."""
    return np.random.default_rng(list(text.encode())).standard_normal(DIMENSION)


def raising(error):
    def fail(embedder, rows):
        raise error

    return fail


def hang(embedder=None, rows=None):
    HANGING.set()
    RELEASE.wait(120)
    return rows


def not_finite(embedder, rows):
    rows[embedder.bad] = np.nan
    return rows


def vague(embedder, rows):
    rows[embedder.bad] = 0
    return rows


def closes(embedder, rows):
    embedder.file.close()
    return embedder.file.read() or rows


class LazyArray:
    """An array that hangs when it is looked at, as one of a device's may."""

    def __array__(self, dtype=None, copy=None):
        hang()
        return np.ones((1, DIMENSION))


# What `encode` does about a batch that holds the text.
IN_ENCODE = {
    "raises": raising(RuntimeError("encode failed")),
    "raises what is half a character": raising(ValueError("half a character: \ud800")),
    "raises what cannot be shown": raising(Unreadable()),
    "stops iterating": raising(StopIteration()),
    "no memory": raising(MemoryError("encode has no memory")),
    "interrupted": raising(KeyboardInterrupt()),
    "exits": raising(SystemExit(3)),
    "hangs": hang,
    "hangs lazily": lambda embedder, rows: LazyArray(),
    "NaN": not_finite,
    "zeros": vague,
    "wide": lambda embedder, rows: np.hstack([rows, rows]),
    "flat": lambda embedder, rows: rows.ravel(),
    "integers": lambda embedder, rows: rows.astype(np.int64),
    "objects": lambda embedder, rows: rows.astype(object),
    "too few": lambda embedder, rows: rows[1:],
    "too many": lambda embedder, rows: np.vstack([rows, rows[:1]]),
    "no rows": lambda embedder, rows: rows[:0],
    "no array": lambda embedder, rows: None,
    "a text": lambda embedder, rows: "vectors",
    "closes its file": closes,
}
IN_PREPARE = {
    "prepare raises": raising(ValueError("prepare failed")),
    "prepare hangs": hang,
    "prepare has no memory": raising(MemoryError("prepare has no memory")),
    "prepare exits": raising(SystemExit(3)),
}


class Faulty(vecdb.Embedder):
    """Does what its texts say."""

    loads = 0
    costs = iter(())

    def load(self):
        type(self).loads += 1
        self.file = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123  (until `close`)

    def close(self):
        self.file.close()

    @property
    def dimension(self):
        return DIMENSION

    def prepare(self, item):
        if item in IN_PREPARE:
            IN_PREPARE[item](self, None)
        return item

    def cost(self, prepared):
        return next(Faulty.costs) if self.config.lying else len(prepared)

    def encode(self, batch, role):
        self.file.readable()  # raises if it is closed
        rows = np.stack([row(text) for text in batch])
        for self.bad, text in enumerate(batch):
            if text.strip() in IN_ENCODE:
                return IN_ENCODE[text.strip()](self, rows)
        return rows


def in_worker(batch):
    """What the pool's process does."""
    if "kills its worker" in batch:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), np.stack([row(text) for text in batch])


class Pooled(Faulty):
    """Its vectors are made by a process of its own."""

    worker = None

    def load(self):
        super().load()
        self.pool = ProcessPoolExecutor(1, get_context("spawn"))

    def close(self):
        super().close()
        self.pool.shutdown()

    def encode(self, batch, role):
        Pooled.worker, rows = self.pool.submit(in_worker, batch).result(60)
        return rows


PROGRAM = """
import os, signal, sys
import numpy as np
for line in sys.stdin:
    text = line.rstrip("\\n")
    if text == "kills its worker":
        os.kill(os.getpid(), signal.SIGKILL)
    print(*np.random.default_rng(list(text.encode())).standard_normal(4).tolist(), flush=True)
"""


class Piped(Faulty):
    """Its vectors are made by a program that it talks to."""

    worker = None

    def load(self):
        super().load()
        self.program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        Piped.worker = self.program.pid

    def close(self):
        super().close()
        try:
            self.program.stdin.close()
        finally:
            self.program.wait(60)
            self.program.stdout.close()

    def encode(self, batch, role):
        rows = []
        for text in batch:
            self.program.stdin.write(text + "\n")
            self.program.stdin.flush()
            rows.append([float(number) for number in self.program.stdout.readline().split()])
        if not all(rows):
            raise EOFError("the program is gone")
        return np.array(rows)


class Changing(Faulty):
    """Its dimension is not what it was."""

    size = DIMENSION

    @property
    def dimension(self):
        return Changing.size

    def encode(self, batch, role):
        return np.ones((len(batch), Changing.size))


class Stuck(Faulty):
    """It always hangs."""

    def encode(self, batch, role):
        return hang(self, super().encode(batch, role))


class Patient(Faulty):
    """It says how long it may take."""


class Unclosable(Faulty):
    """It cannot be closed."""

    def close(self):
        super().close()
        raise OSError("busy")


class Plugin:
    @vecdb.hookimpl
    def vecdb_register_embedders(self):
        return [
            vecdb.EmbedderInfo(
                name=made.__name__.lower(),
                summary="does what its texts say",
                modalities=frozenset({"text"}),
                config=Config,
                factory=f"{__name__}:{made.__name__}",
                batch_size=8,
                timeout=120.0 if made is Patient else None,
            )
            for made in (Faulty, Pooled, Piped, Changing, Stuck, Patient, Unclosable)
        ]


def faulty_plugins():
    """The embedders of this module only."""
    found = vecdb.Plugins(load=[])
    found.register(Plugin(), "faulty")
    return found
