"""Campaigns take minutes each: they begin first, and the other workers take the rest meanwhile."""

from __future__ import annotations


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name != "test_short.py")
