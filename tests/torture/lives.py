"""What the children of the kill campaign do until they are killed, and what is found afterwards.

Three things are done to a folder: work in the lasting database, making a new one ("new"), upgrading one
of an older schema ("upgrade N"). Each has a life, which a kill ends, and a verdict.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from tests.assets.make_stored import RECORDS, VECTORS
from tests.torture import crash_points
from tests.torture.history import Log
from tests.torture.verdict import judge
from tests.torture.workload import (
    LASTING,
    WEIGHTS,
    Model,
    Operation,
    after,
    backup_folder,
    choose,
    create,
    open_database,
    perform,
)
from vecdb import sync
from vecdb.database import upgrade
from vecdb.storage import backup, embedding_cache, engine, schema, writes

ASSETS = Path(__file__).parents[1] / "assets"
OLD_SCHEMAS = [number for number in range(1, schema.SCHEMA_VERSION) if (ASSETS / f"schema{number}.vecdb").is_dir()]
UPGRADES = {f"upgrade {number}": number for number in OLD_SCHEMAS}
OPENING, NEW = "opening", "new"
MOST_RECORDS = 900  # the judge reads them all after each kill
_SEARCHES = 2
_LEARNING = 150  # operations
_LONGEST_LIFE = 400  # operations; a child that is to be killed never comes so far


@dataclass(frozen=True)
class Plan:
    """What a child is to do.

    Attributes:
        aim: what is to be going on when it is killed: an operation, "opening", "new" or "upgrade N".
        seed: of its choices.
        step: number of its first operation; none is used twice in the life of a database.
        before: random operations that it does first.
        point, hit: where it kills itself, and at which hit after the aim is reached; "" waits for a kill.
        durability: of the database.
        small: limits small enough that checkpoints, files and pruning come all the time.
    """

    aim: str
    seed: int
    step: int = 1
    before: int = 0
    point: str = ""
    hit: int = 1
    durability: Any = "full"
    small: bool = True


def begin(plan: Plan, reached: Callable[[], None]) -> None:
    """The aim is reached: a kill may come from now on."""
    if plan.point:
        crash_points.arm(plan.point, plan.hit)
    reached()


def get_ready(plan: Plan) -> None:
    """What every life begins with: errors for warnings, crash points, limits."""
    warnings.simplefilter("error", vecdb.VecdbWarning)
    crash_points.install()
    if plan.small:
        set_small_limits(plan.seed)


def set_small_limits(number: int) -> None:
    """Where collections become graphs differs: what is a graph in one life is none in the next."""
    sync.EXACT_UNTIL, sync._PUBLISH_AFTER = (40, 100, 20_000)[number % 3], 30
    engine.CHECKPOINT_BYTES = 300_000
    writes._KEPT_REMOVALS = 25
    embedding_cache.KEPT = 60
    backup._PAGES = 8


def weights(model: Model) -> dict[str, int]:
    """How often what is done: deletion takes over before the judge has too much to read."""
    crowded = sum(map(len, model.values())) > MOST_RECORDS or len(model) > 6
    return WEIGHTS | ({"delete_where": 40, "drop": 10, "create": 0} if crowded else {})


# --- lives --------------------------------------------------------------------------------------


def work(folder: Path, model: Model, log: Path, plan: Plan, reached: Callable[[], None]) -> bool:
    """Work in the lasting database; True, if nobody kills this process."""
    get_ready(plan)
    chance, written, step = random.Random(plan.seed), Log(log), plan.step
    database = open_database(folder, durability=plan.durability)

    def do(operation: Operation) -> None:
        nonlocal database, model, step
        written.trying(operation)
        if operation["do"] == "reopen":
            database.close()
            database = open_database(folder, durability=plan.durability)
        else:
            perform(database, model, operation)
        written.done()
        model, step = after(model, operation), step + 1

    def make_possible(kind: str) -> None:
        if kind == "drop" and len(model) == len(LASTING):
            do(choose(chance, model, step, {"create": 1}))
        while not any(model.values()):
            do(choose(chance, model, step, {"upsert": 1}))

    for _ in range(plan.before):
        do(choose(chance, model, step, weights(model)))
    make_possible(plan.aim)
    begin(plan, reached)
    for _ in range(6):
        make_possible(plan.aim)
        do(choose(chance, model, step, {plan.aim: 1}))
        if not plan.point:
            break
    for _ in range(0 if plan.point else _LONGEST_LIFE):
        do(choose(chance, model, step, weights(model)))
    return True


def open_only(folder: Path, plan: Plan, reached: Callable[[], None]) -> bool:
    """Open the lasting database after a kill, read it, and wait for the kill."""
    get_ready(plan)
    begin(plan, reached)
    database = open_database(folder, durability=plan.durability)
    for name in database.collections():
        database.collection(name).search(np.ones(8, np.float32), k=3)
    if not plan.point:
        time.sleep(10)
    return True


def make_new(folder: Path, log: Path, plan: Plan, reached: Callable[[], None]) -> bool:
    """Make a database and its collections."""
    get_ready(plan)
    written = Log(log)
    begin(plan, reached)
    with open_database(folder, durability=plan.durability) as database:
        for step, name in enumerate(LASTING, 1):
            written.trying({"do": "create", "collection": name, "n": step})
            create(database, name)
            written.done()
    if not plan.point:
        time.sleep(10)
    return True


def upgrade_old(folder: Path, plan: Plan, reached: Callable[[], None]) -> bool:
    """Upgrade a copy of a database of an older schema."""
    get_ready(plan)
    begin(plan, reached)
    upgrade(folder)
    if not plan.point:
        time.sleep(10)
    return True


# --- verdicts -----------------------------------------------------------------------------------


def verdict(
    folder: Path,
    allowed: list[Model | None],
    backups: dict[int, list[Model | None]],
    again: int | None,
    seed: int,
) -> tuple[int, list[str]]:
    """The database and its backups after a kill.

    Args:
        folder: the database.
        allowed: the states that it may be in.
        backups: the states that each backup may be in, by its step; None where it may be absent.
        again: the step of a backup that was being made.
        seed: of the searches.

    Returns:
        The number of the state that is there, and what is wrong.
    """
    found, problems = judge(folder, allowed, seed=seed, searches=_SEARCHES)
    for step, states in backups.items():
        place = backup_folder(folder, step)
        made_again = step == again and not place.exists()
        if made_again:
            with open_database(folder) as database:
                database.backup(place)
        _, wrong = judge(place, [allowed[found]] if made_again else states, seed=seed, searches=1)
        problems += [f"backup {step}: {problem}" for problem in wrong]
    problems += [f"leftover of a backup: {path.name}" for path in sorted(folder.parent.glob(".*.unfinished"))]
    return found, problems


def upgrade_verdict(folder: Path, old: int) -> list[str]:
    """The old schema or the new one, and nothing between; the upgrade can be repeated; all records are there."""
    problems = []
    shapes = {number: shape(ASSETS / f"schema{number}.vecdb") for number in (old, schema.SCHEMA_VERSION)}
    found = shape(folder)
    if found != shapes[found[0]] if found[0] in shapes else True:
        problems.append(f"schema {found[0]} with tables that it never had")
    if stored_ids(folder) != [record.id for record in RECORDS]:
        problems.append(f"lost: there are {stored_ids(folder)}")
    upgrade(folder)
    if shape(folder) != shapes[schema.SCHEMA_VERSION]:
        problems.append("the repeated upgrade did not lead to the new schema")
    with warnings.catch_warnings(record=True) as caught, vecdb.open(folder) as database:
        warnings.simplefilter("always")
        kept = database.collection("kept")
        for wanted, record, vector in zip(RECORDS, kept, VECTORS, strict=True):
            same = (record.id, record.content, record.metadata) == (wanted.id, wanted.content, wanted.metadata)
            if not same or not np.array_equal(record.vectors, vector) or kept.search(vector, k=1)[0].id != wanted.id:
                problems.append(f"{wanted.id} is not what it was")
        problems += [f"check: {problem.where}: {problem.what}" for problem in database.check()]
    own = {"vecdb.sqlite3", "writer.lock", "index", f"vecdb.sqlite3.before-upgrade-{old}"}
    problems += [f"leftover: {path.name}" for path in folder.iterdir() if path.name not in own]
    return problems + [f"{one.category.__name__}: {one.message}" for one in caught]


def shape(folder: Path) -> tuple[int, list[Any]]:
    """The version of the schema, and every column of every table."""
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        columns = connection.execute(
            "SELECT m.type, m.name, x.name, x.type, x.pk FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS x "
            "ORDER BY 1, 2, 3"
        ).fetchall()
    return version, columns


def stored_ids(folder: Path) -> list[str]:
    """The ids of the records, in order, whatever the schema."""
    with closing(sqlite3.connect(folder / "vecdb.sqlite3")) as connection:
        return [id for (id,) in connection.execute("SELECT id FROM records ORDER BY key")]


# --- learning -----------------------------------------------------------------------------------


def learn(scratch: Path) -> dict[str, dict[str, Any]]:
    """Do everything, unkilled.

    Returns:
        For each thing that is done the longest time in "seconds", the most "hits" of each crash point, and
        "passes": the share of times that it passed the point at all.
    """
    get_ready(Plan("", 0))
    learned: dict[str, dict[str, Any]] = {}
    times: Counter[str] = Counter()

    def measure(kind: str, do: Callable[[], object]) -> Any:
        crash_points.counted()
        begun = time.perf_counter()
        result = do()
        times[kind] += 1
        seen = learned.setdefault(kind, {"seconds": 0.0, "hits": {}, "passes": {}})
        seen["seconds"] = max(seen["seconds"], time.perf_counter() - begun)
        for point, hits in crash_points.counted().items():
            seen["hits"][point] = max(hits, seen["hits"].get(point, 0))
            seen["passes"][point] = seen["passes"].get(point, 0) + 1
        return result

    for kind, number in UPGRADES.items():
        copy = copy_of_schema(number, scratch)
        (copy / f"vecdb.sqlite3.before-upgrade-{number}.tmp").touch()  # as if one had been killed before
        measure(kind, lambda copy=copy: upgrade(copy))
        shutil.rmtree(copy)
    folder, chance = scratch / "learning.vecdb", random.Random(1)
    measure(NEW, lambda: make_new(folder, scratch / "log", Plan(NEW, 1, point="none"), lambda: None))
    model: Model = {name: {} for name in LASTING}
    database = open_database(folder)
    for step in range(1, _LEARNING):
        set_small_limits(step // 10)
        operation = choose(chance, model, step, weights(model))
        if operation["do"] == "reopen":
            measure("reopen", database.close)
            plant_leftovers(folder)
            measure(OPENING, lambda: open_only(folder, Plan(OPENING, step, point="none"), lambda: None))  # noqa: B023
            database = open_database(folder)
        else:
            measure(operation["do"], lambda: perform(database, model, operation))  # noqa: B023  (called at once)
        model = after(model, operation)
    for limit, kind in ((10, "optimize"), (20_000, "reindex")):  # a graph that is none any more: rare by chance
        sync.EXACT_UNTIL = limit
        operation = {"do": kind, "collection": "texts", "n": 0}
        measure(kind, lambda: perform(database, model, operation))  # noqa: B023
    database.close()
    (scratch / "log").unlink()
    for path in [folder, *scratch.glob("backup-*")]:
        shutil.rmtree(path)
    for kind, seen in learned.items():
        seen["passes"] = {point: passed / times[kind] for point, passed in seen["passes"].items()}
    return learned


def plant_leftovers(folder: Path) -> None:
    """What another killed process may have left: an index file half written, and one that was not made known."""
    for name in ("999-planted.hnsw.tmp", "999-planted.hnsw"):
        (folder / "index" / name).touch()


def copy_of_schema(number: int, scratch: Path) -> Path:
    """A fresh copy of a stored database of this schema."""
    return Path(shutil.copytree(ASSETS / f"schema{number}.vecdb", scratch / "old.vecdb"))
