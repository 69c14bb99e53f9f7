"""Frames to one vector."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb_audio.config import POOLINGS
from vecdb_audio.pooling import Pooling


def frames(count: int, columns: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 50, (count, columns)).astype(np.float32)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("loudness_first", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 200])
def test_every_pooling_gives_its_dimension_for_any_number_of_frames(name, loudness_first, count):
    pooling = Pooling(name, columns=5, segments=4, loudness_first=loudness_first)
    vector = pooling(frames(count))
    assert vector.shape == (pooling.dimension,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()


def test_mean_and_deviation_side_by_side_each_of_length_one():
    found = Pooling("mean_std", columns=2, segments=4, loudness_first=False)(
        np.array([[1, 10], [3, 10], [5, 10]], np.float32)
    )
    mean, deviation = np.array([3, 10]) / np.hypot(3, 10), [1, 0]
    assert found == pytest.approx([*mean, *deviation], abs=1e-6)


def test_segments_keep_the_order_of_time():
    rising = np.repeat([[0.0], [1.0], [2.0], [3.0]], 6, axis=0).astype(np.float32)
    pooling = Pooling("segments", columns=1, segments=4, loudness_first=False)
    assert pooling(rising) == pytest.approx(np.arange(4) / np.sqrt(14))
    assert pooling(rising[::-1]) == pytest.approx(np.arange(4)[::-1] / np.sqrt(14))


def test_percentiles():
    pooling = Pooling("percentiles", columns=1, segments=4, loudness_first=False)
    found = pooling(np.arange(101, dtype=np.float32)[:, None])
    assert found[:3] == pytest.approx(np.array([10, 50, 90]) / np.sqrt(10**2 + 50**2 + 90**2))


@pytest.mark.parametrize("name", POOLINGS)
def test_the_loudness_itself_says_nothing(name):
    pooling = Pooling(name, columns=5, segments=4, loudness_first=True)
    quiet = frames(50)
    loud = quiet + np.array([30, 0, 0, 0, 0], np.float32)
    assert pooling(loud) == pytest.approx(pooling(quiet), abs=1e-5)


def test_a_steady_sound_has_no_deviation_and_its_rounding_is_not_blown_up():
    steady = np.full((100, 5), 20.0, np.float32)
    noise = np.random.default_rng(0).uniform(-1e-4, 1e-4, steady.shape).astype(np.float32)
    pooling = Pooling("combined", columns=5, segments=4, loudness_first=False)
    assert pooling(steady + noise) == pytest.approx(pooling(steady), abs=1e-3)


def test_the_blocks_of_the_combined_pooling_weigh_one_two_two():
    vector = Pooling("combined", columns=5, segments=4, loudness_first=False)(frames(200))
    squared = [float((part**2).sum()) for part in np.split(vector, [20, 25])]
    assert squared == pytest.approx([1, 2, 2], rel=1e-5)
