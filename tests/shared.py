"""Where the real weights and data sets lie, beside the checkout; a user's clone has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(os.environ.get("VECDB_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SHARED: Path | None = _BESIDE if _BESIDE.is_dir() else None


def needs_shared(*folders: str) -> pytest.MarkDecorator:
    """Skip a test, with the reason, where one of these data folders is absent."""
    missing = [name for name in folders if SHARED is None or not (SHARED / name).is_dir()]
    return pytest.mark.skipif(bool(missing), reason=f"real data not beside the checkout: {', '.join(missing)}")


def shared(*parts: str) -> Path:
    """A path in the shared data; only for tests marked with `needs_shared`."""
    if SHARED is None:
        raise RuntimeError("mark the test with needs_shared")
    return SHARED.joinpath(*parts)
