"""HnswIndex against the hazards of hnswlib: each of these calls crashes, lies or fails in hnswlib itself."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import hnswlib
import numpy as np
import pytest

from tests.index.data import clustered, numbered
from tests.index.test_exact import CASES, hard_case
from vecdb.errors import DiskFullError, InvalidInputError, StorageError
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.index.hnsw_file import unreachable_in
from vecdb.types import METRICS
from vecdb.vectors import normalise

DIMENSION = 16


@pytest.fixture
def vectors():
    return clustered(500, DIMENSION)


@pytest.fixture
def index(vectors):
    index = HnswIndex(DIMENSION, "cosine")
    index.add(numbered(vectors), vectors)
    return index


def load(path, **changes):
    return HnswIndex.load(path, **{"dimension": DIMENSION, "metric": "cosine", **changes})


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("M", [0, 1, 129, 16.0, True]),
        ("ef_construction", [0, 1, 10_001, "200"]),
        ("ef", [0, -5, None]),
        ("capacity", [0, -1]),
        ("threads", [0, -1, 257]),
    ],
)
def test_options_outside_their_range_are_refused(option, values):
    for value in values:
        with pytest.raises(InvalidInputError, match=option):
            HnswIndex(DIMENSION, "cosine", **{option: value})


@pytest.mark.parametrize("M", [2, 128])
def test_the_ends_of_the_range_of_M_work(M, vectors, tmp_path):
    index = HnswIndex(DIMENSION, "cosine", M=M, ef_construction=50)
    index.add(numbered(vectors), vectors)
    assert index.search(vectors[:50], 500)[0].shape == (50, 500)
    index.save(tmp_path / "a")
    loaded = load(tmp_path / "a", M=M, ef_construction=50)
    assert np.array_equal(loaded.search(vectors[:50], 3)[0], index.search(vectors[:50], 3)[0])


def test_a_label_is_never_updated_in_place_nor_used_again(index, vectors):
    for label in (7, 8):
        index.remove([8])
        with pytest.raises(InvalidInputError, match=f"label {label} is, or was"):
            index.add([label], vectors[:1] * -1)
    assert np.array_equal(index.vectors([7]), vectors[6:7])
    assert index.nodes == 500


def test_room_grows_by_half_and_loses_nothing(vectors):
    index = HnswIndex(DIMENSION, "cosine", capacity=1)
    room = []
    for start in range(0, 500, 7):
        index.add(numbered(vectors[start : start + 7], start + 1), vectors[start : start + 7])
        room.append(index._graph.get_max_elements())
    assert np.array_equal(index.vectors(index.labels()), vectors)
    assert len(set(room)) <= 2
    more = clustered(3000, DIMENSION, seed=4)
    index.add(numbered(more, 501), more)
    assert index._graph.get_max_elements() >= 3500
    assert len(index) == 3500


def test_asking_for_more_than_can_be_reached_is_answered_exactly():
    # Two links a node and tight clusters: hnswlib cannot walk from one cluster to the next.
    centres = 100 * np.random.default_rng(0).normal(size=(40, DIMENSION))
    vectors = np.repeat(centres, 25, axis=0) + np.random.default_rng(1).normal(size=(1000, DIMENSION))
    vectors = vectors.astype(np.float32)
    index, exact = HnswIndex(DIMENSION, "l2", M=2, ef_construction=10), ExactIndex(DIMENSION, "l2")
    for each in (index, exact):
        each.add(numbered(vectors), vectors)
    with pytest.raises(RuntimeError, match="contiguous"):
        index._graph.knn_query(vectors[:5], k=1000)
    for k in (1000, 999):
        labels, distances = index.search(vectors[:5], k)
        expected = exact.search(vectors[:5], k)
        assert np.array_equal(labels, expected[0])
        assert np.array_equal(distances, expected[1])


def test_after_a_failure_hnswlib_is_not_asked_again_for_as_many(monkeypatch, index, vectors):
    calls = []

    class Failing:
        def __init__(self, graph):
            self.graph = graph

        def __getattr__(self, name):
            return getattr(self.graph, name)

        def knn_query(self, queries, k, num_threads):
            calls.append((len(queries), k))
            if k > 50:
                raise RuntimeError("Cannot return the results in a contiguous 2D array")
            return self.graph.knn_query(queries, k=k, num_threads=num_threads)

    index._graph = Failing(index._graph)
    for _ in range(3):
        assert index.search(vectors[:100], 400)[0].shape == (100, 400)
    assert calls == [(1, 400)]  # each failing call leaks the room for its results
    calls.clear()
    for _ in range(3):  # nor is a long candidate list more important than an answer from the graph
        assert index.search(vectors[:2], 10, ef=300)[0].shape == (2, 10)
    assert sorted({k for _, k in calls}, reverse=True) == [300, 150, 75, 37]
    assert [k for _, k in calls if k > 50] == [300, 150, 75]


def test_failing_queries_do_not_leak_their_results():
    code = """
    import numpy as np, resource
    from vecdb.index.hnsw import HnswIndex
    centres = 100 * np.random.default_rng(0).normal(size=(40, 8))
    vectors = (np.repeat(centres, 25, axis=0) + np.random.default_rng(1).normal(size=(1000, 8))).astype(np.float32)
    index = HnswIndex(8, "l2", M=2, ef_construction=10)
    index.add(np.arange(1, 1001), vectors)
    def size():
        return int(open("/proc/self/statm").read().split()[0]) * 4096
    index.search(vectors[:100], 1000)
    before = size()
    for _ in range(20):  # 1.2 MB of results each
        index.search(vectors[:100], 1000)
    assert size() - before < 10_000_000, size() - before
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    in_child(code)


def in_child(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ef_is_per_call_and_each_thread_gets_at_least_its_own(monkeypatch):
    lists = []

    class Watched:
        def __init__(self, graph):
            self.graph = graph

        def __getattr__(self, name):
            return getattr(self.graph, name)

        def knn_query(self, queries, k, num_threads):
            lists.append(max(self.graph.ef, k))  # the length of the candidate list, as hnswlib defines it
            return self.graph.knn_query(queries, k=k, num_threads=num_threads)

    vectors = clustered(2000, DIMENSION)
    index = HnswIndex(DIMENSION, "cosine", ef=50)
    index.add(numbered(vectors), vectors)
    index._graph = Watched(index._graph)
    for ef in (None, 400, 20, 100, None, 5, 20):
        assert index.search(vectors[:1], 5, ef=ef)[0].shape == (1, 5)
    assert lists == [50, 400, 20, 100, 50, 5, 20]
    for wrong in (0, -3, 2.5, "80"):
        with pytest.raises(InvalidInputError, match="ef"):
            index.search(vectors[:1], 5, ef=wrong)

    lists.clear()
    short: list[int] = []

    def search(ef):
        for _ in range(100):
            index.search(vectors[:1], 1, ef=ef)
            short.extend([ef] * (index._graph_ef > ef))

    threads = [threading.Thread(target=search, args=(ef,)) for ef in (4, 40, 3, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert short == []
    assert {value: lists.count(value) for value in (40, 200)} == {40: 100, 200: 100}


def test_a_larger_ef_finds_more():
    vectors = clustered(4000, 48, metric="l2")
    index, exact = HnswIndex(48, "l2", M=4, ef_construction=20, ef=1), ExactIndex(48, "l2")
    for each in (index, exact):
        each.add(numbered(vectors), vectors)
    queries = clustered(100, 48, seed=1, metric="l2")
    truth = exact.search(queries, 1)[0]
    right = [int((index.search(queries, 1, ef=ef)[0] == truth).sum()) for ef in (1, 20, 400)]
    assert right[0] < right[1] < right[2]


def test_one_query_starts_no_threads(index, vectors):
    seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(graph, name)

        def knn_query(self, queries, k, num_threads):
            seen.append(num_threads)
            return graph.knn_query(queries, k=k, num_threads=num_threads)

    graph, index._graph, index._threads = index._graph, Watched(), 2
    index.search(vectors[:1], 3)
    index.search(vectors[:90], 3)
    assert seen == [1, 2]


def test_tombstones_are_counted(index):
    index.remove(np.arange(1, 101))
    assert (len(index), index.nodes, index.deleted, index.tombstone_ratio) == (400, 500, 100, 0.2)
    index.remove([1, 2, 3])
    assert index.deleted == 100
    assert HnswIndex(2, "l2").tombstone_ratio == 0


def test_a_batch_that_fails_half_way_makes_the_index_unusable(index, vectors):
    class Failing:
        def __getattr__(self, name):
            return getattr(graph, name)

        def add_items(self, *args, **options):
            raise RuntimeError("Not enough memory")

    graph, index._graph = index._graph, Failing()
    with pytest.raises(StorageError, match="build the index anew"):
        index.add([1000], vectors[:1])
    index._graph = graph
    for call in (
        lambda: index.add([1001], vectors[:1]),
        lambda: index.search(vectors[:1], 1),
        lambda: index.remove([1]),
    ):
        with pytest.raises(StorageError, match="anew"):
            call()


class TestFiles:
    def test_everything_comes_back(self, index, vectors, tmp_path):
        index.remove([3, 4, 500])
        index.save(tmp_path / "a")
        loaded = load(tmp_path / "a", ef=33, count=500)
        assert (len(loaded), loaded.nodes, loaded.deleted, loaded.ef) == (497, 500, 3, 33)
        assert loaded._graph.ef == 33
        assert loaded.labels().tolist() == index.labels().tolist()
        assert np.array_equal(loaded.vectors(loaded.labels()), index.vectors(index.labels()))
        assert np.array_equal(loaded.search(vectors, 10, ef=80)[0], index.search(vectors, 10, ef=80)[0])

    def test_a_loaded_index_can_grow_and_shrink(self, index, vectors, tmp_path):
        index.save(tmp_path / "a")
        loaded = load(tmp_path / "a")
        more = clustered(3000, DIMENSION, seed=2)
        loaded.add(numbered(more, 501), more)
        with pytest.raises(InvalidInputError, match="label 17"):
            loaded.add([17], vectors[:1])
        loaded.remove([1])
        labels, distances = loaded.search(more[:100], 1)
        assert labels[:, 0].tolist() == list(range(501, 601))
        assert len(loaded) == 3499
        assert distances.max() < 1e-6

    def test_an_empty_index_comes_back_and_can_be_filled(self, vectors, tmp_path):
        HnswIndex(DIMENSION, "cosine").save(tmp_path / "a")
        loaded = load(tmp_path / "a", count=0)
        assert loaded.search(vectors[:1], 3)[0].shape == (1, 0)
        loaded.add(numbered(vectors), vectors)
        assert loaded.search(vectors[:1], 1)[0].tolist() == [[1]]

    def test_the_same_additions_give_the_same_file(self, vectors, tmp_path):
        for name in "ab":
            index = HnswIndex(DIMENSION, "cosine")
            index.add(numbered(vectors), vectors)
            index.save(tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_an_existing_file_is_not_touched(self, index, tmp_path):
        (tmp_path / "a").write_text("precious")
        with pytest.raises(StorageError, match="could not be written"):
            index.save(tmp_path / "a")
        assert (tmp_path / "a").read_text() == "precious"

    def test_a_missing_folder_is_an_error(self, index, tmp_path):
        with pytest.raises(StorageError, match="check the folder"):
            index.save(tmp_path / "missing" / "a")

    def test_a_missing_file_and_a_folder_are_errors(self, tmp_path):
        for path in (tmp_path / "missing", tmp_path):
            with pytest.raises(StorageError, match="rebuild"):
                load(path)

    def test_a_file_cut_short_by_a_full_disk_is_an_error_and_is_removed(self, tmp_path):
        pytest.importorskip("resource")
        code = """
        import resource, sys
        from pathlib import Path
        import numpy as np
        from vecdb.errors import DiskFullError
        from vecdb.index.hnsw import HnswIndex
        index = HnswIndex(64, "l2")
        index.add(np.arange(1, 2001), np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            index.save(Path(sys.argv[1]))
        except DiskFullError as error:
            print(error)
        """
        message = in_child(code, str(tmp_path / "a"))
        assert "300000 of" in message
        assert "free some space" in message
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_sync_is_an_error(self, index, tmp_path, monkeypatch):
        def failing(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vecdb.index.hnsw_file.os.fsync", failing)
        with pytest.raises(DiskFullError, match="No space left"):
            index.save(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []

    def test_names_of_any_bytes_work(self, index, tmp_path):
        path = tmp_path / "색인 \udcff é"
        index.save(path)
        assert len(load(path)) == 500

    @pytest.mark.parametrize(
        "change",
        [{"dimension": 15}, {"dimension": 17}, {"M": 8}, {"ef_construction": 100}, {"count": 499}],
    )
    def test_a_file_of_another_index_is_refused(self, index, tmp_path, change):
        index.save(tmp_path / "a")
        with pytest.raises(StorageError, match="does not fit"):
            load(tmp_path / "a", **change)

    def test_a_file_of_vectors_that_are_not_normalised_is_refused_for_cosine(self, tmp_path):
        vectors = clustered(50, DIMENSION, metric="l2")
        index = HnswIndex(DIMENSION, "l2")
        index.add(numbered(vectors), vectors)
        index.save(tmp_path / "a")
        with pytest.raises(StorageError, match="length 1"):
            load(tmp_path / "a")
        assert len(load(tmp_path / "a", metric="l2")) == 50


class TestUnreachable:
    def test_an_ordinary_graph_has_none(self, index, tmp_path):
        index.save(tmp_path / "a")
        assert unreachable_in(tmp_path / "a", dimension=DIMENSION, M=16).tolist() == []

    def test_an_empty_graph_has_none(self, tmp_path):
        HnswIndex(DIMENSION, "cosine").save(tmp_path / "a")
        assert unreachable_in(tmp_path / "a", dimension=DIMENSION, M=16).tolist() == []

    def test_the_unreachable_are_those_that_hnswlib_never_finds(self, tmp_path):
        # All vectors on one level, so that every search starts at the entry point, and few links.
        centres = 100 * np.random.default_rng(0).normal(size=(40, 8))
        vectors = np.repeat(centres, 25, axis=0) + np.random.default_rng(1).normal(size=(1000, 8))
        vectors = vectors.astype(np.float32)
        index = HnswIndex(8, "l2", M=2, ef_construction=10)
        index.add(numbered(vectors), vectors)
        index.remove([1, 2, 3])
        index.save(tmp_path / "a")
        unreachable = unreachable_in(tmp_path / "a", dimension=8, M=2)
        reached = set(range(4, 1001)) - set(unreachable.tolist())
        assert 0 < len(unreachable) < 997
        bare = hnswlib.Index("l2", 8)
        bare.load_index(str(tmp_path / "a"))
        bare.set_ef(1000)
        entry = int.from_bytes((tmp_path / "a").read_bytes()[52:56], sys.byteorder)
        found, _ = bare.knn_query(vectors[entry], k=len(reached))
        assert set(found[0].tolist()) == reached
        with pytest.raises(RuntimeError, match="contiguous"):
            bare.knn_query(vectors[entry], k=len(reached) + 1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_a_scan_of_few_allowed_vectors_is_exact_to_the_bit(metric, case, k):
    vectors = hard_case(case)
    if metric == "cosine":
        vectors = normalise(vectors[vectors.any(axis=1)])
    index, exact = HnswIndex(24, metric, M=4, ef_construction=10), ExactIndex(24, metric)
    for each in (index, exact):
        each.add(numbered(vectors)[::-1], vectors[::-1])
    allowed = np.arange(2, len(vectors), 2)
    for queries in (vectors[5:40:7], vectors[5:6]):
        found, expected = index.search(queries, k, allowed=allowed), exact.search(queries, k, allowed=allowed)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])
