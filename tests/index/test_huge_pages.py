"""Huge pages of memory for graphs: asked for where it is worthwhile, and no answer depends on them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.index.data import clustered, numbered
from vecdb.index import huge_pages
from vecdb.index.hnsw import HnswIndex

COUNT, DIMENSION = 16_000, 512  # 39 MB
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
needs_huge_pages = pytest.mark.skipif(
    not (MODE.exists() and "[madvise]" in MODE.read_text("ascii")), reason="this system gives no huge pages on request"
)


def in_huge_pages() -> int:
    """KiB of this process."""
    lines = Path("/proc/self/smaps").read_text("utf-8", "surrogateescape").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    vectors = clustered(COUNT, DIMENSION)
    index = HnswIndex(DIMENSION, "cosine", M=4, ef_construction=10, capacity=COUNT)
    index.add(numbered(vectors), vectors)
    index.save(tmp_path_factory.mktemp("graph") / "graph.hnsw")
    return next(tmp_path_factory.getbasetemp().glob("graph*/graph.hnsw"))


def load(path):
    return HnswIndex.load(path, dimension=DIMENSION, metric="cosine", M=4, ef_construction=10)


def test_what_appeared_is_what_was_not_there() -> None:
    before = [(10, 20), (30, 40)]
    assert list(huge_pages._appeared(before, before)) == []
    assert list(huge_pages._appeared(before, [(5, 45)])) == [(5, 10), (20, 30), (40, 45)]
    assert list(huge_pages._appeared(before, [(10, 25), (50, 60)])) == [(20, 25), (50, 60)]
    assert list(huge_pages._appeared([], [(1, 2)])) == [(1, 2)]
    assert list(huge_pages._appeared([(0, 100)], [(10, 20), (90, 110)])) == [(100, 110)]


def huge_pages_of_a_loaded_graph(path: Path) -> None:
    queries = clustered(20, DIMENSION, seed=1)
    index = load(path)
    assert index.wants_huge_pages
    before, found = in_huge_pages(), index.search(queries, 5)
    index.make_huge_pages(lambda: True)
    assert index.wants_huge_pages
    index.make_huge_pages(lambda: False)
    assert not index.wants_huge_pages
    assert in_huge_pages() >= before + 4096
    again = index.search(queries, 5)
    assert np.array_equal(found[0], again[0])
    assert np.array_equal(found[1], again[1])


@needs_huge_pages
def test_a_loaded_graph_gets_huge_pages_and_gives_the_same_answers(path) -> None:
    """In a process of its own: in this one, malloc may have as much memory left over from other tests."""
    call = f"from tests.index.test_huge_pages import *; huge_pages_of_a_loaded_graph(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", call], check=True, cwd=Path(__file__).parents[2])


def test_small_graphs_and_new_ones_want_nothing(path) -> None:
    assert not HnswIndex(DIMENSION, "cosine", capacity=COUNT).wants_huge_pages  # it asks before it is written to
    small = HnswIndex(4, "l2")
    small.add(np.arange(1, 10), np.eye(9, 4, dtype=np.float32))
    assert not small.wants_huge_pages


@pytest.mark.parametrize("lacking", ["advice", "maps"])
def test_where_the_system_does_not_offer_it_nothing_is_different(path, monkeypatch, lacking) -> None:
    if lacking == "advice":
        monkeypatch.setattr(huge_pages, "_madvise", None)
    else:
        monkeypatch.setattr(huge_pages, "_MAPS", Path("/nowhere"))
    index = load(path)
    assert not index.wants_huge_pages
    assert len(index) == COUNT


@pytest.mark.skipif(sys.platform != "linux", reason="memory is listed on Linux only")
def test_searches_go_on_while_huge_pages_are_made(path) -> None:
    index, queries = load(path), clustered(5, DIMENSION, seed=2)
    expected = index.search(queries, 5)[0]
    making = threading.Thread(target=index.make_huge_pages, args=(lambda: False,))
    making.start()
    while making.is_alive():
        assert np.array_equal(index.search(queries, 5)[0], expected)
    making.join()
    index.add(np.arange(COUNT + 1, COUNT + 2001), clustered(2000, DIMENSION, seed=3))  # and it grows afterwards
    assert len(index) == COUNT + 2000
