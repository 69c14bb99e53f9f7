"""The short form of every campaign."""

from __future__ import annotations

import pytest

from tests.torture.__main__ import MODULES, run_apart, shown


@pytest.mark.parametrize("name", MODULES)
def test_no_promise_is_broken(name):
    result = run_apart(name, short=True, count=None, seed=1)
    print(shown(result))
    assert result["failures"] == []
    if result["skipped"]:
        pytest.skip(f"{name}: {result['skipped']}")
    assert any(result["counts"].values())
