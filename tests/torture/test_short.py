"""The short form of every campaign, two at a time: `python -m tests.torture --short --jobs 2`."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.torture.__main__ import MODULES, run_apart, shown

SEED = 1


@pytest.fixture(scope="module")
def runs(request):
    """The running campaigns, by name: those whose tests were chosen."""
    wanted = {item.callspec.params["name"] for item in request.session.items if item.fspath == request.path}
    with ThreadPoolExecutor(2) as pool:
        found: dict[str, Future] = {
            name: pool.submit(run_apart, name, short=True, count=None, seed=SEED) for name in MODULES if name in wanted
        }
        yield found
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", MODULES)
def test_no_promise_is_broken(runs, name):
    result = runs[name].result()
    print(shown(result))
    assert result["failures"] == []
    if result["skipped"]:
        pytest.skip(f"{name}: {result['skipped']}")
    assert any(result["counts"].values())
