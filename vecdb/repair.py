"""`check`: what is inconsistent, and mending it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vecdb.errors import VecdbError, VecdbWarning
from vecdb.index_files import damaged_files
from vecdb.space import Space
from vecdb.storage.consistency import check_rows, counts, mend_rows
from vecdb.storage.contents import decode_content, source_hashes
from vecdb.storage.damage import Damage, find_damage, mend_damage, mend_references
from vecdb.storage.engine import DatabaseEngine, Snapshot
from vecdb.storage.findings import FIX, RESTORE, Finding, first_ones
from vecdb.storage.manifest import forget
from vecdb.storage.records import blob_reader, content_rows
from vecdb.storage.writes import NewVector, relink
from vecdb.sync import SpaceIndex
from vecdb.types import CheckReport, Problem, Scalar
from vecdb.vectors import to_blobs

Spaces = Mapping[str, Sequence[Space]]
_AT_ONCE = 1000


def check_database(
    engine: DatabaseEngine, spaces: Spaces, unusable: Mapping[str, str], *, fix: bool
) -> CheckReport:
    """Check rows, vectors and indexes of a database.

    Args:
        engine: the database.
        spaces: the open spaces of each collection, by its name.
        unusable: collections that cannot be opened, and why.
        fix: mend what has one right answer.
    """
    with warnings.catch_warnings():
        # What reading warns of is in the report.
        warnings.filterwarnings("ignore", message=".*run `vecdb check`", category=VecdbWarning)
        closed = [Finding(f"collection {name!r}", "it cannot be used", f": {why}") for name, why in unusable.items()]
        found = closed + _look(engine, spaces)
        problems = [Problem(one.where, one.kind + one.detail, advice=one.advice) for one in first_ones(found)]
        if fix and found:
            failed = _mend(engine, spaces)
            left = closed + _look(engine, spaces)
            problems = [_judged(one, left, failed) for one in first_ones(found)]
            known = {(one.where, one.kind) for one in found}
            problems += [_judged(one, left, failed) for one in left if (one.where, one.kind) not in known]
    with engine.snapshot() as snapshot:
        return CheckReport(tuple(problems), *counts(snapshot))


def _judged(finding: Finding, left: Sequence[Finding], failed: Mapping[str, str]) -> Problem:
    """A finding after mending: whether it is gone, and else what to do now that mending did not help."""
    remains = any((one.where, one.kind) == (finding.where, finding.kind) for one in left)
    advice = finding.advice if remains else ""
    if remains and advice == FIX:
        cause = failed.get(finding.where)
        advice = f"embedding again failed: {cause}" if cause else f"it cannot be mended; {RESTORE}"
    return Problem(finding.where, finding.kind + finding.detail, fixed=not remains, advice=advice)


def _look(engine: DatabaseEngine, spaces: Spaces) -> list[Finding]:
    with engine.snapshot() as snapshot:
        found = check_rows(snapshot)
        damage = find_damage(snapshot)
        found += damage.findings
        bad_files = damaged_files(engine.folder, snapshot)
    found += [Finding("index files", f"{name} was changed or is missing", "", FIX) for name in bad_files]
    for name, group in spaces.items():
        for space in group:
            lacking, surplus = _differences(space, damage)
            if lacking or surplus:
                what = f"the index lacks {lacking} vectors and holds {surplus} that are gone"
                found.append(Finding(f"collection {name!r}, {space.what}", what, "", FIX))
    return found


def _differences(space: Space, damage: Damage) -> tuple[int, int]:
    """How many vectors the index lacks, those apart that it must not have, and how many are too many."""
    lacking, surplus = space.index.differences()
    return len(set(lacking) - damage.damaged_labels), len(surplus)


# --- mending ------------------------------------------------------------------------------------


def _mend(engine: DatabaseEngine, spaces: Spaces) -> dict[str, str]:
    """Mend what has one right answer; why embedding failed, by place."""
    with engine.snapshot() as snapshot:
        damage = find_damage(snapshot)
    with engine.transaction() as transaction:
        mend_references(transaction, damage)
    mend_rows(engine)
    with engine.snapshot() as snapshot:
        damage = find_damage(snapshot)  # who lost a vector by what was mended is seen now
    with engine.transaction() as transaction:
        mend_damage(transaction, damage)
        forget(transaction, damaged_files(engine.folder, transaction))
    failed = {}
    for name, group in spaces.items():
        for space in group:
            keys = sorted(key for space_id, key in damage.to_embed if space_id == space.row.id)
            for start in range(0, len(keys), _AT_ONCE):
                try:
                    _embed_again(engine, space, keys[start : start + _AT_ONCE])
                except VecdbError as error:
                    failed[f"collection {name!r}, {space.what}"] = str(error)
            if _differences(space, damage) != (0, 0):
                _index_anew(engine, space)
    return failed


def _index_anew(engine: DatabaseEngine, space: Space) -> None:
    if space.index.graph is not None:
        space.index.rebuild()
    else:
        space.index = SpaceIndex(engine, space.row)  # brute force has no file: it begins again from the rows


@dataclass(frozen=True, slots=True)
class _Stored:
    """A record whose vector is to be made again: what to embed, and the hashes that say it is still that content."""

    key: int
    content_hash: bytes
    source_hash: bytes
    item: Scalar


def _embed_again(engine: DatabaseEngine, space: Space, keys: Sequence[int]) -> None:
    """Embed records and give them their vectors; raises for those that cannot be embedded, after the others."""
    with engine.snapshot() as snapshot:
        stored = list(_to_embed(snapshot, space, keys))
    vectors: dict[bytes, NewVector] = {}
    error: VecdbError | None = None
    waiting = stored
    # Records of one content (a file at two places, say) have one vector: the first that can be embedded does for all.
    while waiting:
        firsts = list({one.source_hash: one for one in reversed(waiting)}.values())
        embedded = space.embed([one.item for one in firsts], "document")
        failures = {failure.index: failure for failure in embedded.errors}
        for position, (one, data) in enumerate(zip(firsts, to_blobs(embedded.vectors), strict=True)):
            if position in failures:
                error = failures[position]
            else:
                cut = position in embedded.truncated
                vectors[one.source_hash] = NewVector(space.row.id, data, one.source_hash, cut)
        tried = {one.key for one in firsts}
        waiting = [one for one in waiting if one.source_hash not in vectors and one.key not in tried]
    found = [(one.key, one.content_hash, vectors[one.source_hash]) for one in stored if one.source_hash in vectors]
    with engine.transaction() as transaction:
        relink(transaction, space.row.id, found)
    if error is not None and len(found) < len(stored):
        raise error


def _to_embed(snapshot: Snapshot, space: Space, keys: Sequence[int]) -> Iterable[_Stored]:
    read_blob = blob_reader(snapshot)
    for key, kind, content, content_hash in content_rows(snapshot, keys):
        digest = source_hashes(kind, content).get(space.row.source)
        decoded = decode_content(kind, content, read_blob)
        item = decoded.get(space.row.source or "") if isinstance(decoded, Mapping) else decoded
        if digest is not None and item is not None:
            yield _Stored(key, content_hash, digest, item)
