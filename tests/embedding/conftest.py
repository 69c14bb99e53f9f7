"""Each test sees only the embedders that it made."""

from __future__ import annotations

import pytest

from tests.embedding.lengths import Lengths


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setenv("VECDB_TEST_TOKEN", "opened")
    Lengths.made.clear()
