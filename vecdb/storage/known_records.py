"""What filters need of all records of a collection, held in memory as of one moment of the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from vecdb.storage.changes import RecordsState, changed_after
from vecdb.storage.column_rows import all_keys, keys_after, keys_present, read_field, read_labels, rows_of
from vecdb.storage.columns import Column, Mask, Renumbering, Rows
from vecdb.storage.engine import Snapshot
from vecdb.types import Labels

_NONE = 0  # in place of the label of a vector that a record does not have
_NO_LABELS: Labels = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SpaceLabels:
    """Which vector each record has in one space.

    Attributes:
        labels: (n,), 0 where it has none.
        order: the rows with a vector, (m,), by label; None where labels rise from each row to the next.
        sorted_labels: (m,), their labels.
        are_shared: whether one vector belongs to several records.
    """

    labels: Labels
    order: Rows | None
    sorted_labels: Labels
    are_shared: bool

    @classmethod
    def of(cls, labels: Labels) -> SpaceLabels:
        """With the labels of all rows (n,), 0 for none."""
        if (labels[:1] > _NONE).all() and (labels[1:] > labels[:-1]).all():
            return cls(labels, None, labels, False)
        order = np.argsort(labels, kind="stable")
        order = order[np.searchsorted(labels[order], _NONE, side="right") :]
        found = labels[order]
        return cls(labels, order, found, bool((found[1:] == found[:-1]).any()))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.labels.nbytes + (0 if self.order is None else self.order.nbytes + self.sorted_labels.nbytes)

    def among(self, mask: Mask) -> tuple[Labels, Mask | None]:
        """The labels of the rows in a mask (n,): some labels (m,), ascending, and which of these; None is all."""
        mine = mask if self.order is None else mask.take(self.order)
        if not self.are_shared:
            return self.sorted_labels, mine
        found = self.sorted_labels.take(np.flatnonzero(mine))
        return found[np.concatenate([[True], found[1:] != found[:-1]])] if len(found) else found, None

    def changed(self, renumbered: Renumbering, touched: Rows, rows: Rows, labels: Labels) -> SpaceLabels:
        """After changes: `touched` rows have no vector but for these `rows` with `labels`."""
        found = np.full(renumbered.count, _NONE)
        found[: renumbered.kept] = renumbered.of(self.labels)
        found[touched] = _NONE
        found[rows] = labels
        return SpaceLabels.of(found)


_EMPTY_SPACE = SpaceLabels.of(_NO_LABELS)


@dataclass(frozen=True, slots=True, eq=False)
class KnownRecords:
    """The records of a collection: keys, labels, and columns of fields, as far as they were asked for.

    Attributes:
        last_key, last_change: the newest record and change that it knows of.
        keys: (n,), ascending; a record's row is its place here.
        spaces: by the id of the space.
        columns: by field.
    """

    collection_id: int
    last_key: int
    last_change: int
    keys: Labels
    spaces: Mapping[int, SpaceLabels] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)

    @classmethod
    def load(cls, snapshot: Snapshot, collection_id: int, state: RecordsState) -> KnownRecords:
        """The keys alone, in this state, which is that of the snapshot."""
        return cls(collection_id, state.last_key, state.last_change, all_keys(snapshot, collection_id))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        spaces = sum(space.nbytes for space in self.spaces.values())
        return self.keys.nbytes + spaces + sum(column.nbytes for column in self.columns.values())

    def is_of(self, state: RecordsState) -> bool:
        """Whether it knows all of this state, and nothing newer."""
        return self.last_key == state.last_key and self.last_change == state.last_change

    def with_space(self, snapshot: Snapshot, space_id: int) -> KnownRecords:
        """It with the labels of one more space."""
        keys, labels = read_labels(snapshot, self.collection_id, space_id, None)
        everything = self._everything()
        space = _EMPTY_SPACE.changed(everything, np.arange(everything.count), self._rows(keys), labels)
        return dataclasses.replace(self, spaces={**self.spaces, space_id: space})

    def with_column(self, snapshot: Snapshot, name: str, *, most: int) -> KnownRecords | None:
        """It with a column of one more field; None if that would take more than `most` bytes, or cannot be."""
        found = read_field(snapshot, self.collection_id, name, None, known=self.keys, most=most)
        if found is None:
            return None
        everything = self._everything()
        column = Column().changed(everything, np.arange(everything.count), found)
        return dataclasses.replace(self, columns={**self.columns, name: column})

    def without_columns(self, names: Set[str]) -> KnownRecords:
        """It without these fields."""
        return dataclasses.replace(self, columns={name: it for name, it in self.columns.items() if name not in names})

    def caught_up(self, snapshot: Snapshot, state: RecordsState, *, most: int) -> KnownRecords:
        """It with all changes up to this state of the snapshot; a column that cannot follow is left out.

        Raises:
            CorruptDatabaseError: the changes do not fit what was there.
        """
        new = keys_after(snapshot, self.collection_id, self.last_key)
        changed = changed_after(snapshot, self.collection_id, self.last_change)
        changed = changed[changed <= self.last_key]
        present = keys_present(snapshot, self.collection_id, changed) if len(changed) else changed
        gone = np.setdiff1d(changed, present, assume_unique=True)
        stays = None if not len(gone) else ~np.isin(self.keys, gone, assume_unique=True)
        kept = self.keys if stays is None else self.keys[stays]
        keys = np.concatenate([kept, new])
        renumbered = Renumbering(stays, len(kept), len(keys))
        now = KnownRecords(self.collection_id, state.last_key, state.last_change, keys)
        to_read = np.concatenate([present, new])
        touched = now._rows(to_read)
        spaces = {}
        for space_id, space in self.spaces.items():
            found, labels = read_labels(snapshot, self.collection_id, space_id, to_read)
            spaces[space_id] = space.changed(renumbered, touched, now._rows(found), labels)
        columns = {}
        for name, column in self.columns.items():
            values = read_field(snapshot, self.collection_id, name, to_read, known=keys, most=most)
            if values is not None and not column.is_mostly_unused:
                columns[name] = column.changed(renumbered, touched, values)
        return dataclasses.replace(now, spaces=spaces, columns=columns)

    def _everything(self) -> Renumbering:
        return Renumbering(None, 0, len(self.keys))

    def _rows(self, keys: Labels) -> Rows:
        return rows_of(self.keys, keys)


@dataclass(frozen=True, slots=True, eq=False)
class MatchingRecords:
    """Which records match a filter.

    Attributes:
        keys: of all records, ascending (n,).
        mask: which of them match (n,).
    """

    keys: Labels
    mask: Mask

    def among(self, keys: Labels) -> Mask:
        """Which of these keys are of a record that matches."""
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_)
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found: Mask = (self.keys[rows] == keys) & self.mask[rows]
        return found
