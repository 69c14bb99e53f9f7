"""Frames to one vector."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb_audio.config import POOLINGS
from vecdb_audio.pooling import Pooling, stretches


def frames(count: int, columns: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 40, (count, columns)).astype(np.float32)


def pooling(name: str, columns: int = 5, segments: int = 4, *, cepstral: bool = False) -> Pooling:
    return Pooling(name, columns, segments, frame_rate=50.0, cepstral=cepstral)


def part(number: int, bands: np.ndarray) -> np.ndarray:
    """One block of the combined pooling of mel bands, as of length 1: 0 percentiles to 3 slopes."""
    made = pooling("combined", columns=bands.shape[1])
    ends = np.cumsum([5 * bands.shape[1], 7 * bands.shape[1], made.segments * bands.shape[1]])
    found = np.split(made(bands, bands), ends)[number]
    return found / np.linalg.norm(found)


MODULATION, SEGMENTS, SLOPES = 1, 2, 3


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("cepstral", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 200, 1009])
def test_every_pooling_gives_its_dimension_for_any_number_of_frames(name, cepstral, count):
    made = pooling(name, cepstral=cepstral)
    vector = made(frames(count), frames(count, columns=40))
    assert vector.shape == (made.dimension,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()


def test_mean_and_deviation_side_by_side_each_of_length_one():
    found = pooling("mean_std", columns=3, cepstral=True)(
        np.array([[9, 1, 10], [9, 3, 10], [9, 5, 10]], np.float32), frames(3)
    )
    mean, deviation = np.array([3, 10]) / np.hypot(3, 10), [0, 1, 0]
    assert found == pytest.approx([*mean, *deviation], abs=1e-6)


def test_percentiles():
    found = pooling("percentiles", columns=1)(np.arange(101, dtype=np.float32)[:, None], frames(101))
    expected = np.array([5, 25, 50, 75, 95])
    assert found[:5] == pytest.approx(expected / np.linalg.norm(expected))


def test_stretches_are_means_of_overlapping_triangles():
    rising = np.arange(400.0)[:, None]
    assert stretches(rising, 4)[1:3, 0] == pytest.approx([149.5, 249.5])  # the middles of the second and third
    assert stretches(np.ones((7, 2)), 3) == pytest.approx(np.ones((3, 2)))
    two = stretches(np.array([[0.0], [1.0]]), 6)[:, 0]
    assert (np.diff(two) > -1e-12).all()
    assert 0 <= two[0] < 0.5 < two[-1] <= 1


def test_segments_keep_the_order_of_time_and_forget_what_is_always_there():
    moving = np.repeat(np.eye(4, dtype=np.float32) * 20, 25, axis=0)
    forwards, backwards = (part(SEGMENTS, found).reshape(4, 4) for found in (moving, moving[::-1]))
    assert forwards.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert backwards.argmax(axis=1).tolist() == [3, 2, 1, 0]
    coloured = moving + np.array([0, 3, 5, 1], np.float32)
    assert part(SEGMENTS, coloured) == pytest.approx(part(SEGMENTS, moving), abs=1e-5)


@pytest.mark.parametrize("number", [SEGMENTS, SLOPES])
def test_silence_before_and_after_makes_no_difference_to_segments_and_slopes(number):
    word = frames(60) + 1
    padded = np.concatenate([np.zeros((30, 5), np.float32), word, np.zeros((80, 5), np.float32)])
    assert part(number, padded) == pytest.approx(part(number, word), abs=1e-6)


def test_slopes_tell_rising_from_falling_and_forgive_another_speed():
    bands = np.arange(20)

    def sweep(count: int, start: float, end: float) -> np.ndarray:
        place = np.linspace(start, end, count)[:, None]
        return (40 * np.exp(-(((bands - place) / 2) ** 2))).astype(np.float32)

    rising, falling = part(SLOPES, sweep(50, 4, 15)), part(SLOPES, sweep(50, 15, 4))
    slower, higher = part(SLOPES, sweep(90, 4, 15)), part(SLOPES, sweep(50, 5, 16))
    assert rising @ slower > 0.99
    assert rising @ falling < 0.8
    assert rising @ higher > 0.9


def test_modulation_tells_how_often_a_second():
    time = np.arange(500) / 50

    def of(hertz: float) -> int:
        pulsing = (20 + 10 * np.sin(2 * np.pi * hertz * time))[:, None] * np.ones(3)
        return int(part(MODULATION, pulsing.astype(np.float32)).reshape(7, 3)[:, 0].argmax())

    assert [of(hertz) for hertz in (0.35, 0.7, 1.4, 3, 6, 11, 20)] == list(range(7))


def test_modulation_does_not_depend_on_how_long_it_goes_on():
    time = np.arange(3000)[:, None] / 50
    pulsing = (20 + 10 * np.sin(2 * np.pi * np.array([0.5, 1, 3, 6, 12]) * time)).astype(np.float32)
    assert part(MODULATION, pulsing[:800]) @ part(MODULATION, pulsing) > 0.9


@pytest.mark.parametrize("name", POOLINGS)
def test_the_loudness_itself_says_nothing(name):
    made = pooling(name, cepstral=True)
    quiet, bands = frames(50), frames(50, columns=40)
    loud = quiet + np.array([30, 0, 0, 0, 0], np.float32)
    assert made(loud, bands) == pytest.approx(made(quiet, bands), abs=1e-5)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_steady_sound_has_no_movement_and_its_rounding_is_not_blown_up(name):
    steady = np.tile(np.linspace(10, 20, 5, dtype=np.float32), (100, 1))
    noise = np.random.default_rng(0).uniform(-1e-4, 1e-4, steady.shape).astype(np.float32)
    made = pooling(name)
    assert made(steady + noise, steady + noise) == pytest.approx(made(steady, steady), abs=0.05)


def test_the_blocks_of_the_combined_pooling_weigh_four_four_one_eight():
    made = pooling("combined")
    vector = made(frames(200), frames(200))
    squared = [float((part**2).sum()) for part in np.split(vector, [25, 60, 80])]
    assert squared == pytest.approx([4, 4, 1, 8], rel=1e-5)
