"""What a loaded index puts off: it reads its file again for the first scan of many, and believes nothing of it."""

from __future__ import annotations

import gc
import hashlib
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.index.data import clustered, numbered
from vecdb.errors import StorageError
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.hnsw_file import HEADER
from vecdb.index.hnsw_source import GraphSource
from vecdb.types import METRICS

DIMENSION, COUNT = 16, 3000
FEW = np.arange(2, 200)  # less than a tenth
MANY = np.arange(2, COUNT, 3)
NODE = 4 + 4 * 32 + 4 * DIMENSION + 8
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_descriptors = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list them")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("vecdb.index.hnsw_source._BLOCK_BYTES", 50_000)
    monkeypatch.setattr("vecdb.index.hnsw_file._BLOCK_BYTES", 50_000)


def saved(path, metric="cosine"):
    """A file, whose labels do not ascend, and the index that must give the same answers to the bit."""
    vectors = clustered(COUNT, DIMENSION, metric=metric)
    graph, exact = HnswIndex(DIMENSION, metric, ef_construction=40), ExactIndex(DIMENSION, metric)
    for index in (graph, exact):
        index.add(numbered(vectors)[::-1], vectors[::-1])
        index.remove(np.arange(5, COUNT, 50))
    graph.save(path)
    return exact


def load(path, metric="cosine", **options):
    return HnswIndex.load(path, dimension=DIMENSION, metric=metric, ef_construction=40, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "graph.hnsw"


@pytest.fixture
def exact(path):
    return saved(path)


def assert_equal(index, exact, metric="cosine"):
    queries = clustered(20, DIMENSION, seed=1, metric=metric)
    for allowed in (FEW, MANY, None):
        for some in (queries, queries[:1]):
            for k in (1, 10):
                found = index.search_exactly(some, k, allowed=allowed)
                expected = exact.search(some, k, allowed=allowed)
                assert np.array_equal(found[0], expected[0])
                assert np.array_equal(found[1], expected[1])


def is_filled(index):
    return not index._scanner._codes.missing


def scan(index, allowed):
    return index.search_exactly(clustered(1, DIMENSION, seed=2), 5, allowed=allowed)[0].tolist()


@pytest.fixture
def fetched(monkeypatch):
    """How many vectors were asked of hnswlib, each time."""
    seen = []
    gather = HnswIndex._gather

    def noting(self, labels):
        seen.append(len(labels))
        return gather(self, labels)

    monkeypatch.setattr(HnswIndex, "_gather", noting)
    return seen


# --- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_a_loaded_index_scans_as_if_it_had_been_built(path, metric):
    exact = saved(path, metric)
    index = load(path, metric)
    assert not is_filled(index)
    assert_equal(index, exact, metric)
    assert is_filled(index)


def test_neither_loading_nor_adding_nor_the_graph_makes_copies(path, exact):
    index = load(path)
    vectors = clustered(2 * COUNT, DIMENSION, seed=3)
    index.add(numbered(vectors, COUNT + 1), vectors)
    index.search(vectors[:10], 10)
    assert not is_filled(index)
    assert len(index._scanner._codes._codes) < 4 * COUNT  # no room for those that are missing


def test_scans_of_few_do_without_copies_until_they_are_many_together(path, exact, fetched):
    index = load(path)
    expected = exact.search(clustered(1, DIMENSION, seed=2), 5, allowed=FEW)[0].tolist()
    assert scan(index, FEW) == expected
    assert not is_filled(index)
    for _ in range(2):
        assert scan(index, FEW) == expected
    assert is_filled(index)
    fetched.clear()
    assert scan(index, MANY) == exact.search(clustered(1, DIMENSION, seed=2), 5, allowed=MANY)[0].tolist()
    assert sum(fetched) < len(MANY) / 2


@pytest.mark.parametrize("lost", [False, True])
def test_what_was_added_and_removed_before_the_copies_were_made_counts(path, exact, lost):
    index = load(path)
    vectors = clustered(700, DIMENSION, seed=3)
    labels = numbered(vectors, COUNT + 1)
    for each in (index, exact):
        for start in range(0, 700, 100):
            each.add(labels[start : start + 100], vectors[start : start + 100])
        each.remove(np.array([2, 3, 500, COUNT + 7]))
    if lost:
        os.truncate(path, 1000)
    assert_equal(index, exact)
    more = clustered(700, DIMENSION, seed=4)
    for each in (index, exact):
        each.add(numbered(more, COUNT + 701), more)
    assert_equal(index, exact)


# --- whatever happens to the file ---------------------------------------------------------------


def unlink(path):
    path.unlink()


def replace(path):
    path.rename(path.with_suffix(".before"))
    path.write_bytes(np.random.default_rng(0).bytes(path.with_suffix(".before").stat().st_size))


@pytest.mark.parametrize("change", [unlink, replace])
def test_the_copies_are_made_from_the_file_that_was_loaded(path, exact, fetched, change):
    index = load(path)
    change(path)
    assert_equal(index, exact)
    assert max(fetched) < COUNT / 2


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def cut_one_byte(path):
    os.truncate(path, path.stat().st_size - 1)


def empty(path):
    os.truncate(path, 0)


def overwrite(path, place, value):
    with path.open("r+b") as file:
        file.seek(place)
        file.write(value)


def flip_a_vector(path):
    place = 96 + 1234 * NODE + 4 + 4 * 32 + 7
    overwrite(path, place, bytes([path.read_bytes()[place] ^ 1]))


def exchange_vectors(path):
    data = path.read_bytes()
    here, there = (96 + node * NODE + 4 + 4 * 32 for node in (17, 2000))
    overwrite(path, here, data[there : there + 4 * DIMENSION])
    overwrite(path, there, data[here : here + 4 * DIMENSION])


def not_numbers(path):
    overwrite(path, 96 + 4 + 4 * 32, b"\xff" * 4 * DIMENSION)


@pytest.mark.parametrize("change", [truncate, cut_one_byte, empty, flip_a_vector, exchange_vectors, not_numbers])
def test_a_file_that_was_changed_meanwhile_is_not_believed(path, exact, fetched, change):
    index = load(path)
    change(path)
    assert_equal(index, exact)
    assert sum(fetched) > len(index)  # hnswlib was asked for all of them
    assert is_filled(index)


def test_a_file_that_cannot_be_read_any_more_is_not_needed(path, exact, monkeypatch):
    index = load(path)

    def failing(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", failing)
    assert_equal(index, exact)


def test_a_system_without_positional_reads_reads_all_the_same(path, exact, fetched, monkeypatch):
    monkeypatch.delattr(os, "pread")
    index = load(path)
    path.unlink()
    assert_equal(index, exact)
    assert max(fetched) < COUNT / 2


def test_an_interrupt_while_copies_are_made_leaves_them_to_the_next_scan(path, exact, monkeypatch):
    index = load(path)

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GraphSource, "vectors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan(index, MANY)
    assert not is_filled(index)
    assert_equal(index, exact)


# --- threads and children -----------------------------------------------------------------------


def test_several_threads_make_the_copies_once_and_few_do_not_wait_for_them(path, exact, monkeypatch):
    index = load(path)
    expected = scan(exact_scan(exact), MANY)
    begun, go_on, made = threading.Event(), threading.Event(), []
    vectors = GraphSource.vectors

    def slow(self):
        made.append(1)
        begun.set()
        assert go_on.wait(30)
        yield from vectors(self)

    monkeypatch.setattr(GraphSource, "vectors", slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(scan(index, MANY))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    assert scan(index, FEW) == scan(exact_scan(exact), FEW)
    assert not is_filled(index)
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert made == [1]


class exact_scan:
    """The exact index under the graph's names."""

    def __init__(self, exact):
        self.search_exactly = exact.search


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("unlinked", [False, True])
def test_children_scan_while_their_parent_does(path, exact, unlinked):
    index = load(path)
    expected = scan(exact_scan(exact), MANY)
    if unlinked:
        path.unlink()
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if scan(index, MANY) == expected and is_filled(index) else 2
            finally:
                os._exit(status)
        children.append(pid)
    assert scan(index, MANY) == expected
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]


# --- the open file ------------------------------------------------------------------------------


def times_open(path):
    links = [link for link in Path("/proc/self/fd").iterdir() if link.exists() or link.is_symlink()]
    return sum(os.path.realpath(link).startswith(str(path)) for link in links)


@pytest.mark.skipif(not hasattr(os, "pread"), reason="this system cannot read from a place of a file")
def test_vectors_come_from_the_file_as_long_as_it_is_what_it_was(path, exact, monkeypatch):
    index, asked = load(path), []
    get_items = HnswIndex._gather
    monkeypatch.setattr(HnswIndex, "_gather", lambda self, labels: asked.append(len(labels)) or get_items(self, labels))
    scan(index, MANY)
    asked.clear()
    assert_equal(index, exact)
    assert not asked
    extra = clustered(30, DIMENSION, seed=5)
    for each in (index, exact):
        each.add(np.arange(COUNT + 100, COUNT + 130), extra)  # which the file does not have
    assert_equal(index, exact)
    whole = path.read_bytes()
    begin = HEADER.size + 4 + 4 * 32
    for node in range(COUNT):  # another value, as large as the others
        place = begin + node * NODE
        rows = bytearray(whole[place : place + 4 * DIMENSION])
        rows[:4], rows[4:8] = rows[4:8], rows[:4]
        with path.open("r+b") as file:
            file.seek(place)
            file.write(rows)
    asked.clear()
    assert_equal(index, exact)
    assert asked
    with path.open("r+b") as file:
        file.truncate(1000)
    assert_equal(index, exact)


@needs_descriptors
def test_the_file_is_closed_with_the_index_and_at_once(path, exact):
    gc.disable()
    try:
        index = load(path)
        index.search(clustered(1, DIMENSION), 3)
        del index
        assert times_open(path) == 0
    finally:
        gc.enable()


@needs_descriptors
def test_the_file_of_a_failed_loading_and_of_an_empty_index_is_closed(path, exact, tmp_path):
    with pytest.raises(StorageError, match="was changed"):
        load(path, sha256="0" * 64)
    with pytest.raises(StorageError, match="not built with M"):
        load(path, M=5)
    HnswIndex(DIMENSION, "cosine", ef_construction=40).save(tmp_path / "empty")
    empty = load(tmp_path / "empty")
    assert times_open(tmp_path) == 0
    assert len(empty) == 0


# --- the checksum -------------------------------------------------------------------------------


def no_mapping(monkeypatch):
    def failing(*arguments, **named):
        raise OSError(19, "No such device")

    monkeypatch.setattr(mmap, "mmap", failing)


def no_thread(monkeypatch):
    def failing(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", failing)


@pytest.mark.parametrize("hinder", [lambda monkeypatch: None, no_mapping, no_thread])
def test_the_whole_file_is_compared_with_its_checksum(path, exact, monkeypatch, hinder):
    hinder(monkeypatch)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert_equal(load(path, sha256=sha256), exact)
    for place in (96 + 4 + 4 * 32, 96 + 2999 * NODE + NODE - 5):  # a bit of a vector, and of a label
        data = path.read_bytes()
        overwrite(path, place, bytes([data[place] ^ 1]))
        with pytest.raises(StorageError, match="was changed"):
            load(path, sha256=sha256)
        overwrite(path, place, data[place : place + 1])
    assert_equal(load(path, sha256=sha256), exact)


@pytest.mark.parametrize("change", [unlink, replace])
def test_a_file_that_is_exchanged_while_hnswlib_reads_is_refused(path, exact, monkeypatch, change):
    check = GraphSource.check

    def then_changed(self, **options):
        found = check(self, **options)
        data = path.read_bytes()
        change(path)
        if path.exists():
            path.write_bytes(data)  # the same, but it could be anything
        return found

    monkeypatch.setattr(GraphSource, "check", then_changed)
    with pytest.raises(StorageError, match=r"could not be loaded|was changed"):
        load(path)
