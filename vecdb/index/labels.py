"""Labels of vectors: checking them, finding them, and remembering the removed ones."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import InvalidInputError
from vecdb.types import Labels

_Number = TypeVar("_Number", bound=np.generic)


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


class AllowedLabels:
    """Some of many labels, as a filter leaves them. Never changes."""

    def __init__(self, known: Labels, mask: NDArray[np.bool_] | None = None) -> None:
        """Those of `known` (n,), ascending, that the mask (n,) marks; without a mask all of them."""
        self._known = known
        self._mask = mask
        self._count = len(known) if mask is None else int(np.count_nonzero(mask))

    def __len__(self) -> int:
        return self._count

    @cached_property
    def labels(self) -> Labels:
        """All of them, ascending."""
        return self._known if self._mask is None else self._known.take(np.flatnonzero(self._mask))

    def among(self, wanted: Labels) -> NDArray[np.bool_]:
        """Which of these labels (any shape) are allowed."""
        positions, found = contains(self._known, wanted)
        return found if self._mask is None or not len(self._known) else found & self._mask.take(positions)


Allowed: TypeAlias = AllowedLabels | Labels
"""What a search may be restricted to; an array (n,) may be in any order and have a label twice."""


def as_allowed(values: Allowed) -> AllowedLabels:
    """Either form as the one that searches use."""
    if isinstance(values, AllowedLabels):
        return values
    labels = as_labels(values)
    return AllowedLabels(labels if is_ascending(labels) else distinct(labels))


def distinct(values: NDArray[_Number]) -> NDArray[_Number]:
    """The values (n,) in order, each once.

    `np.unique` imports a part of numpy when it is first called. A child that another thread forks in that
    moment would wait for the end of this import for ever.
    """
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def is_ascending(labels: Labels) -> bool:
    """Whether each label is larger than the one before."""
    return bool((labels[1:] > labels[:-1]).all())


def contains(ascending: Labels, wanted: Labels) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each wanted label stands in `ascending`, and whether it stands there at all."""
    if not len(ascending):
        return np.zeros(wanted.shape, np.intp), np.zeros(wanted.shape, np.bool_)
    first = int(ascending[0])
    if int(ascending[-1]) - first == len(ascending) - 1:  # without gaps: each stands at its distance from the first
        positions = wanted - first
        found = (positions >= 0) & (positions < len(ascending))
        return positions.clip(0, len(ascending) - 1), found
    positions = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return positions, ascending[positions] == wanted


class LabelSet:
    """Labels that were ever added, each live or removed, and when it was added; 13 to 20 bytes a label.

    Not safe to change from several threads at once; what it returns does not change afterwards.
    """

    def __init__(self, labels: Labels | None = None, is_live: NDArray[np.bool_] | None = None) -> None:
        """With distinct labels (n,), in the order in which they count as added, and which are live."""
        given = np.empty(0, np.int64) if labels is None else labels
        order = np.argsort(given)
        self._size = len(given)  # of the arrays, which have room to grow
        self._all_known = given[order]
        self._all_live = np.ones(len(given), np.bool_) if is_live is None else is_live[order]
        self._all_places = order.astype(np.uint32)
        self._live: Labels | None = None
        self._count = int(np.count_nonzero(self._all_live))

    def __len__(self) -> int:
        """Number of live labels."""
        return self._count

    @property
    def known(self) -> Labels:
        """Live and removed labels, ascending."""
        return self._all_known[: self._size]

    @property
    def _is_live(self) -> NDArray[np.bool_]:
        return self._all_live[: self._size]

    @property
    def live(self) -> Labels:
        """Live labels, ascending."""
        if self._live is None:
            live = self.known if self._count == self._size else self.known[self._is_live]
            live.flags.writeable = False
            self._live = live
        return self._live

    def add(self, labels: Labels) -> None:
        """Add labels that `known` does not have, in any order."""
        begin, end = self._size, self._size + len(labels)
        if end > len(self._all_known):
            room = end + end // 2
            self._all_known = with_room(self._all_known, begin, room)
            self._all_live = with_room(self._all_live, begin, room)
            self._all_places = with_room(self._all_places, begin, room)
        self._all_known[begin:end] = labels
        self._all_live[begin:end] = True
        self._all_places[begin:end] = np.arange(begin, end)
        self._size, self._live = end, None
        self._count += len(labels)
        if not is_ascending(self.known[max(begin - 1, 0) :]):
            order = np.argsort(self.known)
            self._all_known, self._all_live = self.known[order], self._is_live[order]
            self._all_places = self._all_places[:end][order]

    def live_among(self, allowed: AllowedLabels) -> Labels:
        """Those of the allowed labels that are live, ascending."""
        # Not among the live ones: labels without gaps, as all of them mostly are, are found by their number.
        positions, found = contains(self.known, allowed.labels)
        return allowed.labels[found & self._is_live.take(positions)] if len(self.known) else allowed.labels[:0]

    def places(self, labels: Labels) -> NDArray[np.intp]:
        """The how-manieth each of these known labels was to be added, from 0."""
        return self._all_places[: self._size].take(contains(self.known, labels)[0]).astype(np.intp)

    def first(self, count: int) -> tuple[Labels, NDArray[np.bool_]]:
        """The labels that were the first `count` to be added, in that order, and which of them are live."""
        order = np.argsort(self._all_places[: self._size])[:count]
        return self.known[order], self._is_live[order]

    def remove(self, labels: Labels) -> Labels:
        """Mark labels removed; returns those that were live until now."""
        positions, found = contains(self.known, labels)
        positions = distinct(positions[found])
        positions = positions[self._is_live[positions]]
        self._all_live[positions] = False
        self._live = None
        self._count -= len(positions)
        return self.known[positions]


def with_room(array: NDArray[_Number], size: int, room: int) -> NDArray[_Number]:
    """A copy of the first `size` rows of an array, with room for `room` rows."""
    larger = np.empty((room, *array.shape[1:]), array.dtype)
    larger[:size] = array[:size]
    return larger
