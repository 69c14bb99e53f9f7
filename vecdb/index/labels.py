"""Labels of vectors: checking them, finding them, and remembering the removed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import InvalidInputError
from vecdb.types import Labels


def as_labels(values: Any) -> Labels:
    """`values` as int64 of shape (n,).

    Raises:
        InvalidInputError: not integers, not one-dimensional, or outside 64 signed bits.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InvalidInputError(f"labels must have shape (n,), not {array.shape}")
    if array.dtype == np.int64:
        return array
    if array.size and (array.dtype.kind not in "iu" or int(array.max()) > np.iinfo(np.int64).max):
        raise InvalidInputError(f"labels must be integers of 64 signed bits, not {array.dtype}; convert them first")
    return array.astype(np.int64)


def as_new_labels(values: Any, count: int) -> Labels:
    """`values` as int64 of shape (count,): positive and distinct, in the order given.

    Raises:
        InvalidInputError: as `as_labels`; or another count, a label below 1, or a label given twice.
    """
    labels = as_labels(values)
    if len(labels) != count:
        raise InvalidInputError(f"{len(labels)} labels for {count} vectors; give one label for each vector")
    if not count:
        return labels
    if not is_ascending(labels):
        ordered = np.sort(labels)
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if twice.size:
            raise InvalidInputError(f"label {ordered[twice[0]]} stands twice in one call; labels must be distinct")
    if int(labels.min()) < 1:
        raise InvalidInputError(f"label {labels.min()} is not positive; labels start at 1")
    return labels


def as_allowed(values: Any) -> Labels:
    """`values` as sorted distinct int64, which they are for free where they already are."""
    labels = as_labels(values)
    return labels if is_ascending(labels) else np.unique(labels)


def is_ascending(labels: Labels) -> bool:
    """Whether each label is larger than the one before."""
    return bool((labels[1:] > labels[:-1]).all())


def contains(ascending: Labels, wanted: Labels) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each wanted label stands in `ascending`, and whether it stands there at all."""
    if not len(ascending):
        return np.zeros(wanted.shape, np.intp), np.zeros(wanted.shape, np.bool_)
    positions = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return positions, ascending[positions] == wanted


class LabelSet:
    """Labels that were ever added, each live or removed, and when it was added; 13 bytes a label.

    Not safe to change from several threads at once; what it returns does not change afterwards.
    """

    def __init__(self, labels: Labels | None = None, is_live: NDArray[np.bool_] | None = None) -> None:
        """With distinct labels (n,), in the order in which they count as added, and which are live."""
        given = np.empty(0, np.int64) if labels is None else labels
        order = np.argsort(given)
        self._known = given[order]
        self._is_live = np.ones(len(given), np.bool_) if is_live is None else is_live[order]
        self._places = order.astype(np.uint32)
        self._live: Labels | None = None
        self._count = int(np.count_nonzero(self._is_live))

    def __len__(self) -> int:
        """Number of live labels."""
        return self._count

    @property
    def known(self) -> Labels:
        """Live and removed labels, ascending."""
        return self._known

    @property
    def live(self) -> Labels:
        """Live labels, ascending."""
        if self._live is None:
            live = self._known if self._count == len(self._known) else self._known[self._is_live]
            live.flags.writeable = False
            self._live = live
        return self._live

    def add(self, labels: Labels) -> None:
        """Add labels that `known` does not have, in any order."""
        known = np.concatenate([self._known, labels])
        is_live = np.concatenate([self._is_live, np.ones(len(labels), np.bool_)])
        places = np.concatenate([self._places, np.arange(len(self._known), len(known), dtype=np.uint32)])
        if not is_ascending(known):
            order = np.argsort(known)
            known, is_live, places = known[order], is_live[order], places[order]
        self._known, self._is_live, self._places, self._live = known, is_live, places, None
        self._count += len(labels)

    def places(self, labels: Labels) -> NDArray[np.intp]:
        """The how-manieth each of these known labels was to be added, from 0."""
        return self._places[np.searchsorted(self._known, labels)].astype(np.intp)

    def remove(self, labels: Labels) -> Labels:
        """Mark labels removed; returns those that were live until now."""
        positions, found = contains(self._known, labels)
        positions = np.unique(positions[found])
        positions = positions[self._is_live[positions]]
        self._is_live[positions] = False
        self._live = None
        self._count -= len(positions)
        return self._known[positions]
