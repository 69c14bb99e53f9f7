"""What campaigns do to a database: random operations, described so that a model can follow them.

Everything stored follows from the record's id and a version number, so a model is a few numbers: for
each collection, id to (version of content and vector, version of the metadata), in insertion order.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from tests.storage.embedders import DIMENSION, plugins_for_tests

Model = dict[str, dict[str, tuple[int, int]]]
Operation = dict[str, Any]

# Vectors that the caller brings in a graph, embedded texts, and embedded bytes kept as blobs.
LASTING = ("vectors", "texts", "pictures")
_VECTORS = 150  # distinct ones of a collection: records share them
_IDS = 200
_OPTIONS: dict[str, dict[str, Any]] = {
    "vectors": {
        "dimension": DIMENSION,
        "metric": "l2",
        "index": "hnsw",
        "index_options": {"M": 8, "ef_construction": 40},
    },
    "texts": {"embedder": "counting"},
    "pictures": {"embedder": "bytes"},
    "passing": {"dimension": DIMENSION, "metric": "cosine", "index": "hnsw"},
}


def kind_of(collection: str) -> str:
    """Collections that come and go are called "passing-N"."""
    return collection.partition("-")[0]


def distinct(id: str, version: int) -> int:
    """What a record's vector follows from."""
    return (zlib.crc32(id.encode()) + 7 * version) % _VECTORS


def content(collection: str, id: str, version: int) -> Any:
    """A record's content."""
    kind = kind_of(collection)
    if kind == "texts":
        return f"text number {distinct(id, version)}"
    if kind == "pictures":
        return vecdb.Image(b"picture number %d" % distinct(id, version))
    return f"{id} at {version}"


def metadata(id: str, version: int) -> dict[str, Any]:
    """A record's metadata."""
    return {"n": version, "id": id, "half": version / 2, "tags": ["even" if version % 2 == 0 else "odd"]}


def vector(id: str, version: int) -> np.ndarray:
    """The vector that the caller brings."""
    return np.random.default_rng(distinct(id, version)).standard_normal(DIMENSION).astype(np.float32)


def brings(collection: str) -> bool:
    """Whether its vectors come from the caller."""
    return "dimension" in _OPTIONS[kind_of(collection)]


def open_database(folder: Path, **options: Any) -> vecdb.Database:
    """The database under test, with the embedders of the tests."""
    return vecdb.open(folder, plugins=_plugins(), **options)


@functools.cache
def _plugins() -> vecdb.Plugins:
    """Found once: that takes longer than opening a database."""
    return plugins_for_tests()


def new_database(folder: Path, **options: Any) -> Model:
    """Make the lasting collections; the model of it."""
    with open_database(folder, **options) as database:
        for name in LASTING:
            create(database, name)
    return {name: {} for name in LASTING}


def create(database: vecdb.Database, name: str) -> None:
    """Make one of the collections."""
    database.create_collection(name, **_OPTIONS[kind_of(name)])


# --- choosing -----------------------------------------------------------------------------------

# Operation: how often. What takes long comes seldom, yet in every run.
WEIGHTS = {
    "add": 20,
    "upsert": 22,
    "update_metadata": 8,
    "delete": 12,
    "delete_where": 3,
    "ingest": 10,
    "optimize": 8,
    "reindex": 3,
    "vacuum": 2,
    "backup": 2,
    "create": 3,
    "drop": 3,
    "reopen": 3,
    "search": 8,
}


def choose(
    chance: random.Random, model: Model, step: int, weights: dict[str, int] | None = None, most: int = 20
) -> Operation:
    """A random operation that fits the model.

    Args:
        chance: what it is chosen by.
        model: what the database holds.
        step: never the same twice in the life of a database.
        weights: how often which operation; default: `WEIGHTS`.
        most: records that it adds at once; `ingest` three times as many.
    """
    weights = weights or WEIGHTS
    while True:
        (do,) = chance.choices(list(weights), list(weights.values()))
        name = chance.choice(list(model))
        operation = {"do": do, "collection": name, "n": step}
        known, some = list(model[name]), chance.randint(1, most)
        if do == "add":
            return operation | {"ids": [f"{step}-{place}" for place in range(some)]}
        if do == "upsert":
            ids = {f"r{chance.randrange(_IDS)}" for _ in range(some)}
            return operation | {"ids": sorted(ids)}
        if do == "ingest":
            ids = sorted({f"r{chance.randrange(_IDS)}" for _ in range(3 * some)})
            return operation | {"ids": ids, "size": chance.randint(3, 20)}
        if do in ("update_metadata", "delete") and known:
            number = 1 if do == "update_metadata" else min(some, len(known))
            # Sometimes what came last: it has the highest keys.
            return operation | {"ids": known[-number:] if chance.random() < 0.2 else chance.sample(known, number)}
        if do == "delete_where" and known:
            return operation | {"below": sorted(number for _, number in model[name].values())[len(known) // 4]}
        if do == "create":
            return operation | {"collection": f"passing-{step}"}
        if do == "drop" and name not in LASTING:
            return operation
        if do == "search" and known:
            return operation | {"ids": chance.sample(known, 1)}
        if do in ("optimize", "reindex", "vacuum", "backup", "reopen"):
            return operation


# --- what a model says of it --------------------------------------------------------------------


def stages(model: Model, operation: Operation) -> Iterator[Model]:
    """The states that an operation goes through, the last one when it is done.

    A state is what a crash may leave: of `ingest` each batch, of everything else nothing or all.
    """
    do, name, n = operation["do"], operation["collection"], operation["n"]
    if do in ("add", "upsert"):
        yield _with(model, name, operation["ids"], n)
    elif do == "ingest":
        after, ids, size = model, operation["ids"], operation["size"]
        for start in range(0, len(ids), size):
            after = _with(after, name, ids[start : start + size], n)
            yield after
    elif do == "update_metadata":
        (id,) = operation["ids"]
        yield {**model, name: {**model[name], id: (model[name][id][0], n)}}
    elif do == "delete":
        yield {**model, name: {id: value for id, value in model[name].items() if id not in operation["ids"]}}
    elif do == "delete_where":
        kept = {id: value for id, value in model[name].items() if value[1] >= operation["below"]}
        yield {**model, name: kept}
    elif do == "create":
        yield {**model, name: {}}
    elif do == "drop":
        yield {other: records for other, records in model.items() if other != name}
    else:
        yield model


def _with(model: Model, name: str, ids: list[str], n: int) -> Model:
    return {**model, name: {**model[name], **dict.fromkeys(ids, (n, n))}}


def after(model: Model, operation: Operation) -> Model:
    """The state when the operation is done."""
    *_, last = stages(model, operation)
    return last


# --- doing --------------------------------------------------------------------------------------


def backup_folder(folder: Path, n: int) -> Path:
    """Where the backup of this step goes."""
    return folder.with_name(f"backup-{n}.vecdb")


def perform(database: vecdb.Database, model: Model, operation: Operation) -> None:
    """Do it. "reopen" is the caller's to do.

    Raises:
        AssertionError: a search did not find what was acknowledged.
    """
    do, name, n = operation["do"], operation["collection"], operation["n"]
    if do == "create":
        create(database, name)
        return
    if do == "drop":
        database.delete_collection(name)
        return
    if do == "vacuum":
        database.vacuum()
        return
    if do == "backup":
        database.backup(backup_folder(database.path, n))
        return
    collection = database.collection(name)
    if do in ("add", "upsert"):
        ids = operation["ids"]
        options: dict[str, Any] = {"ids": ids, "metadata": [metadata(id, n) for id in ids]}
        if brings(name):
            options["vectors"] = [vector(id, n) for id in ids]
        getattr(collection, do)([content(name, id, n) for id in ids], **options)
    elif do == "ingest":
        rows = {id: vector(id, n) if brings(name) else None for id in operation["ids"]}
        records = [vecdb.Record(id, content(name, id, n), metadata(id, n), row) for id, row in rows.items()]
        collection.ingest(records, batch_size=operation["size"])
    elif do == "update_metadata":
        (id,) = operation["ids"]
        collection.update_metadata(id, metadata(id, n))
    elif do == "delete":
        collection.delete(operation["ids"])
    elif do == "delete_where":
        collection.delete(where={"n": {"$lt": operation["below"]}})
    elif do == "search":
        (id,) = operation["ids"]
        query = query_of(name, id, model[name][id][0])
        hits = collection.search(query, k=len(model[name]), ef=400)
        found = {hit.id: hit.distance for hit in hits}
        assert set(found) == set(model[name]), f"a search over {name} found {len(found)} of {len(model[name])} records"
        assert found[id] <= 1e-5, f"{id} of {name} is not at its own place: {found[id]}"
    else:
        getattr(collection, do)()  # optimize, reindex


def query_of(collection: str, id: str, version: int) -> Any:
    """What finds a record at distance 0."""
    return vector(id, version) if brings(collection) else content(collection, id, version)
