"""Checking that a call is refused, and how."""

from __future__ import annotations

import pytest

DIMENSION = 4
GOOD = [1.0, 2.0, 3.0, 4.0]  # a vector that is not refused


def refused(kind, words, call, *arguments, at=None, **options):
    """The call raises exactly this kind, with these words, and at this position."""
    with pytest.raises(kind, match=words) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    if at is not None:
        assert caught.value.index == at
    assert len(str(caught.value)) < 1500
    return caught.value
