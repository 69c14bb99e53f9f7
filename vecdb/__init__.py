"""vecdb: a plugin-based vector search database.

    import vecdb

    with vecdb.open("pets.vecdb") as db:
        notes = db.create_collection("notes", embedder="word2vec:vectors.txt")
        notes.add(["the cat sat", "dogs bark"], ids=["a", "b"])
        print(notes.search("kitten", k=1)[0].id)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vecdb.embedder import Embedder, EmbedderInfo, EmbedderRef, Trainer, Windows, truncation_option
from vecdb.errors import (
    AlreadyExistsError,
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptDatabaseError,
    DatabaseClosedError,
    DatabaseLockedError,
    DecodeError,
    DimensionMismatchError,
    DiskFullError,
    DuplicateIdError,
    EmbedderContractError,
    EmbedderMismatchError,
    EmbedderNotFoundError,
    EmbedderTimeoutError,
    EmbedderUnavailableError,
    EmbeddingError,
    FilterError,
    IndexRebuiltWarning,
    InvalidInputError,
    ItemError,
    LimitError,
    NonFiniteVectorError,
    NotFoundError,
    PluginConflictError,
    PluginError,
    PluginLoadError,
    PluginWarning,
    ReadOnlyError,
    RecordNotFoundError,
    SchemaVersionError,
    StorageError,
    UnsupportedContentError,
    VecdbError,
    VecdbWarning,
)
from vecdb.hookspecs import hookimpl
from vecdb.options import option
from vecdb.types import (
    Audio,
    CheckReport,
    Failure,
    Hit,
    Image,
    IngestReport,
    Metric,
    Modality,
    Progress,
    Record,
    Role,
    SearchPlan,
    SpaceInfo,
    VacuumReport,
)
from vecdb.version import __version__

if TYPE_CHECKING:
    from vecdb.collection import Collection
    from vecdb.database import Database, open  # noqa: A004  (vecdb.open reads like gzip.open)
    from vecdb.plugins import Plugins

__all__ = [
    "AlreadyExistsError",
    "Audio",
    "CheckReport",
    "Collection",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "CorruptDatabaseError",
    "Database",
    "DatabaseClosedError",
    "DatabaseLockedError",
    "DecodeError",
    "DimensionMismatchError",
    "DiskFullError",
    "DuplicateIdError",
    "Embedder",
    "EmbedderContractError",
    "EmbedderInfo",
    "EmbedderMismatchError",
    "EmbedderNotFoundError",
    "EmbedderRef",
    "EmbedderTimeoutError",
    "EmbedderUnavailableError",
    "EmbeddingError",
    "Failure",
    "FilterError",
    "Hit",
    "Image",
    "IndexRebuiltWarning",
    "IngestReport",
    "InvalidInputError",
    "ItemError",
    "LimitError",
    "Metric",
    "Modality",
    "NonFiniteVectorError",
    "NotFoundError",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "PluginWarning",
    "Plugins",
    "Progress",
    "ReadOnlyError",
    "Record",
    "RecordNotFoundError",
    "Role",
    "SchemaVersionError",
    "SearchPlan",
    "SpaceInfo",
    "StorageError",
    "Trainer",
    "UnsupportedContentError",
    "VacuumReport",
    "VecdbError",
    "VecdbWarning",
    "Windows",
    "__version__",
    "hookimpl",
    "open",
    "option",
    "truncation_option",
]

# SQLAlchemy takes longer to import than all else together, and a plugin or `vecdb --help` does not
# need it: these names are imported on first use.
_LAZY = {
    "Collection": "vecdb.collection",
    "Database": "vecdb.database",
    "Plugins": "vecdb.plugins",
    "open": "vecdb.database",
}


if not TYPE_CHECKING:  # or a misspelt name would pass for one that is found later

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            found = getattr(importlib.import_module(_LAZY[name]), name)
            globals()[name] = found
            return found
        raise AttributeError(f"module 'vecdb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
