"""Many threads on one handle: no error, no lost write, and every search sees what was acknowledged before it."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import vecdb
from tests.storage.embedders import Counting, plugins_for_tests

THREADS = 8


def together(*calls):
    """Runs each call on a thread of its own; raises what any of them raised."""
    errors = []
    start = threading.Barrier(len(calls))

    def run(call):
        try:
            start.wait()
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_eight_threads_add_search_and_delete(folder, kind):
    each = 60
    rows = np.random.default_rng(0).standard_normal((THREADS * each, 16)).astype(np.float32)
    with vecdb.open(folder, durability="normal") as database:
        collection = database.create_collection("c", dimension=16, metric="l2", index=kind)

        def work(thread):
            for n in range(thread * each, (thread + 1) * each):
                collection.add([f"text {n}"], ids=[str(n)], metadata=[{"thread": thread}], vectors=rows[n : n + 1])
                assert collection.search(rows[n], k=1)[0].id == str(n)
                assert collection.search(rows[n], k=1, where={"thread": thread})[0].id == str(n)
                if n % 3 == 0:
                    assert collection.delete([str(n)]) == 1
                    assert str(n) not in [hit.id for hit in collection.search(rows[n], k=2)]
                if n % 7 == 0:
                    collection.upsert([f"text {n}"], ids=[str(n)], vectors=rows[n : n + 1])
                    assert collection.get([str(n)])[0].content == f"text {n}"

        together(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
        live = [n for n in range(THREADS * each) if n % 3 or n % 7 == 0]
        assert {record.id for record in collection} == {str(n) for n in live}
        collection.optimize()
        assert [hits[0].id for hits in collection.search_batch(rows[live], k=1, exact=True)] == [str(n) for n in live]
        assert collection._space("default").index.differences() == ([], [])
        assert database.check()


def test_eight_threads_upsert_the_same_records(database):
    """Every record ends with the content of one of the writers, and content and vector belong together."""
    texts = database.create_collection("texts", embedder="counting")
    ids = [str(n) for n in range(10)]

    def work(thread):
        for turn in range(5):
            texts.upsert([f"{thread} {turn} {id}" for id in ids], ids=ids, metadata=[{"by": thread}] * 10)

    together(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert [record.id for record in texts] == ids
    for record in texts:
        assert record.content.split()[0] == str(record.metadata["by"])
        assert texts.search(record.content, k=1)[0].id == record.id
    assert len({record.metadata["by"] for record in texts}) == 1  # one call is one transaction
    assert database.check()


def test_of_many_threads_that_add_one_id_one_wins(database):
    texts = database.create_collection("texts", embedder="counting")
    outcomes = []

    def work(thread):
        try:
            texts.add([f"by {thread}"], ids=["x"])
            outcomes.append(thread)
        except vecdb.DuplicateIdError:
            outcomes.append(None)

    together(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert [record.content for record in texts] == [f"by {winner}"]


def test_many_threads_make_the_same_database_and_collection(folder):
    made = []

    def work():
        with vecdb.open(folder, plugins=plugins_for_tests()) as database:
            made.append(database.get_or_create_collection("c", embedder="counting").add(["text"])[0])

    together(*[work] * THREADS)
    with vecdb.open(folder, plugins=plugins_for_tests()) as database:
        assert {record.id for record in database.collection("c")} == set(made)
        assert len(made) == THREADS
        assert database.collections() == ["c"]


def test_closing_while_others_search_and_write(folder):
    """They get their answers, or DatabaseClosedError; nothing else, and nothing hangs."""
    rows = np.random.default_rng(0).standard_normal((300, 16))
    database = vecdb.open(folder, durability="normal")
    collection = database.create_collection("c", dimension=16, metric="l2", index="hnsw")
    collection.add([None] * 100, ids=[str(n) for n in range(100)], vectors=rows[:100])
    acknowledged = []
    ready = threading.Semaphore(0)

    def work(thread):
        try:
            for n in range(100 + thread * 25, 125 + thread * 25):
                collection.add([None], ids=[str(n)], vectors=rows[n : n + 1])
                acknowledged.append(str(n))
                assert collection.search(rows[5], k=1)[0].id == "5"
                ready.release()
            while True:
                collection.search(rows[5], k=1)
        except vecdb.DatabaseClosedError:
            pass

    def close():
        for _ in range(20):
            ready.acquire()
        database.close()

    together(close, *(lambda thread=thread: work(thread) for thread in range(6)))
    with vecdb.open(folder) as database:
        assert set(acknowledged) <= {record.id for record in database.collection("c")}
        assert database.check()


def test_a_collection_deleted_while_others_use_it(database):
    for turn in range(5):
        collection = database.create_collection("c", dimension=2, index="hnsw")
        started = threading.Barrier(4)

        def work(collection=collection, started=started, turn=turn):
            started.wait()
            try:
                for n in range(1000):
                    collection.upsert([None], ids=[str(n)], vectors=[[n, turn + 1]])
                    collection.search([1, 2])
            except vecdb.CollectionNotFoundError:
                pass

        def delete(started=started):
            started.wait()
            database.delete_collection("c")

        together(work, work, work, delete)
    assert database.collections() == []
    assert database.check()


def test_searches_go_on_while_a_long_embedding_runs(database, monkeypatch):
    """Embedding happens outside the transaction: it holds up neither searches nor writes that bring vectors."""
    texts = database.create_collection("texts", embedder="counting")
    vectors = database.create_collection("vectors", dimension=2)
    inside, finish = threading.Event(), threading.Event()
    encode = Counting.encode

    def slow(self, batch, role):
        if "slow" in batch:
            inside.set()
            assert finish.wait(60)
        return encode(self, batch, role)

    monkeypatch.setattr(Counting, "encode", slow)
    writer = threading.Thread(target=lambda: texts.add(["slow"], ids=["slow"]), daemon=True)
    writer.start()
    assert inside.wait(60)
    vectors.add([None], ids=["x"], vectors=[[1, 2]])
    assert vectors.search([1, 2])[0].id == "x"
    assert texts.count() == 0
    finish.set()
    writer.join(60)
    assert texts.get(["slow"])[0].content == "slow"


def test_closing_under_running_searches_does_not_crash_the_interpreter(tmp_path):
    """In a child process: a connection that is closed under a running statement ends the interpreter."""
    code = """
import sys, threading, time
import numpy as np
import vecdb

vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
for number in range(8):
    database = vecdb.open(f"{sys.argv[1]}/{number}.vecdb")
    texts = database.create_collection("c", dimension=8, metric="l2")
    texts.add([f"text {i}" for i in range(500)], vectors=vectors)

    def use():
        try:
            while True:
                texts.search(vectors[3], k=50)
                assert len(list(texts)) == 500
        except vecdb.DatabaseClosedError:
            pass

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    database.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
