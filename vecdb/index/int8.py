"""Dot products of int8 vectors, by vector instructions where NumKong is installed.

numpy would first have to make float32 of them, which takes four times as long as the products.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

numkong: Any = None
with contextlib.suppress(ImportError):  # an extra, `vecdb[simd]`
    import numkong

Int8 = NDArray[np.int8]
_TRIED = (1, 7, 16, 33, 100, 384, 1027)  # dimensions


def dots(queries: Int8, rows: Int8) -> NDArray[np.float64]:
    """Each query (q, d) times each row (n, d), exactly, as (q, n). Needs `is_fast`."""
    return np.asarray(numkong.cdist(queries, rows, "inner"), np.float64)


@lru_cache(maxsize=1)
def is_fast() -> bool:
    """Whether `dots` can be used: the library is there, and right on this processor.

    It chooses among many kernels at run time, and a wrong product would be a wrong answer that nobody notices.
    """
    if numkong is None:
        return False
    random = np.random.default_rng(0)
    for dimension in _TRIED:
        queries, rows = (random.integers(-127, 128, (count, dimension), np.int8) for count in (2, 9))
        rows[0], rows[1] = 127, -127
        queries[0] = -127
        try:
            found = dots(queries, rows)
        except (TypeError, ValueError, AttributeError, RuntimeError):  # another version of it
            return False
        if not np.array_equal(found, queries.astype(np.float64) @ rows.T.astype(np.float64)):
            return False
    return True
