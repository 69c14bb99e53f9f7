"""Callers beside one another: a reader beside a writing process, and the tasks of an event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vecdb

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
import numpy as np
import vecdb

with vecdb.open(sys.argv[1]) as database:
    collection = database.collection("c")
    for line in sys.stdin:
        do, n = line.split()
        row = np.random.default_rng(int(n)).standard_normal(8).astype(np.float32)
        if do == "upsert":
            collection.upsert([f"text {n}"], ids=[n], vectors=[row])
        elif do == "delete":
            collection.delete([n])
        else:
            getattr(collection, do)()
        print("done", flush=True)
"""


def row(n):
    return np.random.default_rng(n).standard_normal(8).astype(np.float32)


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_read_only_handle_sees_each_write_of_another_process_once_it_is_acknowledged(folder, kind):
    with vecdb.open(folder) as database:
        database.create_collection("c", dimension=8, metric="l2", index=kind)
    command = [sys.executable, "-c", WRITER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes) as writer,
        vecdb.open(folder, read_only=True) as database,
    ):
        collection = database.collection("c")

        def done(do, n=0):
            writer.stdin.write(f"{do} {n}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"

        for n in range(30):
            done("upsert", n)
            assert (collection.search(row(n), k=1)[0].id, collection.count()) == (str(n), n + 1)
            if n % 10 == 9:
                done("optimize" if n < 20 else "reindex")
        for n in range(0, 30, 3):
            done("delete", n)
            assert collection.get([str(n)]) == []
            assert str(n) not in [hit.id for hit in collection.search(row(n), k=30)]
        writer.stdin.close()
        assert writer.wait() == 0


def test_tasks_of_an_event_loop_write_and_read_side_by_side(database):
    """Through threads, as asyncio has it; what a task has awaited, it finds."""
    collection = database.create_collection("c", dimension=8, metric="l2", index="hnsw")

    async def work(n):
        await asyncio.to_thread(collection.add, [f"text {n}"], ids=[str(n)], vectors=[row(n)])
        (hit,) = await asyncio.to_thread(collection.search, row(n), k=1)
        assert hit.id == str(n)
        if n % 4 == 0:
            assert await asyncio.to_thread(collection.delete, [str(n)]) == 1
            hits = await asyncio.to_thread(collection.search, row(n), k=100)
            assert str(n) not in [hit.id for hit in hits]

    async def all_of_them():
        await asyncio.gather(*(work(n) for n in range(60)))

    asyncio.run(all_of_them())
    assert {record.id for record in collection} == {str(n) for n in range(60) if n % 4}
    assert database.check()


def test_a_task_that_is_cancelled_while_it_writes_leaves_all_of_the_write_or_nothing(database):
    collection = database.create_collection("c", dimension=8)

    async def cancelled(n):
        ids = [f"{n}/{place}" for place in range(50)]
        task = asyncio.create_task(
            asyncio.to_thread(collection.add, [None] * 50, ids=ids, vectors=[row(n + 1)] * 50)
        )
        await asyncio.sleep(0.002 * n)
        task.cancel()

    async def all_of_them():
        for n in range(8):
            await cancelled(n)

    asyncio.run(all_of_them())  # it waits for its threads at the end
    found = [record.id for record in collection]
    assert all(found.count(f"{n}/0") * 50 == sum(id.startswith(f"{n}/") for id in found) for n in range(8))
    collection.add([None], ids=["after"], vectors=[row(1)])
    assert database.check()
