"""Brute force: truly exact, the same to the bit on every path, and frugal."""

from __future__ import annotations

import numpy as np
import pytest

from tests.index.data import clustered, numbered, oracle
from vecdb.index.exact import ExactIndex
from vecdb.types import METRICS
from vecdb.vectors import normalise


def hard_case(name: str) -> np.ndarray:
    """Vectors whose float32 scores are misleading."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(600, 24)).astype(np.float32)
    if name == "far from the origin":  # |x|² + |q|² - 2xq loses nearly every digit
        return rows * np.float32(1e-2) + np.float32(1000)
    if name == "nearly equal":
        return np.float32(1) + rows * np.float32(1e-7)
    if name == "one giant":
        rows[300] *= np.float32(1e8)
        return rows
    if name == "overflowing":
        rows[::7] *= np.float32(1e30)
        return rows
    if name == "tiny":
        return rows * np.float32(1e-22)
    if name == "mixed scales":
        return rows * (10.0 ** random.uniform(-12, 12, size=(600, 1))).astype(np.float32)
    return np.round(rows).astype(np.float32)  # "small integers": hundreds of ties


CASES = ["far from the origin", "nearly equal", "one giant", "overflowing", "tiny", "mixed scales", "small integers"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_misleading_scores_lose_no_neighbour(metric, case, k):
    vectors = hard_case(case)
    if metric == "cosine":
        vectors = normalise(vectors[vectors.any(axis=1)])
    labels = numbered(vectors)
    index = ExactIndex(24, metric)
    index.add(labels, vectors)
    queries = vectors[5:40:7]
    found, distances = index.search(queries, k)
    for row, query in enumerate(queries):
        expected, lengths = oracle(metric, query, k, labels, vectors)
        assert found[row].tolist() == expected
        assert distances[row].tolist() == lengths


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", CASES)
def test_vectors_are_beyond_a_distance_only_if_none_is_as_near(metric, case):
    vectors = hard_case(case)[:400]
    if metric == "cosine":
        vectors = normalise(vectors[vectors.any(axis=1)])
    labels = numbered(vectors)
    index = ExactIndex(24, metric)
    index.add(labels, vectors)
    longest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
    for query in vectors[5:40:7]:
        _, lengths = oracle(metric, query, len(vectors), labels, vectors)
        assert not any(index.are_beyond(query, length) for length in lengths)  # not those that tie, either
        clearly_nearer = lengths[0] - 1e-4 * (1 + longest**2)
        assert index.are_beyond(query, clearly_nearer) == (longest < 1e15)  # else float32 may overflow: not known


def test_what_would_take_as_long_as_a_search_is_not_told_to_be_beyond():
    vectors = clustered(5000, 16)
    index = ExactIndex(16, "cosine")
    assert index.are_beyond(vectors[0], 2.0)  # there is none
    index.add(numbered(vectors[:100]), vectors[:100])
    assert index.are_beyond(-vectors[0], 0.0)
    index.add(numbered(vectors[100:], 101), vectors[100:])
    assert not index.are_beyond(-vectors[0], 0.0)


@pytest.mark.parametrize("metric", METRICS)
def test_answers_are_the_same_to_the_bit_on_every_path(metric):
    vectors = clustered(3000, 32, metric=metric)
    labels = numbered(vectors)
    queries = clustered(40, 32, seed=1, metric=metric)
    at_once, shuffled, grown = (ExactIndex(32, metric) for _ in range(3))
    at_once.add(labels, vectors)
    order = np.random.default_rng(0).permutation(3000)
    for part in np.array_split(order, 9):
        shuffled.add(labels[part], vectors[part])
    extra = clustered(2000, 32, seed=8, metric=metric)
    grown.add(numbered(extra, 10_001), extra)
    for part in np.array_split(order, 11):
        grown.add(labels[part], vectors[part])
    grown.remove(numbered(extra, 10_001))
    expected = at_once.search(queries, 12)
    for index in (shuffled, grown):
        for got in (
            index.search(queries, 12),
            index.search(queries, 12, allowed=labels),
            tuple(np.concatenate(part) for part in zip(*(index.search(q[None], 12) for q in queries), strict=True)),
        ):
            assert np.array_equal(got[0], expected[0])
            assert np.array_equal(got[1].view(np.uint32), expected[1].view(np.uint32))


def test_ties_at_the_last_place_go_to_the_lowest_labels():
    index = ExactIndex(4, "l2")
    ring = np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)
    index.add(np.random.default_rng(0).permutation(200) + 1, ring)
    labels, distances = index.search(np.zeros((1, 4), np.float32), 20)
    assert labels.tolist() == [list(range(1, 21))]
    assert set(distances[0].tolist()) == {1.0}


def test_more_rows_than_one_block():
    count = 70_000
    vectors = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    index = ExactIndex(4, "l2")
    index.add(numbered(vectors), vectors)
    index.remove(np.arange(2, count, 5))
    live = index.labels()
    for allowed in (live, live[::2], live[::10]):
        found, _ = index.search(vectors[:3], 5, allowed=allowed)
        for row in range(3):
            assert found[row].tolist() == oracle("l2", vectors[row], 5, allowed, vectors[allowed - 1])[0]


def test_take_oldest_gives_copies_of_the_lowest_labels_and_removes_nothing():
    vectors = clustered(20, 4)
    index = ExactIndex(4, "cosine")
    index.add(numbered(vectors, 11), vectors)
    index.remove([12])
    labels, rows = index.take_oldest(3)
    assert labels.tolist() == [11, 13, 14]
    assert np.array_equal(rows, vectors[[0, 2, 3]])
    rows[:] = 0
    assert np.array_equal(index.vectors([11]), vectors[:1])
    assert len(index) == 19
    assert index.take_oldest(100)[0].tolist() == index.labels().tolist()
    assert index.take_oldest(0)[1].shape == (0, 4)


def test_a_removed_label_may_come_back():
    vectors = clustered(30, 4)
    index = ExactIndex(4, "cosine")
    index.add(numbered(vectors), vectors)
    for label in (1, 15, 30):
        index.remove([label])
        index.add([label], vectors[label : label + 1] if label < 30 else vectors[:1])
    assert index.labels().tolist() == list(range(1, 31))
    assert np.array_equal(index.vectors([15]), vectors[15:16])


def test_draining_from_the_front_gives_memory_back_and_copies_no_row():
    vectors = clustered(20_000, 8, metric="l2")
    index = ExactIndex(8, "l2")
    index.add(numbered(vectors), vectors)
    blocks = list(index._rows.blocks)
    size = index._rows.block_rows
    while len(index):
        oldest, rows = index.take_oldest(100)
        assert np.array_equal(rows, vectors[oldest - 1])
        index.remove(oldest)
        left = index._rows.blocks
        assert len(left) <= len(index) // size + 2
        assert [id(block) for block in left] == [id(block) for block in blocks[len(blocks) - len(left) :]]
        assert len(index._labels) <= 1.5 * len(left) * size
    assert left == []


def test_growing_in_small_steps_copies_no_whole_block_and_keeps_no_more_room_than_one():
    vectors = clustered(20_000, 4, metric="l2")
    index = ExactIndex(4, "l2")
    size, whole = index._rows.block_rows, []
    for start in range(0, 20_000, 50):
        index.add(numbered(vectors[start : start + 50], start + 1), vectors[start : start + 50])
        now = index._rows.blocks
        assert [id(block) for block in now[: len(whole)]] == whole
        whole = [id(block) for block in now if len(block) == size]
        assert sum(map(len, now)) <= (2 * len(index) if len(index) < size else len(index) + size)
    assert np.array_equal(index.vectors(index.labels()), vectors)


def test_a_small_index_takes_little_memory():
    index = ExactIndex(384, "l2")
    index.add([1], np.ones((1, 384), np.float32))
    assert sum(block.nbytes for block in index._rows.blocks) < 100_000


def test_no_memory_for_a_block_is_said_as_such(monkeypatch):
    def none(*arguments, **named):
        raise OSError(12, "Cannot allocate memory")

    index = ExactIndex(4, "l2")
    vectors = clustered(20_000, 4, metric="l2")
    index.add(numbered(vectors[:8192]), vectors[:8192])
    with monkeypatch.context() as patch:
        patch.setattr("vecdb.index.rows.mmap.mmap", none)
        with pytest.raises(MemoryError):
            index.add(numbered(vectors[8192:], 8193), vectors[8192:])
    index.add(numbered(vectors[8192:], 8193), vectors[8192:])
    assert np.array_equal(index.vectors(index.labels()), vectors)


def test_blocks_are_bounded_whatever_the_dimension():
    sizes = {dimension: ExactIndex(dimension, "l2")._rows.block_rows for dimension in (1, 384, 4096, 65_536)}
    assert sizes == {1: 8192, 384: 8192, 4096: 1024, 65_536: 64}


@pytest.mark.parametrize("metric", METRICS)
def test_where_blocks_begin_makes_no_difference(monkeypatch, metric):
    vectors = clustered(300, 16, metric=metric)
    queries = clustered(5, 16, seed=1, metric=metric)
    whole = ExactIndex(16, metric)
    whole.add(numbered(vectors), vectors)
    monkeypatch.setattr("vecdb.index.rows._BLOCK_ROWS", (7, 7))
    blocks = ExactIndex(16, metric)
    for start in range(0, 300, 11):
        blocks.add(numbered(vectors[start : start + 11], start + 1), vectors[start : start + 11])
    random = np.random.default_rng(0)
    gone = np.array([], np.int64)
    for part in (np.arange(1, 20), random.permutation(300)[:40] + 1, np.arange(100, 160), random.permutation(300) + 1):
        for index in (whole, blocks):
            index.remove(part)
        gone = np.union1d(gone, part)
        live = np.setdiff1d(numbered(vectors), gone)
        assert blocks.labels().tolist() == whole.labels().tolist() == live.tolist()
        assert np.array_equal(blocks.vectors(live), vectors[live - 1])
        for allowed in (None, live[::2], live[::9]):
            for got, expected in zip(
                blocks.search(queries, 8, allowed=allowed), whole.search(queries, 8, allowed=allowed), strict=True
            ):
                assert got.tobytes() == expected.tobytes()
        assert np.array_equal(blocks.take_oldest(90)[1], vectors[live[:90] - 1])


def test_holes_are_closed_when_they_are_a_quarter():
    vectors = clustered(1000, 4)
    index = ExactIndex(4, "cosine")
    index.add(numbered(vectors), vectors)
    for label in range(2, 1000, 2):
        index.remove([label])
        assert (index._end - index._start) * 0.75 <= len(index) + 1
    assert index.labels().tolist() == [*range(1, 1000, 2), 1000]
    assert np.array_equal(index.vectors([501, 1000]), vectors[[500, 999]])
