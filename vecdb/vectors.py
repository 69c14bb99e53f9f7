"""Checking, normalising, storing and comparing vectors. Only numpy."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import DimensionMismatchError, InvalidInputError, NonFiniteVectorError
from vecdb.types import Metric, Vector

MAX_DIMENSION = 65_536
HASH_BYTES = 16
_UNIT_TOLERANCE = 1e-6


def as_vectors(values: Any, dimension: int, *, what: str = "vectors") -> Vector:
    """`values` as a C-contiguous float32 array of shape (n, dimension).

    Args:
        values: an array or a sequence of sequences of numbers.
        dimension: the length that each row must have.
        what: how messages call them.

    Raises:
        InvalidInputError: not numbers, or not two-dimensional.
        DimensionMismatchError: rows of another length.
        NonFiniteVectorError: NaN or infinity, also after conversion to float32; `index` is the row.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InvalidInputError(f"{what} must all have {dimension} numbers; some rows have another length") from error
    if array.dtype.kind not in "fiu":
        raise InvalidInputError(f"{what} must be real numbers, not {array.dtype}")
    if array.ndim != 2:
        raise InvalidInputError(f"{what} must have shape (n, {dimension}), not {array.shape}")
    if array.shape[1] != dimension:
        raise DimensionMismatchError(
            f"{what} have {array.shape[1]} numbers each, but the space has dimension {dimension}",
            expected=dimension,
            got=int(array.shape[1]),
        )
    if array.dtype == np.float32:
        rows = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(array, dtype=np.float32)
    # One pass without a temporary of the array's size: the sum of squares is finite only if every
    # number is, unless finite numbers overflow it, which the exact test then clears.
    if not math.isfinite(np.vdot(rows, rows)):
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            raise NonFiniteVectorError(f"{what}: row {row} holds NaN or infinity (as float32); remove it", index=row)
    return rows


def as_vector(value: Any, dimension: int, *, what: str = "the vector") -> Vector:
    """Like `as_vectors` for one vector: float32 of shape (dimension,)."""
    if (
        type(value) is np.ndarray
        and value.dtype == np.float32
        and value.shape == (dimension,)
        and value.flags.c_contiguous
        and math.isfinite(np.vdot(value, value))
    ):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:  # numbers and lists of numbers side by side
        raise InvalidInputError(f"{what} must be {dimension} numbers in a row; take out the inner lists") from error
    if array.ndim != 1:
        raise InvalidInputError(f"{what} must have shape ({dimension},), not {array.shape}")
    return np.asarray(as_vectors(array[np.newaxis, :], dimension, what=what)[0])


def normalise(vectors: Vector, *, what: str = "vectors") -> Vector:
    """Scale each row of (n, d) to length 1. Rows that have it already keep their very bits.

    Raises:
        InvalidInputError: a zero row, which has no direction; `index` is the row.
    """
    if len(vectors) == 1 and abs(np.vdot(vectors, vectors) - 1) <= _UNIT_TOLERANCE / 2:
        return vectors  # a query, mostly: the quick way out
    squared = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    lengths = np.sqrt(squared)
    if not lengths.all():
        row = int(np.flatnonzero(lengths == 0)[0])
        raise InvalidInputError(
            f"{what}: row {row} is all zeros, which has no direction; the metric cosine needs one", index=row
        )
    off = np.abs(lengths - 1) > _UNIT_TOLERANCE
    if not off.any():
        return vectors
    scaled = vectors.copy()
    scaled[off] = vectors[off] / lengths[off, np.newaxis]
    return scaled


def exact_distances(metric: Metric, query: Vector, rows: Vector) -> NDArray[np.float64]:
    """Distances of one query (d,) to rows (n, d), computed in float64, one row like another.

    cosine: 1 - dot, for vectors of length 1, never below 0; l2: squared Euclidean; ip: 1 - dot.
    The result for a row does not depend on the other rows.
    """
    wide = rows.astype(np.float64)
    if metric == "l2":
        wide -= query
        return np.asarray((wide * wide).sum(axis=1))
    dots = (wide * query).sum(axis=1)
    return np.asarray(np.maximum(1.0 - dots, 0.0) if metric == "cosine" else 1.0 - dots)


def score(metric: Metric, distance: float) -> float:
    """Larger is better: cosine and ip: 1 - distance; l2: 1 / (1 + distance)."""
    return 1.0 / (1.0 + distance) if metric == "l2" else 1.0 - distance


# --- how vectors are kept -----------------------------------------------------------------------


def to_blobs(vectors: Vector) -> list[bytes]:
    """Each row as little-endian float32 bytes."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    size = rows.shape[1] * 4
    data = rows.tobytes()
    return [data[start : start + size] for start in range(0, len(data), size)]


def from_blobs(blobs: Sequence[bytes], dimension: int) -> Vector:
    """The rows that `to_blobs` made, as a float32 array of shape (n, dimension)."""
    if not blobs:
        return np.empty((0, dimension), np.float32)
    joined = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), dimension)
    return np.ascontiguousarray(joined, dtype=np.float32)


def vector_hash(blob: bytes) -> bytes:
    """What two identical vectors share: 16 bytes of BLAKE2b over the stored bytes."""
    return hashlib.blake2b(blob, digest_size=HASH_BYTES).digest()


def checksum(blob: bytes, label: int) -> int:
    """CRC-32 of a vector's stored bytes, beginning from its label: no other vector's bytes fit."""
    return zlib.crc32(blob, label & 0xFFFFFFFF)
