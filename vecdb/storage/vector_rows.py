"""Reading vectors for an index, and what it must forget."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vecdb.errors import VecdbWarning
from vecdb.storage.engine import Snapshot
from vecdb.storage.in_lists import in_lists
from vecdb.storage.stored_values import as_integers, rising
from vecdb.types import Labels, Vector
from vecdb.vectors import checksum, from_blobs

_STRIDE = 4096


def vectors_after(
    snapshot: Snapshot, space_id: int, dimension: int, after: int, *, until: int | None = None
) -> Iterator[tuple[Labels, Vector]]:
    """The vectors with labels above `after`, in order, in batches.

    A vector whose stored checksum does not fit is left out, with a warning: a wrong answer would be worse.
    """
    highest = until if until is not None else 2**63 - 1
    while True:
        rows = snapshot.rows(
            "SELECT label, checksum, data FROM vectors WHERE space_id = ? AND label > ? AND label <= ? "
            "ORDER BY label LIMIT ?",
            (space_id, after, highest, _STRIDE),
        )
        if rows:
            yield _checked(rows, dimension)
            after = rising(rows[-1][0], after)
        if len(rows) < _STRIDE:
            return


def vectors_of(snapshot: Snapshot, labels: Sequence[int], dimension: int) -> tuple[Labels, Vector]:
    """The vectors of these labels, as far as they exist, in order of label."""
    rows = []
    for placeholders, part in in_lists(labels):
        sql = f"SELECT label, checksum, data FROM vectors WHERE label IN {placeholders} ORDER BY label"
        rows += snapshot.rows(sql, part)
    return _checked(rows, dimension)


def _checked(rows: Sequence[tuple[int, Any, Any]], dimension: int) -> tuple[Labels, Vector]:
    sound = [row for row in rows if _is_sound(*row, dimension)]
    vectors = from_blobs([row[2] for row in sound], dimension)
    if not math.isfinite(np.vdot(vectors, vectors)):  # a checksum of NaN is right if a stranger made it
        finite = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        sound, vectors = [sound[place] for place in finite], vectors[finite]
    if len(sound) < len(rows):
        damaged = sorted({row[0] for row in rows} - {row[0] for row in sound})
        warnings.warn(
            f"{len(damaged)} stored vector(s) are damaged (first: label {damaged[0]}) and are left out of searches; "
            "run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    return np.array([row[0] for row in sound], np.int64), vectors


def _is_sound(label: int, crc: Any, data: Any, dimension: int) -> bool:
    return label > 0 and type(data) is bytes and len(data) == 4 * dimension and checksum(data, label) == crc


def removals_after(snapshot: Snapshot, space_id: int, after: int) -> Labels:
    """Labels that were removed after this point of the log."""
    rows = snapshot.rows("SELECT label FROM removals WHERE space_id = ? AND sequence > ?", (space_id, after))
    return as_integers([label for (label,) in rows], what=f"a removed label of space {space_id}")


def live_labels(snapshot: Snapshot, space_id: int) -> Labels:
    """All labels of a space, sorted."""
    rows = snapshot.rows("SELECT label FROM vectors WHERE space_id = ? ORDER BY label", (space_id,))
    return np.array([label for (label,) in rows], np.int64)


def count_vectors(snapshot: Snapshot, space_id: int) -> int:
    """Number of distinct vectors of a space."""
    return int(snapshot.rows("SELECT count(*) FROM vectors WHERE space_id = ?", (space_id,))[0][0])
