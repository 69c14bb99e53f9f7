"""`check`: what is inconsistent, and mending it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from vecdb.errors import VecdbError
from vecdb.space import Space
from vecdb.storage.consistency import DamagedVector, check_rows, counts, damaged_vectors, mend_rows
from vecdb.storage.contents import encode_content
from vecdb.storage.engine import DatabaseEngine
from vecdb.storage.records import read_by_label
from vecdb.storage.writes import replace_vector
from vecdb.sync import SpaceIndex
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
            remaining = {problem.where + problem.what.partition("(")[0] for problem in check_rows(snapshot)}
        problems = [
            replace(problem, fixed=problem.where + problem.what.partition("(")[0] not in remaining)
            for problem in problems
        ]
    by_id = {space.row.id: (name, space) for name, group in spaces.items() for space in group}
    # A space may be deleted meanwhile, by another process.
    problems += [_damaged(engine, vector, by_id, fix=fix) for vector in damaged if vector.space_id in by_id]
    with engine.snapshot() as snapshot:
        left = {vector.label for vector in damaged_vectors(snapshot)}
    for name, group in spaces.items():
        for space in group:
            problems += _index_problems(engine, name, space, left, fix=fix)
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
    """The records of one vector embed to the same numbers: the first that can be embedded does for all."""
    with engine.snapshot() as snapshot:
        stored = read_by_label(snapshot, vector.label)
    contents = [encode_content(record.content) for record in stored]
    embedded = space.embed([content.sources[space.row.source][0] for content in contents], "document")
    failed = {error.index for error in embedded.errors}
    good = next((position for position in range(len(contents)) if position not in failed), None)
    data = to_blobs(embedded.check() if good is None else embedded.vectors[good : good + 1])
    with engine.transaction() as transaction:
        if data:
            replace_vector(transaction, space.row.id, vector.label, data[0])


def _index_problems(engine: DatabaseEngine, name: str, space: Space, damaged: Set[int], *, fix: bool) -> list[Problem]:
    lacking, surplus = _differences(space, damaged)
    if not lacking and not surplus:
        return []
    what = f"the index lacks {lacking} vectors and holds {surplus} that are gone"
    if fix and space.index.graph is not None:
        space.index.rebuild()
    elif fix:
        space.index = SpaceIndex(engine, space.row)  # brute force has no file: it begins again from the rows
    fixed = fix and _differences(space, damaged) == (0, 0)
    return [Problem(f"collection {name!r}, {space.what}", what, fixed=fixed, advice="run `vecdb reindex`")]


def _differences(space: Space, damaged: Set[int]) -> tuple[int, int]:
    """How many vectors the index lacks, those apart that it must not have, and how many are too many."""
    lacking, surplus = space.index.differences()
    return len(set(lacking) - damaged), len(surplus)
