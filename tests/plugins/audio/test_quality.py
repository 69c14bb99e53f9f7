"""On real, labelled recordings: how often the nearest neighbour has the same label.

The figures are those of `python -m tests.quality audio`, in plugins/audio/README.md; here they must not
fall by more than two clips in a hundred.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.quality.audio import ACROSS, DIGITS, ESC, POOLINGS, SPEAKERS, accuracy, measure
from tests.shared import needs_shared
from vecdb_audio import config

MARGIN = 0.02

MEASURED = {  # embedder, pooling: ESC-10 across folds, digits across speakers
    ("mfcc", "combined"): (0.754, 0.833),
    ("mfcc", "segments"): (0.487, 0.843),
    ("mfcc", "percentiles"): (0.675, 0.547),
    ("spectrogram", "combined"): (0.738, 0.777),
    ("spectrogram", "segments"): (0.446, 0.807),
}


def test_every_pooling_is_measured():
    assert sorted(POOLINGS) == sorted(config.POOLINGS)


@needs_shared("audio-esc10", "audio-fsdd")
@pytest.mark.parametrize(("name", "pooling"), MEASURED)
def test_neighbours_in_real_recordings(name, pooling):
    found = measure(name, pooling=pooling)
    environment, across = MEASURED[name, pooling]
    assert found[ESC] >= environment - MARGIN
    assert found[ACROSS] >= across - MARGIN
    assert found[DIGITS] >= 0.97
    assert found[SPEAKERS] >= 0.97


@needs_shared("audio-esc10", "audio-fsdd")
def test_chance_is_one_in_ten():
    random = np.random.default_rng(0)
    assert accuracy(ESC, random.standard_normal((240, 600))) == pytest.approx(0.1, abs=0.05)
    assert accuracy(ACROSS, random.standard_normal((400, 600))) == pytest.approx(0.1, abs=0.05)
