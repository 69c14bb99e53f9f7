"""Records that could not be embedded, kept with their error until they are tried again."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete

from vecdb.errors import VecdbWarning
from vecdb.storage.checksums import is_sealed, seal
from vecdb.storage.contents import KIND_JSON, KIND_NOTHING, EncodedContent, decode_content, decode_metadata
from vecdb.storage.engine import Snapshot
from vecdb.storage.records import blob_reader, drop_unused_blobs, put_blobs
from vecdb.storage.stored_values import as_text
from vecdb.storage.tables import failures
from vecdb.types import Failure


@dataclass(frozen=True, slots=True)
class NewFailure:
    """A failure to be stored.

    Attributes:
        id, metadata, error: as in `Failure`.
        content: None where it could not be kept.
        complete: whether content and metadata are all of the record: vectors that it brought are not kept.
    """

    id: str
    content: EncodedContent | None
    metadata: str
    error: str
    complete: bool

    @property
    def retryable(self) -> bool:
        """Whether it can be tried again from what is kept."""
        kept = self.content is not None and self.content.kind != KIND_NOTHING
        return self.complete and kept and bool(self.id)


def put_failures(transaction: Snapshot, collection_id: int, found: Sequence[NewFailure]) -> None:
    """Store failures; a later one of the same id, or the very same without one, replaces an earlier one."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for failure in found:
        same = [failures.c.collection_id == collection_id, failures.c.id == failure.id]
        if not failure.id:
            text = failure.content.text if failure.content else None
            same += [
                failures.c.content.is_not_distinct_from(text),
                failures.c.metadata == failure.metadata,
                failures.c.error == failure.error,
            ]
        transaction.execute(delete(failures).where(*same))
        row = {
            "collection_id": collection_id,
            "id": failure.id,
            "kind": failure.content.kind if failure.content else None,
            "content": failure.content.text if failure.content else None,
            "metadata": failure.metadata,
            "error": failure.error,
            "retryable": failure.retryable,
            "created_at": now,
        }
        key = transaction.insert(failures, row)
        seal(transaction, failures, key)
        if failure.content is not None and failure.content.blobs:
            put_blobs(transaction, failure.content.blobs, failure_key=key)
    if found:
        drop_unused_blobs(transaction)


def read_failures(snapshot: Snapshot, collection_id: int) -> list[Failure]:
    """All failures of a collection, oldest first; a damaged one is left out, with a warning."""
    found = snapshot.rows_of(failures, "WHERE collection_id = ? ORDER BY key", (collection_id,))
    read_blob = blob_reader(snapshot)

    def decoded(row: Any) -> Failure:
        owner = f"failure {row['key']}"
        kept = row["kind"] is not None
        content = decode_content(row["kind"], row["content"], read_blob, owner) if kept else None
        metadata, retryable = decode_metadata(row["metadata"], owner), bool(row["retryable"])
        id, error = as_text(row["id"], what=f"the id of {owner}"), as_text(row["error"], what=f"the error of {owner}")
        return Failure(id, content, metadata, error, retryable)

    sound = [row for row in found if is_sealed(failures, row)]
    if len(sound) < len(found):
        warnings.warn(
            f"{len(found) - len(sound)} stored failure(s) are damaged and are left out; run `vecdb check`",
            VecdbWarning,
            stacklevel=2,
        )
    return [decoded(row) for row in sound]


def drop_failures(transaction: Snapshot, collection_id: int, ids: Sequence[str]) -> None:
    """Forget the failures of records that went in after all."""
    gone = transaction.rows("SELECT 1 FROM failures WHERE collection_id = ? LIMIT 1", (collection_id,))
    if not gone:
        return
    had_blobs = bool(transaction.rows(f"SELECT 1 FROM failures WHERE kind = {KIND_JSON} LIMIT 1"))
    transaction.write_many(
        "DELETE FROM failures WHERE collection_id = ? AND id = ?", [(collection_id, id) for id in ids]
    )
    if had_blobs:
        drop_unused_blobs(transaction)
