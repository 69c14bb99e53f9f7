"""An upgrade under power losses: old or new schema, never between, and the copy of what was before is whole."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

import vecdb
from tests.assets.make_stored import RECORDS, TARGET, VECTORS
from tests.torture.history import History, Log
from vecdb.database import upgrade
from vecdb.storage.engine import DATABASE_FILE

OLDER = sorted(path for path in TARGET.parent.glob("schema*.vecdb") if path != TARGET)


def start_upgrade(folder: Path, number: int) -> None:
    """Lay down a database of an older schema."""
    shutil.copytree(OLDER[number % len(OLDER)], folder)


def perform_upgrade(folder: Path, log: Log) -> int:
    """Upgrade it, open it and close it; how many of these returned."""
    log.trying({"do": "upgrade", "collection": "kept", "n": 0})
    upgrade(folder)
    log.done()
    log.trying({"do": "reopen", "collection": "kept", "n": 0})
    vecdb.open(folder).close()
    log.done()
    return 2


def judge_upgrade(folder: Path, history: History) -> list[str]:
    """What is wrong with what is left of it."""
    problems = []
    try:
        vecdb.open(folder).close()
    except vecdb.SchemaVersionError:
        if history.acknowledged:
            problems.append("the upgrade was acknowledged, but the schema is old: acknowledged operations are lost")
    copies = sorted(folder.glob(f"{DATABASE_FILE}.before-upgrade-?"))
    if history.acknowledged and not copies:
        problems.append("the copy of the database before the upgrade is gone")
    problems += [problem for copy in copies for problem in _problems_of_copy(copy)]
    return problems + problems_after_upgrade(folder)


def problems_after_upgrade(folder: Path) -> list[str]:
    """What is wrong with a database of an older schema after it was upgraded, now if not before."""
    problems = []
    upgrade(folder)
    with vecdb.open(folder) as database:
        kept = list(database.collection("kept"))
        if [(one.id, one.content, one.metadata) for one in kept] != [
            (one.id, one.content, one.metadata) for one in RECORDS
        ]:
            problems.append(f"none of the allowed states is there: {kept}")
        stored = np.array([one.vectors for one in kept])
        if not np.allclose(stored, VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True), atol=1e-6):
            problems.append("check: the vectors are others")
        problems += [f"check: {problem.where}: {problem.what}" for problem in database.check()]
    return problems + [f"leftover: {path.name}" for path in folder.glob("*.tmp")]


def _problems_of_copy(copy: Path) -> list[str]:
    with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            records = connection.execute("SELECT count(*) FROM records").fetchone()[0]
        except sqlite3.DatabaseError as error:
            return [f"check: the copy before the upgrade cannot be read: {error}"]
    if verdict != "ok" or records != len(RECORDS):
        return [f"check: the copy before the upgrade holds {records} of {len(RECORDS)} records, {verdict}"]
    return []
