"""The databases that are damaged: small ones, each made once and copied for every damage."""

from __future__ import annotations

import os
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np

import vecdb
from tests.torture.damage_state import State, state_of

DIMENSION = 8
CACHED = "a text whose record is gone, but whose vector is remembered"
WORDS = str.split("river stone cloud bread violin winter engine garden mirror copper whale lantern")
Open = Callable[[Path], vecdb.Database]


@dataclass(slots=True)
class Base:
    """A pristine database.

    Attributes:
        name: how failures call it.
        folder: it, as it is copied.
        older: the same at an earlier moment.
        states: what it held after each change that the folder, its log or its older copy can show; newest last.
    """

    name: str
    folder: Path
    older: Path
    states: list[State] = field(default_factory=list)

    @property
    def state(self) -> State:
        return self.states[-1]


@contextmanager
def _alike_each_time(seed: int) -> Iterator[None]:
    """Names and graphs are the same for the same seed, or a round could not be seen again."""
    chance = random.Random(seed)
    with (
        mock.patch.object(uuid, "uuid4", side_effect=lambda: uuid.UUID(int=chance.getrandbits(128))),
        mock.patch.object(os, "cpu_count", return_value=1),
    ):
        yield


def make_bases(folder: Path, seed: int, open_database: Open) -> list[Base]:
    """All of them; when this returns none is open."""
    folder.mkdir(parents=True)
    with _alike_each_time(seed):
        return [make(folder, np.random.default_rng(seed), open_database) for make in (_small, _graph, _contents, _log)]


def _base(folder: Path, name: str) -> Base:
    return Base(name, folder / f"{name}.vecdb", folder / f"{name}-older.vecdb")


def texts(count: int, start: int = 0) -> list[str]:
    return [f"{WORDS[n % len(WORDS)]} and {WORDS[n * 7 % len(WORDS)]}, number {n}" for n in range(start, start + count)]


def facts(count: int, start: int = 0) -> list[dict]:
    """Metadata of every kind, small and large."""
    return [
        {
            "year": 1990 + n % 30, "even": n % 2 == 0, "name": f"näme {n}", "tags": [WORDS[n % 12], n],
            "author": {"name": WORDS[n % 5], "age": n + 0.5}, **({"long": "x" * 3000} if n % 17 == 5 else {}),
        }
        for n in range(start, start + count)
    ]  # fmt: skip


def ids(count: int, start: int = 0) -> list[str]:
    return [f"id-{n:04d}" for n in range(start, start + count)]


def _small(folder: Path, chance: np.random.Generator, open_database: Open) -> Base:
    """Exact spaces: vectors that were brought, some of them shared by two records, and texts."""
    base = _base(folder, "small")
    with open_database(base.folder) as database:
        points = database.create_collection("points", dimension=DIMENSION, metric="l2", index="exact")
        vectors = chance.standard_normal((60, DIMENSION)).astype(np.float32)
        vectors[50:] = vectors[:10]
        points.add([None] * 60, ids=ids(60), metadata=facts(60), vectors=vectors)
        notes = database.create_collection("notes", embedder="counting")
        notes.add([*texts(40), CACHED], ids=ids(41), metadata=facts(41))
        notes.delete(["id-0040"])
        base.states.append(state_of(database))
    shutil.copytree(base.folder, base.older)
    with open_database(base.folder) as database:
        database.collection("points").delete(["id-0003", "id-0055"])
        database.collection("notes").upsert(texts(3, 100), ids=ids(3, 1), metadata=facts(3, 100))
        database.collection("notes").update_metadata("id-0007", {"year": 1, "changed": True})
        base.states.append(state_of(database))
    return base


def _graph(folder: Path, chance: np.random.Generator, open_database: Open) -> Base:
    """Two spaces with a graph each, saved twice, with deletions since, and vectors that no graph has yet."""
    base = _base(folder, "graph")
    spaces = {
        "default": {"dimension": DIMENSION, "metric": "cosine", "index": "hnsw"},
        "other": {"dimension": DIMENSION, "metric": "cosine", "index": "hnsw"},
    }
    with open_database(base.folder) as database:
        found = database.create_collection("graph", spaces=spaces)

        def add(count: int, start: int) -> None:
            rows = chance.standard_normal((2, count, DIMENSION)).astype(np.float32)
            vectors = {"default": rows[0], "other": rows[1]}
            found.add(texts(count, start), ids=ids(count, start), metadata=facts(count, start), vectors=vectors)

        add(240, 0)
        found.optimize()
        base.states.append(state_of(database))
    shutil.copytree(base.folder, base.older)
    with open_database(base.folder) as database:
        found = database.collection("graph")
        found.delete(ids(20, 30))
        add(60, 240)
        found.optimize()
        found.delete(ids(5, 100))
        base.states.append(state_of(database))
    return base


def _contents(folder: Path, chance: np.random.Generator, open_database: Open) -> Base:
    """Several collections: pictures as bytes, fields with two embedded spaces, failures, a deleted collection."""
    base = _base(folder, "contents")
    with open_database(base.folder) as database:
        pictures = database.create_collection("pictures", embedder="bytes")
        images = [vecdb.Image(chance.bytes(size)) for size in (40, 900, 5000, 20_000, 77, 31, 600)]
        pictures.add(images, ids=ids(7), metadata=facts(7))
        spaces = {
            "default": {"embedder": "counting", "source": "title"},
            "body": {"embedder": "counting", "source": "body", "metric": "l2"},
        }
        pages = database.create_collection("pages", spaces=spaces)
        fields = [{"title": title, "body": title * 3, "cover": images[0]} for title in texts(20)]
        pages.add(fields, ids=ids(20), metadata=facts(20))
        gone = database.create_collection("gone", embedder="counting")
        gone.add([CACHED, *texts(5, 50)])
        database.delete_collection("gone")
        base.states.append(state_of(database))
    shutil.copytree(base.folder, base.older)
    with open_database(base.folder) as database:
        pictures, pages = database.collection("pictures"), database.collection("pages")
        pictures.delete(["id-0005"])
        records = [
            vecdb.Record("bad-1", vecdb.Image(b"broken picture"), {"n": 1}),
            vecdb.Record("id-0007", vecdb.Image(chance.bytes(300)), {"n": 2}),
            vecdb.Record("bad-2", "a text where pictures go", {"n": 3}),
        ]
        pictures.ingest(records, on_error="quarantine")
        pages.ingest([vecdb.Record("bad-3", {"title": "unreadable", "body": "b"})], on_error="quarantine")
        base.states.append(state_of(database))
    return base


def _log(folder: Path, chance: np.random.Generator, open_database: Open) -> Base:
    """Copied while it is open: the last commits are in the write-ahead log only."""
    base = _base(folder, "log")
    made = folder / "log-made.vecdb"
    with open_database(made) as database:
        notes = database.create_collection("notes", embedder="counting")
        notes.add([*texts(30), CACHED], ids=ids(31), metadata=facts(31))
        notes.delete(["id-0030"])
        points = database.create_collection("points", dimension=DIMENSION, metric="l2", index="hnsw")
        points.add([None] * 90, ids=ids(90), metadata=facts(90), vectors=chance.standard_normal((90, DIMENSION)))
        points.optimize()
        base.states.append(state_of(database))
    shutil.copytree(made, base.older)
    with open_database(made) as database:
        notes, points = database.collection("notes"), database.collection("points")
        steps: list[Callable[[], object]] = [
            lambda: notes.add(texts(4, 60), ids=ids(4, 60), metadata=facts(4, 60)),
            lambda: notes.delete(ids(3)),
            lambda: notes.update_metadata("id-0010", {"changed": 1}),
            lambda: notes.upsert(texts(5, 70), ids=ids(5, 8), metadata=facts(5, 70)),
            lambda: points.delete(ids(9, 20)),
            lambda: database.create_collection("late", dimension=DIMENSION, index="exact"),
            lambda: database.collection("late").add([None], ids=["one"], vectors=[[1.0] * DIMENSION]),
            lambda: notes.add(texts(1, 90), ids=ids(1, 90), metadata=[{"long": "y" * 30_000}]),
        ]
        for step in steps:
            step()
            base.states.append(state_of(database))
        shutil.copytree(made, base.folder)
    shutil.rmtree(made)
    return base
