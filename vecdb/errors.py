"""Every exception and warning that vecdb raises.

    VecdbError
    ├─ InvalidInputError (ValueError)
    │    ├─ DimensionMismatchError      a vector has another length than its space
    │    ├─ NonFiniteVectorError        a vector holds NaN or infinity
    │    ├─ FilterError                 a `where` filter is malformed
    │    ├─ UnsupportedContentError     content of a kind that the embedder does not take
    │    ├─ DecodeError                 a file or bytes that cannot be decoded
    │    └─ LimitError                  something is larger than a documented limit
    ├─ NotFoundError (LookupError)
    │    ├─ CollectionNotFoundError
    │    ├─ RecordNotFoundError
    │    └─ EmbedderNotFoundError
    ├─ AlreadyExistsError (ValueError)
    │    ├─ CollectionExistsError
    │    └─ DuplicateIdError
    ├─ StorageError
    │    ├─ DatabaseClosedError
    │    ├─ DatabaseLockedError
    │    ├─ ReadOnlyError
    │    ├─ DiskFullError
    │    ├─ SchemaVersionError
    │    └─ CorruptDatabaseError
    └─ PluginError
         ├─ PluginLoadError             a plugin could not be imported or registered
         ├─ PluginConflictError         two plugins offer one name
         ├─ EmbedderUnavailableError    a library or a file of the embedder is missing
         ├─ ItemError                   one item cannot be embedded
         ├─ EmbeddingError              some items could not be embedded (carries every ItemError)
         ├─ EmbedderContractError       an embedder broke the plugin contract
         ├─ EmbedderTimeoutError        an embedder took longer than its timeout
         └─ EmbedderMismatchError       an embedder's vectors are not comparable with the stored ones

    VecdbWarning (UserWarning)
    ├─ PluginWarning
    └─ IndexRebuiltWarning

Each message says what is wrong with which thing and ends with what to do. The data behind the
message is in attributes, so that a program never parses the text.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any


class VecdbError(Exception):
    """Root of all errors that vecdb raises."""


def shown(value: object, length: int = 80) -> str:
    """A value as a message shows it: short, and never an error itself, however deep, long or odd the value is."""
    if type(value) is str:
        text = repr(value[:length])
    else:
        try:
            text = _SHORT.repr(value)
        except Exception:  # noqa: BLE001  (a repr of the caller's; an integer of thousands of digits)
            text = f"<{type(value).__name__}>"
    return text if len(text) <= length + 2 else f"{text[:length]}…"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


# --- the caller's input -------------------------------------------------------------------------


class InvalidInputError(VecdbError, ValueError):
    """Something the caller passed in is wrong; nothing was stored. `index`: its position, if any."""

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class DimensionMismatchError(InvalidInputError):
    """A vector has `got` numbers where its space needs `expected`."""

    def __init__(
        self,
        message: str,
        *,
        expected: int | None = None,
        got: int | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message, index=index)
        self.expected = expected
        self.got = got


class NonFiniteVectorError(InvalidInputError):
    """A vector holds NaN or infinity (also after conversion to float32)."""


class FilterError(InvalidInputError):
    """A `where` filter is malformed. `place` is the path of keys to the faulty part."""

    def __init__(self, message: str, *, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class UnsupportedContentError(InvalidInputError):
    """Content of a kind that the embedder, or vecdb, does not take."""


class DecodeError(InvalidInputError):
    """A file or bytes that cannot be read as what they claim to be."""


class LimitError(InvalidInputError):
    """Something is larger than a documented limit (`limit`, in the unit the message names)."""

    def __init__(
        self, message: str, *, limit: int | None = None, got: int | None = None, index: int | None = None
    ) -> None:
        super().__init__(message, index=index)
        self.limit = limit
        self.got = got


# --- names that do not exist, or exist already --------------------------------------------------


class NotFoundError(VecdbError, LookupError):
    """Nothing has this `name`."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class CollectionNotFoundError(NotFoundError):
    """The database has no collection `name`."""


class RecordNotFoundError(NotFoundError):
    """The collection has no record with the id `name`."""


class EmbedderNotFoundError(NotFoundError):
    """No installed plugin offers the embedder `name`."""


class AlreadyExistsError(VecdbError, ValueError):
    """Something called `name` exists already."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class CollectionExistsError(AlreadyExistsError):
    """The collection exists already, or what is stored differs from what was asked for."""


class DuplicateIdError(AlreadyExistsError):
    """A record id is taken, or stands twice in one call. `index`: position of the second one."""

    def __init__(self, message: str, *, name: str = "", index: int | None = None) -> None:
        super().__init__(message, name=name)
        self.index = index


# --- storage ------------------------------------------------------------------------------------


class StorageError(VecdbError):
    """The database could not be read or written; what was acknowledged before is safe."""


class DatabaseClosedError(StorageError):
    """The handle was closed."""


class DatabaseLockedError(StorageError):
    """Another process (`holder`, its process id, where known) kept the write lock too long."""

    def __init__(self, message: str, *, holder: int | None = None) -> None:
        super().__init__(message)
        self.holder = holder


class ReadOnlyError(StorageError):
    """A write to a database that was opened read-only or lies in a read-only place."""


class DiskFullError(StorageError):
    """The disk, or a quota, is full; nothing of the call was stored."""


class SchemaVersionError(StorageError):
    """The database has schema `found`; this vecdb works with `expected`."""

    def __init__(self, message: str, *, found: str | None = None, expected: str | None = None) -> None:
        super().__init__(message)
        self.found = found
        self.expected = expected


class CorruptDatabaseError(StorageError):
    """The file is not a vecdb database, or it is damaged."""


# --- plugins ------------------------------------------------------------------------------------


class PluginError(VecdbError):
    """A plugin, or what it offers, failed."""


class PluginLoadError(PluginError):
    """A plugin could not be imported or registered. `plugin`, `distribution`: which one."""

    def __init__(self, message: str, *, plugin: str = "", distribution: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.distribution = distribution


class PluginConflictError(PluginError):
    """Two plugins offer the embedder `name`; `distributions` names both."""

    def __init__(self, message: str, *, name: str = "", distributions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.distributions = tuple(distributions)


class EmbedderUnavailableError(PluginError):
    """An embedder is known but cannot be loaded: `missing` names libraries or files."""

    def __init__(self, message: str, *, name: str = "", missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.missing = tuple(missing)


class ItemError(PluginError):
    """One item cannot be embedded. Embedders raise it with a message; the host adds the rest.

    `index`: position of the item in the call; `stage`: "prepare" or "encode".
    """

    def __init__(self, message: str, *, index: int | None = None, stage: str = "prepare") -> None:
        super().__init__(message)
        self.index = index
        self.stage = stage


class EmbeddingError(PluginError):
    """Some items could not be embedded; nothing of the call was stored. `errors`: one an item."""

    def __init__(self, message: str, *, errors: Sequence[ItemError] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class EmbedderContractError(PluginError):
    """An embedder broke the plugin contract (shape, dtype, count). `name`: which embedder."""

    def __init__(self, message: str, *, name: str = "", **details: Any) -> None:
        super().__init__(message)
        self.name = name
        self.details = details


class EmbedderTimeoutError(PluginError):
    """An embedder did not come back in time. `name`: which one; `seconds`: how long it was waited for."""

    def __init__(self, message: str, *, name: str = "", seconds: float | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.seconds = seconds


class EmbedderMismatchError(PluginError):
    """An embedder's vectors are not comparable with those stored in the space."""

    def __init__(self, message: str, *, expected: str = "", got: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.got = got


# --- warnings -----------------------------------------------------------------------------------


class VecdbWarning(UserWarning):
    """Root of all warnings that vecdb gives."""


class PluginWarning(VecdbWarning):
    """A plugin is broken and was left out; everything else works."""


class IndexRebuiltWarning(VecdbWarning):
    """An index file was missing or did not fit its database; searches are exact until it is rebuilt."""
