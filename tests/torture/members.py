"""What the members of the campaign "concurrency" do to one database, and how they write it down.

A member is a process with a few threads, or one of its forked children. Its journal outlives a kill:
a line before and after each call, with times of CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import vecdb

DIMENSION = 8
KEYS = tuple(f"r{n}{side}" for n in range(24) for side in "ab")  # both sides of a pair are written together
COLLECTION = "c"
_POOL = np.random.default_rng(0).standard_normal((150, DIMENSION)).astype(np.float32)
_ALL = 10_000
_PATIENCE = 30.0
_IMPATIENCE = 0.05


def vector(value: str) -> np.ndarray:
    """The vector of a record with this content; several contents share one."""
    return _POOL[zlib.crc32(value.encode()) % len(_POOL)]


@dataclass(frozen=True, slots=True)
class Part:
    """What a member needs to know.

    Attributes:
        name: unique in the whole run; values that it writes begin with it.
        seed: of what it chooses.
        folder, journals: the database, and where journals go.
        stop: a file that appears when it is time to end.
        threads: how many.
    """

    name: str
    seed: int
    folder: Path
    journals: Path
    stop: Path
    threads: int = 2

    def is_over(self) -> bool:
        """Whether it is time to end."""
        return self.stop.exists()

    def open(self, **options: Any) -> vecdb.Database:
        """The database."""
        return vecdb.open(self.folder, plugins=vecdb.Plugins(load=[]), durability="normal", **options)


class Journal:
    """Written by one thread."""

    def __init__(self, part: Part, thread: object) -> None:
        self.name = f"{part.name}.{thread}"
        self._count = 0
        self._descriptor = os.open(part.journals / f"{self.name}.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def value(self) -> str:
        """One that nobody else writes."""
        self._count += 1
        return f"{self.name}.{self._count}"

    def say(self, what: str, **words: Any) -> None:
        """A line."""
        os.write(self._descriptor, json.dumps({"what": what, "pid": os.getpid(), **words}).encode() + b"\n")

    @contextlib.contextmanager
    def call(self, do: str, **words: Any) -> Iterator[dict[str, Any]]:
        """Around a call; what it answered goes into the dict. Errors that may be are answers."""
        answer: dict[str, Any] = {}
        begin = time.monotonic()
        self.say("begin", do=do, at=begin, **words)
        try:
            yield answer
        except vecdb.DatabaseLockedError as error:
            answer.update(locked=True, holder=error.holder)
        except (vecdb.RecordNotFoundError, vecdb.DuplicateIdError) as error:
            answer["refused"] = type(error).__name__
        except BaseException as error:
            self.say("error", do=do, at=time.monotonic(), error=repr(error), trace=traceback.format_exc())
            raise
        self.say("end", at=time.monotonic(), **answer)


# --- writing ------------------------------------------------------------------------------------


def write(collection: vecdb.Collection, journal: Journal, chance: random.Random) -> None:
    """One random write of one pair, or of the metadata of one record."""
    pair = chance.randrange(len(KEYS) // 2)
    ids, value = list(KEYS[2 * pair : 2 * pair + 2]), journal.value()
    do = chance.choices(["upsert", "add", "update_metadata", "delete"], [5, 2, 3, 2])[0]
    if do == "update_metadata":
        ids = [chance.choice(ids)]
    with journal.call(do, ids=ids, value=value) as answer:
        if do == "update_metadata":
            collection.update_metadata(ids[0], {"n": value})
        elif do == "delete":
            answer["count"] = collection.delete(ids)
        else:
            rows = np.stack([vector(value)] * 2)
            getattr(collection, do)([value] * 2, ids=ids, metadata=[{"n": value}] * 2, vectors=rows)


def count_up(collection: vecdb.Collection, journal: Journal, id: str) -> None:
    """Read the counter that is this thread's own, and write one more."""
    with journal.call("count up", id=id) as answer:
        found = collection.get([id])
        number = 1 + (int(found[0].content) if found else 0)
        collection.upsert([str(number)], ids=[id], metadata=[{"n": number}], vectors=[vector(id)])
        answer["number"] = number


# --- reading ------------------------------------------------------------------------------------


def read(collection: vecdb.Collection, journal: Journal, chance: random.Random) -> None:
    """One random read of some keys, or of all: what each holds, as [content, number] or null."""
    do = chance.choice(["get", "search", "graph", "filter", "count", "iterate"])
    if do == "count":
        ids = chance.sample(KEYS, 3)
        with journal.call(do) as answer:
            answer["has"] = {id: id in collection for id in ids}
            if collection.count({"n": {"$exists": True}}) > len(KEYS) + 1000:
                answer["wrong"] = "there are more records than ids"
        return
    with journal.call(do) as answer:
        if do == "get":
            first = 2 * chance.randrange(len(KEYS) // 2)
            wanted = [*KEYS[first : first + 2], *chance.sample(KEYS, 2)]
            found: Sequence[Any] = collection.get(wanted)
            answer["held"] = _held(found, wanted)
            return
        if do == "iterate":
            found = list(collection)
            answer["twice"] = len(found) - len({record.id for record in found})
            return
        query = _POOL[chance.randrange(len(_POOL))]
        options = {"search": {"exact": True}, "graph": {"ef": 600}, "filter": {"where": {"n": {"$exists": True}}}}[do]
        found = collection.search(query, k=_ALL, **options)
        answer["held"] = _held(found, KEYS)
        answer["twice"] = len(found) - len({hit.id for hit in found})
        answer["wrong"] = _wrong_distance(found, query)


def _held(found: Sequence[Any], wanted: Sequence[str]) -> dict[str, Any]:
    by_id = {one.id: [one.content, one.metadata["n"]] for one in found}
    return {id: by_id.get(id) for id in wanted}


def _wrong_distance(hits: Sequence[vecdb.Hit], query: np.ndarray) -> str:
    """A hit whose distance is not that of the vector that goes with its content, in words."""
    for hit in hits:
        if hit.id in KEYS and hit.content is not None:
            distance = float(((vector(hit.content) - query) ** 2).sum())
            if abs(distance - hit.distance) > 1e-4 * max(1.0, distance):
                return f"{hit.id} with {hit.content} is at {hit.distance}, not at {distance}"
    if [hit.distance for hit in hits] != sorted(hit.distance for hit in hits):
        return "hits are not sorted"
    return ""


# --- members ------------------------------------------------------------------------------------


def in_threads(part: Part, work: Callable[[Journal, random.Random, int], None]) -> None:
    """Repeat `work` on some threads until it is time to end. Raises what one of them raised."""
    errors: list[BaseException] = []

    def repeat(number: int) -> None:
        journal, chance = Journal(part, number), random.Random(f"{part.seed}/{part.name}/{number}")
        try:
            while not part.is_over() and not errors:
                work(journal, chance, number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(part.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def writer(part: Part) -> None:
    """Threads that write; each has a counter, which the member that takes its place goes on with."""
    place = part.name.partition("-")[0]
    with part.open(timeout=_PATIENCE) as database:
        collection = database.collection(COLLECTION)

        def work(journal: Journal, chance: random.Random, number: int) -> None:
            if chance.random() < 0.3:
                count_up(collection, journal, f"counter {place}.{number}")
            else:
                write(collection, journal, chance)

        in_threads(part, work)


def reader(part: Part) -> None:
    """Threads that read; every other one through a handle that is read-only."""
    options = {"read_only": True} if part.seed % 2 else {"timeout": _PATIENCE}
    with part.open(**options) as database:
        collection = database.collection(COLLECTION)
        in_threads(part, lambda journal, chance, number: read(collection, journal, chance))


def carer(part: Part) -> None:
    """Builds, cleans, copies; opens and closes."""
    journal, chance = Journal(part, 0), random.Random(f"{part.seed}/{part.name}")
    while not part.is_over():
        with part.open(timeout=_PATIENCE) as database:
            for _ in range(chance.randint(1, 4)):
                do = chance.choice(["optimize", "reindex", "vacuum", "backup", "check"])
                copy = part.journals / f"{part.name}.{time.monotonic_ns()}.copy"
                with journal.call(do) as answer:
                    if do in ("optimize", "reindex"):
                        getattr(database.collection(COLLECTION), do)()
                    elif do == "vacuum":
                        database.vacuum()
                    elif do == "backup":
                        database.backup(copy)
                    else:
                        answer["problems"] = [f"{one.where}: {one.what}" for one in database.check()]
                time.sleep(chance.random() * 0.2)


def impatient(part: Part) -> None:
    """Does not wait for others: it is told who writes."""
    with part.open(timeout=_IMPATIENCE) as database:
        collection = database.collection(COLLECTION)

        def work(journal: Journal, chance: random.Random, number: int) -> None:
            write(collection, journal, chance)
            time.sleep(0.005)

        in_threads(part, work)


def forker(part: Part) -> None:
    """Threads write and open while the process forks again and again; the children go on with the open database."""
    number = 0
    while not part.is_over():
        database = part.open(timeout=_PATIENCE)
        collection = database.collection(COLLECTION)
        done = threading.Event()
        errors: list[BaseException] = []

        threads = [
            threading.Thread(target=partial(_go_on_beside, part, number, collection, done, errors)),
            threading.Thread(target=partial(_open_beside, part, number, done, errors)),
        ]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(3):
            number += 1
            child = os.fork()
            if not child:
                _live(part, number, collection)
            children.append(child)
            time.sleep(0.02)
        done.set()
        for thread in threads:
            thread.join()
        database.close()  # the children may go on
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if errors or any(statuses):
            raise errors[0] if errors else RuntimeError(f"forked children ended with {statuses}")


def _go_on_beside(
    part: Part, number: int, collection: vecdb.Collection, done: threading.Event, errors: list[BaseException]
) -> None:
    """A thread of the one that forks."""
    journal, chance = Journal(part, f"beside-{number}"), random.Random(f"{part.seed}/{number}")
    try:
        while not done.is_set():
            (write if chance.random() < 0.5 else read)(collection, journal, chance)
    except BaseException as error:
        errors.append(error)


def _open_beside(part: Part, number: int, done: threading.Event, errors: list[BaseException]) -> None:
    """Another one, which opens the database anew for each call."""
    journal, chance = Journal(part, f"opening-{number}"), random.Random(f"{part.seed}/opening {number}")
    try:
        while not done.is_set():
            with part.open(timeout=_PATIENCE) as database:
                (write if chance.random() < 0.5 else read)(database.collection(COLLECTION), journal, chance)
    except BaseException as error:
        errors.append(error)


def _live(part: Part, number: int, collection: vecdb.Collection) -> None:
    """A forked child."""
    status = 1
    try:
        journal, chance = Journal(part, f"child-{number}"), random.Random(f"{part.seed}/child {number}")
        journal.say("born")
        for _ in range(20):
            (write if chance.random() < 0.6 else read)(collection, journal, chance)
        status = 0
    finally:
        os._exit(status)


def asynchronous(part: Part) -> None:
    """One event loop, and calls on its threads."""

    async def live() -> None:
        with part.open(timeout=_PATIENCE) as database:
            collection = database.collection(COLLECTION)
            journals = [Journal(part, number) for number in range(part.threads)]
            chance = random.Random(f"{part.seed}/{part.name}")
            while not part.is_over():
                calls = [chance.choice([write, read]) for _ in journals]
                seeds = [random.Random(chance.random()) for _ in journals]
                await asyncio.gather(
                    *(
                        asyncio.to_thread(call, collection, journal, one)
                        for call, journal, one in zip(calls, journals, seeds, strict=True)
                    )
                )

    asyncio.run(live())
