"""Filters to labels: over columns in memory, kept current with the rows, or by SQL where those cannot do it.

What is known of a collection's records is as of one moment of the database and never changes; newer ones take
its place. A search uses it if it is of the search's own snapshot, so several threads need no lock to read it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from vecdb.errors import CorruptDatabaseError
from vecdb.index.labels import AllowedLabels
from vecdb.storage import records
from vecdb.storage.changes import RecordsState, records_state, records_version, state_of
from vecdb.storage.column_rows import exact_floats
from vecdb.storage.columns import matching
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.filters import Filter
from vecdb.storage.known_records import KnownRecords, MatchingRecords
from vecdb.storage.stored_values import as_integers

MEMORY_BUDGET = 256 * 2**20  # bytes for each collection; the fields that were used longest ago are let go
_MOST_COLUMNS = 64  # or following the changes would cost more than the filters
_BUILT_AT_ONCE = 8  # columns; a filter with more new fields is answered by SQL until all are there
_MOST_ANSWERS = 16  # filters that are answered again without a look at the columns
_ANSWERS_BUDGET = 16 * 2**20  # bytes, of which an answer takes one a record
_BYTES_PER_RECORD = 24  # of a key and a label, with room for a column


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a filter admits.

    Attributes:
        labels: of vectors that a matching record has.
        matching: the records, where columns answered; None where SQL did.
        are_shared: whether one of the vectors may belong to several records, some of which do not match.
    """

    labels: AllowedLabels
    matching: MatchingRecords | None
    are_shared: bool = True


class CollectionColumns:
    """The columns of one collection in this process. Safe to use from several threads.

    Args:
        declared: fields whose columns come with the first of them, and stay as long as there is room for them.
    """

    def __init__(self, engine: DatabaseEngine, collection_id: int, declared: Sequence[str] = ()) -> None:
        self.collection_id = collection_id
        self._declared = frozenset(declared)
        self._engine = engine
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin empty; in a forked child another thread may have held the lock."""
        self._lock = threading.Lock()  # of those who change what follows
        self._known: KnownRecords | None = None
        self._unfit: set[str] = set()  # fields that only SQL can do, until all is loaded anew
        self._passed_over: set[str] = set()  # declared ones for which there was no room, until a filter asks for them
        self._uses = count()
        self._last_use: dict[str, int] = {}
        # The last filters' answers, with the version of the records that they are of; the oldest first.
        self._answers: dict[tuple[int, str], tuple[object, Admitted]] = {}

    def answered(self, space_id: int, where: Filter, version: object) -> Admitted | None:
        """What `admitted` said lately, if it was of this version of the records."""
        before = self._answers.get((space_id, where.key))
        if before is None or before[0] != version:
            return None
        self._note_use(where)
        return before[1]

    def admitted(self, snapshot: Snapshot, space_id: int, where: Filter, version: object = None) -> Admitted:
        """The vectors of a space that the filter admits in this snapshot.

        `version`: what `records_version` says of it; asked for if it is not given.
        """
        asked, version = (space_id, where.key), version or records_version(snapshot, self.collection_id)
        if (before := self.answered(space_id, where, version)) is not None:
            return before
        known = self._as_of(snapshot, version, space_id, where)
        if known is None:
            found = records.allowed_labels(snapshot, self.collection_id, space_id, where)
            return Admitted(AllowedLabels(as_integers(found, what="the label of a record's vector")), None)
        floats = exact_floats(snapshot, where.floats)
        mask = matching(where.tree, known.columns, len(known.keys), floats)
        space = known.spaces[space_id]
        answer = Admitted(AllowedLabels(*space.among(mask)), MatchingRecords(known.keys, mask), space.are_shared)
        if version is None:  # the collection's row is lost
            return answer
        with self._lock:
            self._answers.pop(asked, None)
            self._answers[asked] = version, answer
            while len(self._answers) > max(1, min(_MOST_ANSWERS, _ANSWERS_BUDGET // (len(known.keys) + 1))):
                self._answers.pop(next(iter(self._answers)))
        return answer

    def _as_of(self, snapshot: Snapshot, version: object, space_id: int, where: Filter) -> KnownRecords | None:
        """The records of this snapshot with all that the filter asks for; None where only SQL can do it."""
        try:
            state = state_of(version, self.collection_id)
            known = self._known
            if known is None or not known.is_of(state) or not _has(known, space_id, where):
                with self._lock:
                    known = self._current(snapshot, state)
                    if known is not None:
                        known = self._extended(snapshot, known, space_id, where)
        except CorruptDatabaseError:  # whether that matters, the filter's SQL tells
            return None
        if known is not None:
            self._note_use(where)
        return known

    def _note_use(self, where: Filter) -> None:
        for field in where.fields:
            self._last_use[field] = next(self._uses)

    def _current(self, snapshot: Snapshot, state: RecordsState) -> KnownRecords | None:
        """The records as of the snapshot. None if they are known as of a newer one, or cannot be known."""
        known = self._known
        if known is not None and known.is_of(state):
            return known
        if known is not None and (known.last_key > state.last_key or known.last_change > state.last_change):
            if not self._went_back(known):
                return None  # another thread's search began later, and was faster
            known = None
        self._known = None  # until it is whole again
        if known is None or known.last_change < state.change_floor:
            if records.count(snapshot, self.collection_id) * _BYTES_PER_RECORD > MEMORY_BUDGET:
                return None
            self._unfit, self._passed_over = set(), set()
            known = KnownRecords.load(snapshot, self.collection_id, state)
        else:
            known = known.caught_up(snapshot, state, most=MEMORY_BUDGET)
        if len(known.keys) and known.keys[-1] > state.last_key:
            return None  # the sequence of keys is damaged: a new record may be overlooked
        self._known = known
        return known

    def _went_back(self, known: KnownRecords) -> bool:
        """Whether the rows are older than what was known of them: damaged, or replaced by others."""
        with self._engine.snapshot() as snapshot:
            now = records_state(snapshot, self.collection_id)
        return now.last_key < known.last_key or now.last_change < known.last_change

    def _extended(self, snapshot: Snapshot, known: KnownRecords, space_id: int, where: Filter) -> KnownRecords | None:
        """With the labels of the space and the fields of the filter; None if there is no room for them."""
        if not self._unfit.isdisjoint(where.fields):
            return None
        if space_id not in known.spaces:
            self._known = known = known.with_space(snapshot, space_id)
        for field in sorted(where.fields - known.columns.keys())[:_BUILT_AT_ONCE]:
            found = known.with_column(snapshot, field, most=_room(known, where))
            if found is None:
                self._unfit.add(field)
                return None
            self._known = known = found
        if not self._declared.isdisjoint(where.fields):
            self._known = known = self._with_declared(snapshot, known)
        if _room(known, where) < 0:  # they grew
            self._unfit |= where.fields
            self._known = known.without_columns(where.fields)
            return None
        others = sorted(known.columns.keys() - where.fields, key=self._worth)
        while others and (known.nbytes > MEMORY_BUDGET or len(known.columns) > _MOST_COLUMNS):
            self._last_use.pop(others[0], None)
            self._known = known = known.without_columns({others.pop(0)})
        return known if _has(known, space_id, where) else None

    def _with_declared(self, snapshot: Snapshot, known: KnownRecords) -> KnownRecords:
        """With the declared fields that are lacking, as far as there is room for them."""
        for field in sorted(self._declared - known.columns.keys() - self._passed_over):
            found = known.with_column(snapshot, field, most=MEMORY_BUDGET - known.nbytes)
            if found is None or found.nbytes > MEMORY_BUDGET:
                self._passed_over.add(field)
            else:
                known = found
        return known

    def _worth(self, name: str) -> tuple[bool, int]:
        return name in self._declared, self._last_use.get(name, -1)


def _room(known: KnownRecords, where: Filter) -> int:
    """Bytes that are left for the fields of a filter, all other ones let go."""
    others = sum(column.nbytes for name, column in known.columns.items() if name not in where.fields)
    return MEMORY_BUDGET - known.nbytes + others


def _has(known: KnownRecords, space_id: int, where: Filter) -> bool:
    return space_id in known.spaces and where.fields <= known.columns.keys()
