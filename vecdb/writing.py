"""The write path: what is new is embedded, then one transaction holds all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vecdb.drafts import Draft
from vecdb.errors import DuplicateIdError, EmbeddingError, InvalidInputError, ItemError, StorageError, shown
from vecdb.space import Space
from vecdb.storage.embedding_cache import known_vectors
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.failures import NewFailure, drop_failures, put_failures
from vecdb.storage.spaces import check_collection
from vecdb.storage.writes import (
    Existing,
    NewVectors,
    existing_records,
    insert_records,
    replace_records,
    update_metadata,
)
from vecdb.types import Progress
from vecdb.vectors import to_blobs, vector_hash

Conflict = Literal["error", "skip", "replace"]
CONFLICTS: tuple[Conflict, ...] = ("error", "skip", "replace")
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class EmbedCounts:
    """How many contents went through a model, needed none, and were cut."""

    embedded: int = 0
    cached: int = 0
    truncated: int = 0

    def __add__(self, other: EmbedCounts) -> EmbedCounts:
        return EmbedCounts(
            self.embedded + other.embedded, self.cached + other.cached, self.truncated + other.truncated
        )


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did, as numbers of records; `failed` could not be embedded and were set aside."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    contents: EmbedCounts = field(default_factory=EmbedCounts)

    def __add__(self, other: Written) -> Written:
        return Written(
            self.added + other.added,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.failed + other.failed,
            self.contents + other.contents,
        )

    @property
    def total(self) -> int:
        """The records of the write."""
        return self.added + self.updated + self.unchanged + self.failed


# --- embedding ----------------------------------------------------------------------------------


def embed_drafts(
    engine: DatabaseEngine, spaces: Sequence[Space], drafts: Sequence[Draft], progress: Progress | None = None
) -> EmbedCounts:
    """Give every draft its vectors; content that was ever embedded comparably is not embedded again.

    A draft that cannot be embedded gets its `error`. `progress`: as in `EmbedderHost.embed`, for each space anew.
    """
    counts = EmbedCounts()
    for space in spaces:
        if space.embeds:
            counts += _embed_in(engine, space, drafts, progress)
    return counts


def _embed_in(
    engine: DatabaseEngine, space: Space, drafts: Sequence[Draft], progress: Progress | None
) -> EmbedCounts:
    wanted: dict[bytes, list[Draft]] = {}
    for draft in drafts:
        source = draft.content.sources.get(space.row.source)
        if source is not None and space.row.id not in draft.embedded:
            wanted.setdefault(source[1], []).append(draft)
    if not wanted:
        return EmbedCounts()
    space.host()  # before the cache is used: are these vectors still comparable?
    with engine.snapshot() as snapshot:
        row = space.row
        known = known_vectors(snapshot, row.fingerprint or "", row.metric, wanted, comparable=space.is_comparable)
    for digest, (data, truncated) in known.items():
        _give(space, wanted.pop(digest), data, truncated=truncated)
    cut = sum(vector.truncated for vector in known.values())
    groups = list(wanted.values())
    if not groups:
        return EmbedCounts(0, len(known), cut)  # all of it is known: the model need not even be loaded
    items = [group[0].content.sources[space.row.source][0] for group in groups]
    result = space.embed(items, "document", progress)
    failed = {error.index: error for error in result.errors}
    truncated_ones = set(result.truncated)
    for position, (group, data) in enumerate(zip(groups, to_blobs(result.vectors), strict=True)):
        if position in failed:
            for draft in group:
                draft.error = failed[position]
        else:
            _give(space, group, data, truncated=position in truncated_ones)
    return EmbedCounts(len(groups) - len(failed), len(known), cut + len(truncated_ones - set(failed)))


def _give(space: Space, drafts: Sequence[Draft], data: bytes, *, truncated: bool) -> None:
    for draft in drafts:
        draft.embedded[space.row.id] = data
        if truncated:
            draft.truncated.add(space.row.id)


def raise_errors(drafts: Sequence[Draft]) -> None:
    """Raise one `EmbeddingError` for all drafts that have an error."""
    errors = []
    for index, draft in enumerate(drafts):
        if draft.error is not None:
            error = ItemError(str(draft.error), index=index, stage=draft.error.stage)
            error.__cause__ = draft.error.__cause__
            errors.append(error)
    if errors:
        raise EmbeddingError(
            f"{len(errors)} of {len(drafts)} contents cannot be embedded and nothing was stored; the first is at "
            f"{errors[0].index}: {errors[0]}. Correct these or leave them out",
            errors=errors,
        ) from errors[0]


# --- writing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """Drafts that can be stored, if those that are to be embedded are still among the ids `embedded`; None is any."""

    drafts: Sequence[Draft]
    embedded: frozenset[str] | None
    counts: EmbedCounts


@dataclass(frozen=True, slots=True)
class Writer:
    """Stores drafts in one collection.

    Attributes:
        on_conflict: what to do with ids that are stored already.
        quarantine: set aside what cannot be embedded, instead of raising.
    """

    engine: DatabaseEngine
    collection_id: int
    spaces: Sequence[Space]
    on_conflict: Conflict
    quarantine: bool = False

    def write(self, drafts: Sequence[Draft], failures: Sequence[NewFailure] = ()) -> Written:
        """Embed and store drafts, all or nothing, and set `failures` aside, in one transaction.

        Raises:
            DuplicateIdError: an id is stored and `on_conflict` is "error".
            EmbeddingError: something cannot be embedded, and it is not to be quarantined.
        """
        return self.store(self.embed(drafts), failures)

    def embed(self, drafts: Sequence[Draft], progress: Progress | None = None) -> Ready:
        """Embed what has to be, given what is stored now; outside a transaction. Errors as in `write`."""
        for draft in drafts:
            draft.error = None
        if not (self.engine.read_only or any(space.embeds for space in self.spaces)):
            return Ready(drafts, None, EmbedCounts())
        with self.engine.snapshot() as snapshot:
            plan = self._plan(snapshot, drafts)
        counts = embed_drafts(self.engine, self.spaces, plan.to_embed, progress)
        if not self.quarantine:
            raise_errors(drafts)
        return Ready(drafts, frozenset(draft.id for draft in plan.to_embed), counts)

    def store(self, ready: Ready, failures: Sequence[NewFailure] = ()) -> Written:
        """The second half of `write`.

        Where another writer changed the same records meanwhile, it is decided again what has to be embedded.
        """
        counts = EmbedCounts()
        for _ in range(_ATTEMPTS):
            counts += ready.counts
            with self.engine.transaction() as transaction:
                now = self._plan(transaction, ready.drafts)
                stored = None
                if ready.embedded is None or {draft.id for draft in now.to_embed} <= ready.embedded:
                    stored = self._store(transaction, now, ready.drafts, failures, counts)
            if stored is not None:
                written, fresh = stored
                self._hand_over(fresh)
                return written
            ready = self.embed(ready.drafts)
        raise StorageError("other writers changed the same records again and again; try again, or write less at once")

    def _plan(self, snapshot: Snapshot, drafts: Sequence[Draft]) -> _Plan:
        """What is to be done with each draft, given what is stored."""
        check_collection(snapshot, self.collection_id)
        bringing = any(draft.brought for draft in drafts) and self.on_conflict == "replace"
        ids = [draft.id for draft in drafts]
        existing = existing_records(snapshot, self.collection_id, ids, with_vectors=bringing)
        if not existing:
            return _Plan(list(drafts))
        plan = _Plan()
        for index, draft in enumerate(drafts):
            stored = existing.get(draft.id)
            if stored is None:
                plan.new.append(draft)
            elif self.on_conflict == "error":
                raise DuplicateIdError(
                    f"the id {draft.id!r:.60} is in the collection already; use upsert to replace the record",
                    name=draft.id,
                    index=index,
                )
            elif self.on_conflict == "skip":
                plan.unchanged += 1
            elif stored.damaged or stored.content_hash != draft.content.hash or _brings_other(draft, stored):
                plan.changed.append((stored.key, draft))
            elif stored.metadata != draft.metadata:
                plan.metadata.append((stored.key, draft.metadata))
            else:
                plan.unchanged += 1
        return plan

    def _store(
        self,
        transaction: Snapshot,
        plan: _Plan,
        drafts: Sequence[Draft],
        failures: Sequence[NewFailure],
        counts: EmbedCounts,
    ) -> tuple[Written, list[NewVectors]]:
        bad = [draft for draft in plan.to_embed if draft.error is not None]
        failed = [NewFailure(d.id, d.content, d.metadata, str(d.error), complete=not d.brought) for d in bad]
        new = [draft.record(self.spaces) for draft in plan.new if draft.error is None]
        changed = [(key, draft.record(self.spaces)) for key, draft in plan.changed if draft.error is None]
        fresh = insert_records(transaction, self.collection_id, new)
        if changed:
            fresh += replace_records(transaction, self.collection_id, changed)
        if plan.metadata:
            update_metadata(transaction, plan.metadata)
        drop_failures(transaction, self.collection_id, [draft.id for draft in drafts if draft.error is None])
        put_failures(transaction, self.collection_id, [*failures, *failed])
        updated = len(changed) + len(plan.metadata)
        return Written(len(new), updated, plan.unchanged, len(failures) + len(failed), counts), fresh

    def _hand_over(self, fresh: Sequence[NewVectors]) -> None:
        """Tell the indexes what is committed now."""
        indexes = {space.row.id: space.index for space in self.spaces}
        for batch in fresh:
            indexes[batch.space_id].hand_over(batch)


@dataclass(slots=True)
class _Plan:
    new: list[Draft] = field(default_factory=list)
    changed: list[tuple[int, Draft]] = field(default_factory=list)
    metadata: list[tuple[int, str]] = field(default_factory=list)
    unchanged: int = 0

    @property
    def to_embed(self) -> list[Draft]:
        return [*self.new, *(draft for _, draft in self.changed)]


def _brings_other(draft: Draft, stored: Existing) -> bool:
    return any(vector_hash(data) != stored.vector_hashes.get(space_id) for space_id, data in draft.brought.items())


def check_conflict(on_conflict: Any) -> None:
    """Refuse an unknown `on_conflict`."""
    if on_conflict not in CONFLICTS:
        raise InvalidInputError(f"on_conflict must be one of {', '.join(CONFLICTS)}, not {shown(on_conflict)}")
