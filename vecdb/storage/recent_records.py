"""The records that searches found lately, so that those found again and again are not read again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from vecdb.storage.changes import records_version
from vecdb.storage.contents import KIND_JSON, KIND_NOTHING, KIND_TEXT, decode_metadata
from vecdb.storage.engine import Snapshot
from vecdb.storage.records import HitRow, read_hits
from vecdb.storage.stored_values import json_object
from vecdb.types import Metadata

MEMORY_BUDGET = 16 * 2**20  # bytes for each collection
_KINDS = (KIND_TEXT, KIND_JSON, KIND_NOTHING)
_BYTES_PER_RECORD = 400  # beside its content and metadata
_BYTES_PER_FIELD = 100
_LONGEST = 8192  # characters of a content; reading a longer one costs more than finding it


class RecentRecords:
    """What was read of one collection's records, until anything in it changes. Safe to use from several threads.

    It has two halves, as an approximation to forgetting what was used longest ago: what is used moves to the
    young half; when that is full, it becomes the old one, and what was still in the old one is forgotten.
    """

    def __init__(self, collection_id: int) -> None:
        self._collection_id = collection_id
        self._kept = _Kept(None)

    def kept(self, labels: Sequence[int], version: object) -> list[HitRow] | None:
        """Every record with one of these vectors, if all are kept as of this version, and are text or nothing."""
        kept = self._kept
        if kept.version != version:
            return None
        found: list[HitRow] = []
        for label in labels:
            rows = kept.find(label)
            if rows is None:
                return None
            found += rows
        for row in found:
            if row[3] == KIND_JSON:  # what that names may have to be read
                return None
        return found

    def with_labels(self, snapshot: Snapshot, labels: Sequence[int], version: object = None) -> list[HitRow]:
        """Every record with one of these vectors, as `read_hits` finds them in this snapshot.

        `version`: what `records_version` says of it; asked for if it is not given.
        """
        version = version or records_version(snapshot, self._collection_id)
        if version is None:  # the collection's row is lost
            return read_hits(snapshot, labels)[0]
        kept = self._kept
        if kept.version != version:  # another thread may be in another snapshot, and begin anew after this one
            kept = self._kept = _Kept(version)
        found: list[HitRow] = []
        missing = []
        for label in labels:
            rows = kept.find(label)
            if rows is None:
                missing.append(label)
            else:
                found += rows
        if missing:
            read, are_sound = read_hits(snapshot, missing)
            found += read
            if are_sound:  # or the warning would not come again
                kept.keep_all(read)
        return found


class _Kept:
    """Rows by label, as of one version of the collection."""

    __slots__ = ("names", "old", "room", "version", "young")

    def __init__(self, version: object) -> None:
        self.version = version
        self.young: dict[int, list[HitRow]] = {}
        self.old: dict[int, list[HitRow]] = {}
        self.room = MEMORY_BUDGET // 2
        self.names: dict[str, str] = {}  # of fields, so that each is held once

    def find(self, label: int) -> list[HitRow] | None:
        rows = self.young.get(label)
        if rows is None:
            rows = self.old.get(label)
            if rows is not None:
                self.keep(label, rows)
        return rows

    def keep_all(self, read: Sequence[HitRow]) -> None:
        by_label: dict[int, list[HitRow]] = {}
        for label, key, id, kind, content, metadata in read:
            by_label.setdefault(label, []).append((label, key, id, kind, content, self._flat(metadata) or metadata))
        for label, rows in by_label.items():
            self.keep(label, rows)

    def keep(self, label: int, rows: list[HitRow]) -> None:
        size = 0
        for _, _, _, kind, content, metadata in rows:
            if kind not in _KINDS or (content is None) != (kind == KIND_NOTHING):
                return  # whoever decodes it will say so
            texts = [text for text in (content, metadata) if text is not None and type(text) is not dict]
            if not all(type(text) is str and len(text) <= _LONGEST for text in texts):
                return
            fields = _BYTES_PER_FIELD * len(metadata) if type(metadata) is dict else 0
            size += _BYTES_PER_RECORD + fields + sum(map(sys.getsizeof, texts))
        if size > self.room:
            self.old, self.young, self.names = self.young, {}, {}
            self.room = MEMORY_BUDGET // 2
        self.young[label] = rows
        self.room -= size

    def _flat(self, stored: Any) -> dict[str, Any] | None:
        """Stored metadata read once and for all, where a copy of the object shares nothing that can be changed."""
        found = json_object(stored, _LONGEST)
        if not found or any(type(value) in (dict, list) for value in found.values()):
            return None
        return {self.names.setdefault(name, name): value for name, value in found.items()}


def own_metadata(kept: Any, key: int) -> Metadata:
    """The metadata of a row of `RecentRecords`, for the caller to keep and to change.

    Raises:
        CorruptDatabaseError: what is stored is not the JSON of an object.
    """
    return kept.copy() if type(kept) is dict else decode_metadata(kept, key)
