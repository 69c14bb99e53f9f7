"""Fields of metadata as columns in memory, and filters as masks over them.

The values of a field become small integers, its codes: first one for each thing that is neither a number
nor a text, then the distinct numbers in order, then the distinct texts in order of their UTF-8 bytes. So a
comparison is a range of codes. Values come as SQLite reads them, and Python compares integers with floats
as exactly as SQLite does: both readings of a filter give the same.

Nothing here changes once it is made.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb.storage.filter_tree import (
    All,
    Compared,
    Condition,
    Contains,
    Equals,
    Exists,
    Member,
    Not,
    Scalar,
    Test,
    Tree,
)

MISSING, NULL, FALSE, TRUE, LIST, OBJECT = range(6)
FIRST_VALUE = 6  # the code of the smallest number
_FEW = 8  # up to so many codes are compared one by one, which is faster than a table
_INSERTED = 64  # up to so many values are put into a dictionary one by one

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Codes = NDArray[np.unsignedinteger[Any]]
Number = int | float
Value = Number | bytes
"""A number, or a text as UTF-8, as SQLite reads it."""


@dataclass(frozen=True, slots=True)
class Span:
    """The codes from `low` up to, and not with, `high`."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """Distinct numbers and texts, each in order; what they take of memory, in bytes."""

    numbers: Sequence[Number] = ()
    texts: Sequence[bytes] = ()
    nbytes: int = 0

    @property
    def size(self) -> int:
        """A number above every code."""
        return FIRST_VALUE + len(self.numbers) + len(self.texts)

    def code(self, value: Scalar | bytes) -> int | None:
        """The code of one value; None if no record has it."""
        if value is None:
            return NULL
        if isinstance(value, bool):
            return TRUE if value else FALSE
        span = self.compared("=", value)
        return span.low if span.low < span.high else None

    def compared(self, sign: str, value: str | bytes | Number) -> Span:
        """The codes of the values that stand so to this one, among those of its kind."""
        kept: Sequence[Any] = self.numbers
        first = FIRST_VALUE
        if isinstance(value, str | bytes):
            value = value.encode() if isinstance(value, str) else value
            kept, first = self.texts, FIRST_VALUE + len(self.numbers)
        below = bisect_left(kept, value)
        up_to = bisect_right(kept, value, lo=below)
        low = {">": up_to, ">=": below, "=": below}.get(sign, 0)
        high = {"<": below, "<=": up_to, "=": up_to}.get(sign, len(kept))
        return Span(first + low, first + high)

    def containing(self, text: bytes) -> list[int]:
        """The codes of the texts in which this one stands, in order."""
        first = FIRST_VALUE + len(self.numbers)
        return [code for code, kept in enumerate(self.texts, first) if text in kept]

    def with_values(self, values: Sequence[Value]) -> tuple[Dictionary, Rows, Rows]:
        """A dictionary that has these distinct values, too.

        Returns:
            It; for each new value the old code that it pushes up, ascending; and the code of each value (v,).
        """
        is_empty = self.size == FIRST_VALUE
        fresh = values if is_empty else [value for value in values if self.code(value) is None]
        numbers = sorted(value for value in fresh if not isinstance(value, bytes))
        texts = sorted(value for value in fresh if isinstance(value, bytes))
        pushed = [] if is_empty else [self.compared(">", value).low for value in (*numbers, *texts)]
        nbytes = self.nbytes + sum(map(sys.getsizeof, fresh)) + 8 * len(fresh)
        merged = Dictionary(_merged(self.numbers, numbers), _merged(self.texts, texts), nbytes)
        known: Mapping[Any, int | None]
        if is_empty:
            known = dict(zip(chain(merged.numbers, merged.texts), count(FIRST_VALUE), strict=False))
        else:
            known = {value: merged.code(value) for value in values}
        return merged, np.array(pushed, np.intp), np.array([known[value] for value in values], np.intp)


def _merged(kept: Sequence[Any], new: list[Any]) -> Sequence[Any]:
    """Two sorted sequences as one."""
    if not new:
        return kept
    if len(new) > _INSERTED:
        return sorted([*kept, *new])  # which sees that these are two sorted runs
    found = list(kept)
    for value in new:
        insort(found, value)
    return found


def _pushed_up(codes: Codes, pushed: NDArray[np.intp], size: int) -> Codes:
    """Codes after `with_values`, in the smallest type that holds `size`."""
    kind = np.min_scalar_type(size)
    if not len(pushed):
        return codes.astype(kind)
    if len(pushed) == 1:
        moved = codes.astype(kind)
        moved += codes >= pushed[0]
        return moved
    return (codes + np.searchsorted(pushed, codes, side="right")).astype(kind)


@dataclass(frozen=True, slots=True, eq=False)
class FieldValues:
    """What was read of a field: of the records (by their row) that have it, and of the elements of their lists.

    Attributes:
        rows: (r,), each row once.
        places: (r,), a code from NULL to OBJECT; or FIRST_VALUE and more, for a place in `distinct`.
        element_rows, element_places: (e,), the same of elements; what matches nothing may be left out.
        distinct: the numbers and texts, each once.
    """

    rows: Rows
    places: Rows
    element_rows: Rows
    element_places: Rows
    distinct: Sequence[Value]


_NO_ROWS: Rows = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One field of all records of a collection.

    Attributes:
        codes: (n,), of an unsigned type that holds them.
        element_rows, element_codes: (e,), the elements of lists, in any order.
    """

    dictionary: Dictionary = field(default_factory=Dictionary)
    codes: Codes = field(default_factory=lambda: np.empty(0, np.uint8))
    element_rows: Rows = field(default_factory=lambda: _NO_ROWS)
    element_codes: Codes = field(default_factory=lambda: np.empty(0, np.uint8))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays = self.codes.nbytes + self.element_rows.nbytes + self.element_codes.nbytes
        return arrays + self.dictionary.nbytes

    @property
    def is_mostly_unused(self) -> bool:
        """Whether the dictionary holds many values that records had once."""
        return self.dictionary.size > 2 * (len(self.codes) + len(self.element_codes)) + 1000

    def changed(self, renumbered: Renumbering, touched: Rows, found: FieldValues) -> Column:
        """The column after changes.

        Args:
            renumbered: where its rows went, and how many there are now.
            touched: the rows, as they are now, that were read again: all new ones, and those that changed.
            found: what was read of them.
        """
        dictionary, pushed, of_distinct = self.dictionary.with_values(found.distinct)
        size = dictionary.size
        final = np.concatenate([np.arange(FIRST_VALUE), of_distinct]).astype(np.min_scalar_type(size))
        codes = np.full(renumbered.count, MISSING, final.dtype)
        codes[: renumbered.kept] = _pushed_up(renumbered.of(self.codes), pushed, size)
        codes[touched] = MISSING
        codes[found.rows] = final[found.places]
        element_rows, stays = renumbered.rows(self.element_rows)
        is_touched = np.zeros(renumbered.count, np.bool_)
        is_touched[touched] = True
        untouched = ~is_touched[element_rows]
        kept = _pushed_up(self.element_codes[stays][untouched], pushed, size)
        element_rows = np.concatenate([element_rows[untouched], found.element_rows])
        return Column(dictionary, codes, element_rows, np.concatenate([kept, final[found.element_places]]))

    def mask(self, test: Test, floats: Mapping[float, Number]) -> Mask:
        """Which rows meet a test (n,); `floats` gives the filter's floats as SQLite reads them."""

        def read(value: Any) -> Any:
            return floats.get(value, value) if isinstance(value, float) else value

        match test:
            case Exists():
                return self._within(Span(NULL, self.dictionary.size))
            case Equals(value):
                code = self.dictionary.code(read(value))
                return self._among([] if code is None else [code])
            case Compared(sign, value):
                return self._within(self.dictionary.compared(sign, read(value)))
            case Member(values):
                codes = {self.dictionary.code(read(value)) for value in values}
                return self._among([code for code in codes if code is not None])
            case Contains(value):
                mask = self._among(self.dictionary.containing(value.encode()) if isinstance(value, str) else [])
                code = self.dictionary.code(read(value))
                if code is not None:
                    mask[self.element_rows[self.element_codes == code]] = True
                return mask

    def _within(self, span: Span) -> Mask:
        if span.high <= span.low + 1:
            return self._among(range(span.low, span.high))
        mask = self.codes >= span.low
        if span.high < self.dictionary.size:
            mask &= self.codes < span.high
        return mask

    def _among(self, codes: Sequence[int]) -> Mask:
        if len(codes) > _FEW:
            table = np.zeros(self.dictionary.size, np.bool_)
            table[codes] = True
            mask: Mask = table.take(self.codes)
            return mask
        mask = np.zeros(len(self.codes), np.bool_)
        for code in codes:
            mask |= self.codes == code
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class Renumbering:
    """What becomes of rows when records go and come: those that stay move up, new ones follow.

    Attributes:
        stays: (rows before,), or None where all stay.
        kept: how many stay.
        count: rows afterwards.
    """

    stays: Mask | None
    kept: int
    count: int

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """What rows that stay have in `values` (rows before,)."""
        return values if self.stays is None else values[self.stays]

    def rows(self, before: Rows) -> tuple[Rows, Mask]:
        """The numbers that those of these rows get that stay, and which stay."""
        if self.stays is None:
            return before, np.ones(len(before), np.bool_)
        stays = self.stays[before]
        return (np.cumsum(self.stays) - 1)[before[stays]], stays


def matching(tree: Tree, columns: Mapping[str, Column], rows: int, floats: Mapping[float, Number]) -> Mask:
    """Which of so many rows match a filter; `columns` has each of its fields."""
    if isinstance(tree, Condition):
        return columns[tree.field].mask(tree.test, floats)
    if isinstance(tree, Not):
        return ~matching(tree.part, columns, rows, floats)
    everything = isinstance(tree, All)
    masks = [matching(part, columns, rows, floats) for part in tree.parts]
    if not masks:
        return np.full(rows, everything)
    combine = np.logical_and if everything else np.logical_or
    for mask in masks[1:]:
        combine(masks[0], mask, out=masks[0])
    return masks[0]
