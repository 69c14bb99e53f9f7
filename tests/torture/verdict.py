"""Whether a database holds what it must, whole, searchable and without leftovers."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import vecdb
from tests.storage.embedders import Config, Counting
from tests.torture.workload import Model, brings, content, metadata, open_database, query_of, vector

_SEARCHES = 6
_OWN = {"vecdb.sqlite3", "vecdb.sqlite3-wal", "vecdb.sqlite3-shm", "writer.lock", "index"}
Held = dict[str, dict[str, vecdb.Record]]


def judge(
    folder: Path, allowed: Sequence[Model | None], *, seed: int = 0, searches: int = _SEARCHES, quick: bool = False
) -> tuple[int, list[str]]:
    """Open the database and compare it with the states that it may be in.

    Args:
        folder: the database.
        allowed: the states; one of them must be there to the letter. None: it may be absent.
        seed: of the choice of searches.
        searches: how many records of each collection are searched for, in three ways each.
        quick: only one search, and no look at label sets beside that of `check`: several times as fast.

    Returns:
        The number of the state that is there (-1: none of them), and what is wrong.
    """
    if not folder.exists():
        return (allowed.index(None), []) if None in allowed else (-1, [f"{folder.name} is gone"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_database(folder, timeout=10) as database:
            problems = leftovers(folder, database)
            records = {name: list(database.collection(name)) for name in database.collections()}
            held = {name: {one.id: one for one in found} for name, found in records.items()}
            problems += [
                f"{name}: {len(found) - len(held[name])} duplicates"
                for name, found in records.items()
                if len(found) > len(held[name])
            ]
            likely = [number for number, state in enumerate(allowed) if state is not None and resembles(held, state)]
            fits = [number for number in likely if not difference(held, allowed[number] or {})]
            if fits:
                state, chance = allowed[fits[0]] or {}, random.Random(seed)
                if quick:  # one that needs no embedder
                    some = [name for name, found in state.items() if found and brings(name)]
                    state = {name: state[name] for name in chance.sample(some, min(1, len(some)))}
                problems += wrong_searches(database, state, chance, 1 if quick else searches)
            else:
                nearest = allowed[likely[0] if likely else 0]
                apart = "it should not be there" if nearest is None else difference(held, nearest)
                problems.append(f"none of {len(allowed)} states is there; beside the nearest: {apart}")
            problems += [] if quick else wrong_labels(database)
            problems += [f"check: {problem.where}: {problem.what}" for problem in database.check()]
    problems += [f"{one.category.__name__}: {one.message}" for one in caught]
    return (fits[0] if fits else -1), problems


def resembles(held: Held, state: Model) -> bool:
    """Whether a state has these records in these versions, as far as a quick look tells."""
    if list(held) != list(state):
        return False
    return all(
        len(records) == len(state[name])
        and all(id in state[name] and one.metadata.get("n") == state[name][id][1] for id, one in records.items())
        for name, records in held.items()
    )


def difference(held: Held, state: Model) -> str:
    """In what the database differs from a state, in a line; "" where it does not."""
    if list(held) != list(state):
        return f"the collections are {list(held)}, not {list(state)}"
    for name, records in state.items():
        there = held[name]
        lost = [id for id in records if id not in there]
        surplus = [id for id in there if id not in records]
        if lost or surplus:
            return f"{name}: lost {lost[:5]} ({len(lost)}), surplus {surplus[:5]} ({len(surplus)})"
        wrong = [id for id, (one, two) in records.items() if not is_right(name, there[id], one, two)]
        if wrong:
            return f"{name}: {len(wrong)} records are other than {records[wrong[0]]}, first: {there[wrong[0]]}"
        if list(there) != list(records):
            return f"{name}: the order of insertion differs"
    return ""


def is_right(collection: str, record: vecdb.Record, version: int, number: int) -> bool:
    """Whether a record has the content, the metadata and the vector of these versions."""
    return (
        record.content == content(collection, record.id, version)
        and record.metadata == metadata(record.id, number)
        and record.vectors is not None
        and np.abs(record.vectors - stored_vector(collection, record.id, version)).max() <= 1e-6
    )


_EMBEDDER = Counting(Config())


def stored_vector(collection: str, id: str, version: int) -> np.ndarray:
    """The vector of a record, as it is stored."""
    if collection == "vectors":
        return vector(id, version)
    if brings(collection):
        row = vector(id, version)
        return row / np.linalg.norm(row)
    found = content(collection, id, version)
    return _embedded(found.encode() if isinstance(found, str) else found.data)


@functools.cache
def _embedded(data: bytes) -> np.ndarray:
    row = _EMBEDDER.row(data)
    return row / np.linalg.norm(row)


def wrong_searches(
    database: vecdb.Database, state: Model, chance: random.Random, searches: int = _SEARCHES
) -> list[str]:
    """Searches for some records that do not find what they must: exact, by the graph, with a filter."""
    problems = []
    for name, records in state.items():
        collection = database.collection(name)
        for id in chance.sample(sorted(records), min(searches, len(records))):
            version, number = records[id]
            query = query_of(name, id, version)
            for options in ({"exact": True}, {"ef": 400}, {"where": {"n": number}}):
                hits = collection.search(query, k=len(records), **options)
                wanted = {other for other, (_, n) in records.items() if "where" not in options or n == number}
                near = {hit.id for hit in hits if hit.distance <= 1e-5}
                if id not in near or {hit.id for hit in hits} != wanted or len(hits) != len(wanted):
                    problems.append(f"{name}: a search for {id} with {options} found {len(hits)} of {len(wanted)}")
    return problems


def wrong_labels(database: vecdb.Database) -> list[str]:
    """Where an index holds another set of labels than the vectors of the records that are there, or one twice."""
    problems = []
    for name in database.collections():
        for space in database._spaces_of(database.collection(name)):
            with space.index.current() as (snapshot, _):
                have = [label for part in space.index.parts.all for label in part.labels().tolist()]
                rows = snapshot.rows(
                    "SELECT DISTINCT label FROM record_vectors JOIN records ON key = record_key "
                    "WHERE collection_id = ? AND space_id = ?",
                    (space.row.collection_id, space.row.id),
                )
            want = {label for (label,) in rows}
            if sorted(have) != sorted(want):
                lacking, surplus = sorted(want - set(have)), sorted(set(have) - want)
                problems.append(
                    f"{name}: the index lacks labels {lacking[:5]} ({len(lacking)}), has {surplus[:5]} "
                    f"({len(surplus)}) that are gone, and {len(have) - len(set(have))} twice"
                )
    return problems


def leftovers(folder: Path, database: vecdb.Database) -> list[str]:
    """Files that nobody needs: opening should have removed them."""
    with database._engine.snapshot() as snapshot:
        known = {name for (name,) in snapshot.rows("SELECT name FROM index_files")}
    index = {path.name for path in (folder / "index").iterdir()}
    problems = [f"leftover in index/: {name}" for name in sorted(index - known)]
    return problems + [f"leftover: {path.name}" for path in sorted(folder.iterdir()) if path.name not in _OWN]
