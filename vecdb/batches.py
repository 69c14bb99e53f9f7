"""Cutting a stream of records into batches, and setting aside what is wrong with one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vecdb.drafts import Draft, record_draft
from vecdb.errors import InvalidInputError, VecdbError
from vecdb.space import Space
from vecdb.storage.contents import check_id, encode_content, encode_metadata
from vecdb.storage.failures import NewFailure
from vecdb.types import Record


def batches_of(
    spaces: Sequence[Space], records: Iterable[Record], size: int, *, quarantine: bool, copy: bool
) -> Iterator[tuple[list[Draft], list[NewFailure]]]:
    """Drafts and failures, together at most `size` at a time; no id stands twice in a batch.

    Args:
        spaces: of the collection.
        records: read one batch at a time.
        size: of a batch.
        quarantine: make a failure of a bad record, instead of raising.
        copy: store what files hold.

    Raises:
        InvalidInputError: (or one of its kinds) a record is bad, and not to be quarantined.
    """
    batch = _Batch()
    for index, record in enumerate(records):
        one = _checked(spaces, record, index, quarantine=quarantine, copy=copy)
        if one.id and one.id in batch.ids:  # the later one counts, so the earlier one goes in before
            yield batch.drafts, batch.failures
            batch = _Batch()
        batch.add(one)
        if len(batch.drafts) + len(batch.failures) >= size:
            yield batch.drafts, batch.failures
            batch = _Batch()
    if batch.drafts or batch.failures:
        yield batch.drafts, batch.failures


class _Batch:
    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.failures: list[NewFailure] = []
        self.ids: set[str] = set()

    def add(self, one: Draft | NewFailure) -> None:
        self.ids.add(one.id)
        if isinstance(one, Draft):
            self.drafts.append(one)
        else:
            self.failures.append(one)


def _checked(
    spaces: Sequence[Space], record: Record, index: int, *, quarantine: bool, copy: bool
) -> Draft | NewFailure:
    try:
        return record_draft(spaces, record, index, copy=copy)
    except InvalidInputError as error:
        if not quarantine:
            raise
        return _failure(record, error)


def _failure(record: Any, error: VecdbError) -> NewFailure:
    """As much of a bad record as can be kept."""

    def kept(encode: Any, value: Any, default: Any) -> Any:
        try:
            return encode(value)
        except VecdbError:
            return default

    return NewFailure(
        kept(check_id, getattr(record, "id", None), ""),
        kept(encode_content, getattr(record, "content", None), None),
        kept(encode_metadata, getattr(record, "metadata", None), "{}"),
        str(error),
        getattr(record, "vectors", None) is None,
    )
