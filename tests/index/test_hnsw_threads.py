"""Searches while others add, remove and grow: hnswlib alone answers wrongly, or crashes when it grows."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.index.data import clustered, numbered
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.vectors import exact_distances

DIMENSION, COUNT = 24, 3000


@pytest.mark.parametrize("kind", [ExactIndex, HnswIndex])
def test_every_answer_is_a_live_label_with_its_true_distance(kind):
    vectors = clustered(COUNT, DIMENSION)
    index = kind(DIMENSION, "cosine")
    index.add(numbered(vectors[:100]), vectors[:100])
    added, removed = [100], [0]  # labels up to `added` are in; up to `removed` they are out again
    wrong: list[str] = []
    done = threading.Event()

    def change():
        try:
            for start in range(100, COUNT, 20):
                index.add(numbered(vectors[start : start + 20], start + 1), vectors[start : start + 20])
                added[0] = start + 20
                if start % 60 == 40:
                    gone = (start - 40) // 2
                    index.remove(np.arange(removed[0] + 1, gone + 1))
                    removed[0] = gone
        finally:
            done.set()

    def search(seed: int):
        random = np.random.default_rng(seed)
        try:
            while not done.is_set():
                out, ready = removed[0], added[0]
                rows = random.integers(out, ready, size=3)
                allowed = np.arange(out + 1, ready + 1) if seed % 2 else None
                labels, distances = index.search(vectors[rows], 5, allowed=allowed, ef=50 + seed)
                gone = removed[0]
                for row, query in enumerate(rows):
                    true = exact_distances("cosine", vectors[query], vectors[labels[row] - 1])
                    if labels[row].min() <= out or np.abs(distances[row] - true).max() > 1e-5:
                        wrong.append(f"wrong answer {labels[row]} {distances[row]}")
                    if query + 1 > gone and kind is ExactIndex and labels[row, 0] != query + 1:
                        wrong.append(f"{query + 1} is live but {labels[row]} was found")
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(3)] + [threading.Thread(target=change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []
    assert len(index) == COUNT - removed[0]


def test_a_still_index_gives_all_threads_the_same_answers():
    vectors = clustered(COUNT, DIMENSION)
    index = HnswIndex(DIMENSION, "cosine", threads=2)
    index.add(numbered(vectors), vectors)
    expected = index.search(vectors[:200], 10)[0]
    different = []

    def search():
        found = np.concatenate([index.search(vectors[row : row + 1], 10)[0] for row in range(200)])
        different.extend(np.flatnonzero((found != expected).any(axis=1)).tolist())

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert different == []
