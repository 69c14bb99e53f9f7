"""What every vector index does: one suite over all of them and all metrics."""

from __future__ import annotations

import numpy as np
import pytest

from tests.index.data import clustered, numbered, oracle
from vecdb.errors import DimensionMismatchError, InvalidInputError, NonFiniteVectorError, NotFoundError
from vecdb.index.base import VectorIndex
from vecdb.index.exact import ExactIndex
from vecdb.index.hnsw import HnswIndex
from vecdb.types import METRICS, Metric

DIMENSION = 8
ROUNDING = 1e-5


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [ExactIndex, HnswIndex])
class TestVectorIndex:
    def filled(self, kind, metric: Metric, count: int = 300, **options) -> VectorIndex:
        index = kind(DIMENSION, metric, **options)
        vectors = clustered(count, DIMENSION, metric=metric)
        index.add(numbered(vectors), vectors)
        return index

    def test_says_what_it_was_made_with(self, kind, metric):
        index: VectorIndex = kind(DIMENSION, metric)
        assert (index.dimension, index.metric, len(index)) == (DIMENSION, metric, 0)

    def test_finds_what_an_oracle_in_float64_finds(self, kind, metric):
        index = self.filled(kind, metric)
        vectors = clustered(300, DIMENSION, metric=metric)
        queries = clustered(20, DIMENSION, seed=1, metric=metric)
        labels, distances = index.search(queries, 10, ef=300)
        assert labels.shape == distances.shape == (20, 10)
        assert (labels.dtype, distances.dtype) == (np.int64, np.float32)
        for row, query in enumerate(queries):
            expected, lengths = oracle(metric, query, 10, numbered(vectors), vectors)
            assert labels[row].tolist() == expected
            assert distances[row] == pytest.approx(lengths, abs=ROUNDING)

    def test_distances_have_the_units_of_the_metric(self, kind, metric):
        index = kind(2, metric)
        index.add([1, 2, 3], np.array([[1, 0], [0, 1], [-1, 0]], np.float32))
        labels, distances = index.search(np.array([[1, 0]], np.float32), 3)
        assert labels.tolist() == [[1, 2, 3]]
        assert distances[0] == pytest.approx([0, 2, 4] if metric == "l2" else [0, 1, 2])

    def test_an_empty_index_finds_nothing(self, kind, metric):
        index = kind(DIMENSION, metric)
        for allowed in (None, np.array([1, 2])):
            labels, distances = index.search(clustered(3, DIMENSION, metric=metric), 5, allowed=allowed)
            assert labels.shape == distances.shape == (3, 0)
        assert index.labels().tolist() == []
        assert index.vectors([]).shape == (0, DIMENSION)

    def test_no_queries_give_no_answers(self, kind, metric):
        labels, distances = self.filled(kind, metric).search(np.empty((0, DIMENSION), np.float32), 5)
        assert labels.shape == distances.shape == (0, 5)

    def test_adding_nothing_changes_nothing(self, kind, metric):
        index = kind(DIMENSION, metric)
        index.add([], np.empty((0, DIMENSION), np.float32))
        assert len(index) == 0

    @pytest.mark.parametrize("k", [1, 299, 300, 301, 10_000])
    def test_always_as_many_as_there_are_up_to_k(self, kind, metric, k):
        index = self.filled(kind, metric)
        labels, distances = index.search(clustered(2, DIMENSION, seed=1, metric=metric), k)
        assert labels.shape == (2, min(k, 300))
        assert all(len(set(row)) == len(row) for row in labels.tolist())
        assert (np.diff(distances, axis=1) >= 0).all()

    def test_ties_are_sorted_by_label(self, kind, metric):
        corners = np.array([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
        index = kind(3, metric)
        index.add([9, 5, 2, 7, 3], corners)
        labels, _ = index.search(np.array([[0, 0, 1]], np.float32), 5)
        assert labels.tolist() == [[9, 2, 3, 5, 7]]

    def test_labels_may_come_in_any_order(self, kind, metric):
        vectors = clustered(40, DIMENSION, metric=metric)
        shuffled = np.random.default_rng(0).permutation(40)
        index = kind(DIMENSION, metric)
        for part in np.array_split(shuffled, 7):
            index.add(part + 1, vectors[part])
        assert index.labels().tolist() == list(range(1, 41))
        assert np.array_equal(index.vectors(np.array([17, 3])), vectors[[16, 2]])

    def test_large_labels_are_kept(self, kind, metric):
        index = kind(DIMENSION, metric)
        vectors = clustered(2, DIMENSION, metric=metric)
        index.add([2**31 + 7, 2**62 + 5], vectors)
        assert sorted(index.search(vectors[:1], 2)[0][0].tolist()) == [2**31 + 7, 2**62 + 5]

    def test_vectors_come_back_to_the_bit(self, kind, metric):
        vectors = clustered(300, DIMENSION, metric=metric)
        index = self.filled(kind, metric)
        assert np.array_equal(index.vectors(index.labels()), vectors)

    def test_later_changes_of_the_array_do_not_change_the_index(self, kind, metric):
        vectors = clustered(10, DIMENSION, metric=metric)
        given = vectors.copy()
        index = kind(DIMENSION, metric)
        index.add(numbered(given), given)
        given[:] = 0
        index.vectors([1])[:] = 0
        assert np.array_equal(index.vectors(numbered(vectors)), vectors)

    @pytest.mark.parametrize("form", ["float64", "columns first", "every other", "big-endian", "lists"])
    def test_other_forms_of_arrays_are_converted(self, kind, metric, form):
        vectors = clustered(20, DIMENSION, metric=metric)
        doubled = np.zeros((20, 2 * DIMENSION), np.float32)
        doubled[:, ::2] = vectors
        given = {
            "float64": vectors.astype(np.float64),
            "columns first": np.asfortranarray(vectors),
            "every other": doubled[:, ::2],
            "big-endian": vectors.astype(">f4"),
            "lists": vectors.tolist(),
        }[form]
        index = kind(DIMENSION, metric)
        index.add(numbered(vectors), given)
        assert np.array_equal(index.vectors(numbered(vectors)), vectors)
        plain, converted = index.search(vectors, 3), index.search(given, 3)
        assert np.array_equal(plain[0], converted[0])
        assert np.array_equal(plain[1], converted[1])

    @pytest.mark.parametrize(
        ("labels", "vectors", "error"),
        [
            ([301, 302], np.ones((1, DIMENSION)), InvalidInputError),
            ([301], np.ones((2, DIMENSION)), InvalidInputError),
            ([301, 301], np.eye(2, DIMENSION), InvalidInputError),
            ([301, 7], np.eye(2, DIMENSION), InvalidInputError),
            ([301, 0], np.eye(2, DIMENSION), InvalidInputError),
            ([301, -1], np.eye(2, DIMENSION), InvalidInputError),
            ([301.5, 302], np.eye(2, DIMENSION), InvalidInputError),
            (np.array([2**63 + 1], np.uint64), np.eye(1, DIMENSION), InvalidInputError),
            ([[301]], np.eye(1, DIMENSION), InvalidInputError),
            ([301], np.eye(1, DIMENSION - 1), DimensionMismatchError),
            ([301], np.eye(1, DIMENSION + 1), DimensionMismatchError),
            ([301, 302], np.array([np.eye(DIMENSION)[0], np.eye(DIMENSION)[1] * np.nan]), NonFiniteVectorError),
            ([301], np.full((1, DIMENSION), 1e39), NonFiniteVectorError),
            ([301], np.ones(DIMENSION), InvalidInputError),
        ],
    )
    def test_a_wrong_addition_is_refused_whole(self, kind, metric, labels, vectors, error):
        index = self.filled(kind, metric)
        before = index.vectors(index.labels())
        with pytest.raises(error):
            index.add(labels, vectors)
        assert np.array_equal(index.vectors(index.labels()), before)
        assert len(index) == 300

    @pytest.mark.parametrize(
        ("query", "error"),
        [
            (np.ones((1, DIMENSION - 1), np.float32), DimensionMismatchError),
            (np.ones((1, DIMENSION + 1), np.float32), DimensionMismatchError),
            (np.full((1, DIMENSION), np.nan, np.float32), NonFiniteVectorError),
            (np.full((1, DIMENSION), np.inf, np.float32), NonFiniteVectorError),
            (np.ones(DIMENSION, np.float32), InvalidInputError),
        ],
    )
    def test_a_wrong_query_is_refused(self, kind, metric, query, error):
        with pytest.raises(error):
            self.filled(kind, metric).search(query, 5)

    @pytest.mark.parametrize("k", [0, -1, 1.5, "3"])
    def test_a_wrong_k_is_refused(self, kind, metric, k):
        with pytest.raises(InvalidInputError, match="k must be"):
            self.filled(kind, metric).search(np.ones((1, DIMENSION), np.float32), k)

    @pytest.mark.parametrize("dimension", [0, -4, 65_537, 2.0, True])
    def test_a_wrong_dimension_is_refused(self, kind, metric, dimension):
        with pytest.raises(InvalidInputError, match="dimension"):
            kind(dimension, metric)

    def test_a_wrong_metric_is_refused(self, kind, metric):
        with pytest.raises(InvalidInputError, match="cosine, l2, ip"):
            kind(DIMENSION, metric + "?")

    def test_removed_vectors_are_not_found(self, kind, metric):
        index = self.filled(kind, metric)
        index.remove(np.array([5, 6, 7, 999_999, -3]))
        index.remove([5])
        index.remove([])
        assert len(index) == 297
        assert not {5, 6, 7} & set(index.labels().tolist())
        labels, _ = index.search(clustered(300, DIMENSION, metric=metric)[4:7], 297)
        assert labels.shape == (3, 297)
        assert not np.isin(labels, [5, 6, 7]).any()
        with pytest.raises(NotFoundError, match="6"):
            index.vectors([4, 6])

    def test_everything_can_be_removed_and_the_index_used_again(self, kind, metric):
        index = self.filled(kind, metric)
        index.remove(index.labels())
        assert len(index) == 0
        assert index.search(clustered(2, DIMENSION, metric=metric), 3)[0].shape == (2, 0)
        vectors = clustered(5, DIMENSION, seed=3, metric=metric)
        index.add(numbered(vectors, 1000), vectors)
        assert sorted(index.search(vectors[:1], 9)[0][0].tolist()) == [1000, 1001, 1002, 1003, 1004]

    @pytest.mark.parametrize("count", [0, 1, 3, 30, 150, 300])
    @pytest.mark.parametrize("k", [1, 10, 400])
    def test_only_allowed_vectors_are_found_and_all_that_fit(self, kind, metric, count, k):
        index = self.filled(kind, metric)
        index.remove([10, 20, 30])
        allowed = np.sort(np.random.default_rng(count).permutation(300)[:count]) + 1
        live = np.setdiff1d(allowed, [10, 20, 30])
        vectors = clustered(300, DIMENSION, metric=metric)
        queries = clustered(4, DIMENSION, seed=1, metric=metric)
        labels, distances = index.search(queries, k, allowed=np.append(allowed, 5000), ef=300)
        assert labels.shape == (4, min(k, len(live)))
        for row, query in enumerate(queries):
            expected, lengths = oracle(metric, query, k, live, vectors[live - 1])
            assert labels[row].tolist() == expected
            assert distances[row] == pytest.approx(lengths, abs=ROUNDING)

    def test_a_gigantic_k_needs_no_gigantic_memory(self, kind, metric):
        index = self.filled(kind, metric)
        for allowed, count in ((None, 300), (np.arange(1, 201), 200)):
            assert index.search(np.ones((2, DIMENSION), np.float32), 2**60, allowed=allowed)[0].shape == (2, count)

    def test_allowed_labels_need_not_be_sorted_or_distinct(self, kind, metric):
        index = self.filled(kind, metric)
        query = clustered(1, DIMENSION, seed=1, metric=metric)
        tidy = index.search(query, 5, allowed=np.array([3, 50, 200]))
        untidy = index.search(query, 5, allowed=np.array([200, 3, 50, 3]))
        assert np.array_equal(tidy[0], untidy[0])

    def test_a_batch_finds_what_its_queries_find_alone(self, kind, metric):
        index = self.filled(kind, metric)
        queries = clustered(25, DIMENSION, seed=1, metric=metric)
        for allowed in (None, np.arange(1, 300, 3)):
            labels, distances = index.search(queries, 7, allowed=allowed)
            for row in range(25):
                alone = index.search(queries[row : row + 1], 7, allowed=allowed)
                assert np.array_equal(alone[0][0], labels[row])
                assert alone[1][0] == pytest.approx(distances[row], abs=ROUNDING)

    def test_no_distance_is_negative_where_it_cannot_be(self, kind, metric):
        index = self.filled(kind, metric)
        if metric == "ip":
            scaled = np.full((1, DIMENSION), 3, np.float32)
            index.add([1000], scaled)
            assert index.search(scaled, 1)[1][0, 0] == 1 - 9 * DIMENSION
        else:
            vectors = clustered(300, DIMENSION, metric=metric)
            _, distances = index.search(vectors, 1)
            assert (distances >= 0).all()
            assert distances.max() < 1e-6
