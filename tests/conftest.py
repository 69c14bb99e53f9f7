"""Fixtures of the whole suite, and how hard hypothesis tries."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import vecdb
from tests.storage.embedders import Bytes, Counting, plugins_for_tests
from tests.storage.refused import DIMENSION

# By default the same examples each time, few enough for every change. A long random campaign:
# VECDB_TEST_EXAMPLES=20000 pytest tests/test_state_machine.py
_EXAMPLES = os.environ.get("VECDB_TEST_EXAMPLES")
_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("quick", derandomize=True, deadline=None, suppress_health_check=_CHECKS)
settings.register_profile(
    "long", max_examples=int(_EXAMPLES or 1), deadline=None, suppress_health_check=_CHECKS, print_blob=True
)
settings.load_profile("long" if _EXAMPLES else "quick")


@pytest.fixture
def plugins():
    """The installed plugins, and the embedders of tests/storage/embedders.py."""
    Counting.seen.clear()
    Bytes.seen.clear()
    return plugins_for_tests()


@pytest.fixture
def folder(tmp_path):
    """Where a test's database lies."""
    return tmp_path / "test.vecdb"


@pytest.fixture
def database(folder, plugins):
    """A new, open database."""
    with vecdb.open(folder, plugins=plugins) as opened:
        yield opened


@pytest.fixture
def vectors(database):
    """A collection of vectors that the caller brings."""
    return database.create_collection("vectors", dimension=DIMENSION)


@pytest.fixture
def texts(database):
    """A collection of texts, whose embedder writes down what it is asked."""
    return database.create_collection("texts", embedder="counting")


@pytest.fixture
def fields(database):
    """Two spaces: a title that is embedded, and vectors brought."""
    spaces = {"default": {"embedder": "counting", "source": "title"}, "extra": {"dimension": DIMENSION}}
    return database.create_collection("fields", spaces=spaces)
