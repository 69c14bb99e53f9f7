"""`check`: what is inconsistent, and mending it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vecdb.errors import VecdbError
from vecdb.space import Space
from vecdb.storage.consistency import DamagedVector, check_rows, counts, damaged_vectors, mend_rows
from vecdb.storage.contents import encode_content
from vecdb.storage.engine import DatabaseEngine
from vecdb.storage.records import read_by_label
from vecdb.storage.writes import NewRecord, NewVector, replace_records
from vecdb.types import CheckReport, Problem
from vecdb.vectors import to_blobs


def check_database(engine: DatabaseEngine, spaces: Mapping[str, Sequence[Space]], *, fix: bool) -> CheckReport:
    """Check rows, vectors and indexes of a database.

    Args:
        engine: the database.
        spaces: the open spaces of each collection, by its name.
        fix: mend what has one right answer.
    """
    with engine.snapshot() as snapshot:
        problems = check_rows(snapshot)
        damaged = damaged_vectors(snapshot)
    if fix and problems:
        with engine.transaction() as transaction:
            mend_rows(transaction)
        with engine.snapshot() as snapshot:
            left = {problem.where + problem.what.partition("(")[0] for problem in check_rows(snapshot)}
        problems = [
            replace(problem, fixed=problem.where + problem.what.partition("(")[0] not in left) for problem in problems
        ]
    by_id = {space.row.id: (name, space) for name, group in spaces.items() for space in group}
    problems += [_damaged(engine, vector, by_id, fix=fix) for vector in damaged]
    for name, group in spaces.items():
        for space in group:
            problems += _index_problems(name, space, fix=fix)
    with engine.snapshot() as snapshot:
        collections, records, vectors = counts(snapshot)
    return CheckReport(tuple(problems), collections, records, vectors)


def _damaged(
    engine: DatabaseEngine, vector: DamagedVector, by_id: Mapping[int, tuple[str, Space]], *, fix: bool
) -> Problem:
    name, space = by_id[vector.space_id]
    where = f"collection {name!r}, {space.what}"
    what = f"the vector with label {vector.label} is damaged"
    if not space.embeds:
        return Problem(where, what, advice="its record must be added again, with its vector")
    if not fix:
        return Problem(where, what, advice="run `vecdb check --fix`, which embeds its record again")
    try:
        _embed_again(engine, vector, space)
    except VecdbError as error:
        return Problem(where, what, advice=f"embedding again failed: {error}")
    return Problem(where, what, fixed=True)


def _embed_again(engine: DatabaseEngine, vector: DamagedVector, space: Space) -> None:
    with engine.snapshot() as snapshot:
        stored = read_by_label(snapshot, vector.label)
    contents = [encode_content(record.content) for record in stored]
    items = [content.sources[space.row.source][0] for content in contents]
    vectors = to_blobs(space.embed(items, "document").check())
    changed = []
    for record, content, data in zip(stored, contents, vectors, strict=True):
        others = tuple(
            NewVector(space_id, to_blobs(kept[None, :])[0], None)
            for space_id, kept in record.vectors.items()
            if space_id != space.row.id
        )
        mine = NewVector(space.row.id, data, content.sources[space.row.source][1])
        text = json.dumps(record.metadata, ensure_ascii=False, separators=(",", ":"))
        new = NewRecord(record.id, content.kind, content.text, content.hash, text, content.blobs, (mine, *others))
        changed.append((record.key, new))
    with engine.transaction() as transaction:
        replace_records(transaction, changed)


def _index_problems(name: str, space: Space, *, fix: bool) -> list[Problem]:
    lacking, surplus = space.index.differences()
    if not lacking and not surplus:
        return []
    what = f"the index lacks {len(lacking)} vectors and holds {len(surplus)} that are gone"
    if fix:
        space.index.rebuild()
    return [Problem(f"collection {name!r}, {space.what}", what, fixed=fix, advice="run `vecdb reindex`")]
