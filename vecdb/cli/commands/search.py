"""`vecdb search`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

import vecdb
from vecdb.cli.options import (
    ExampleCommand,
    complete_collections,
    database_option,
    format_option,
    where_option,
)
from vecdb.cli.output import Column, note, plain, write_fields, write_rows
from vecdb.cli.session import Session, pass_session
from vecdb.collection import Collection
from vecdb.database import Database
from vecdb.types import Hit, Modality, SpaceInfo

COLUMNS = [
    Column("rank", "right"),
    Column("score", "right"),
    Column("id"),
    Column("content", shrink=True, least=24, weight=2.5),
    Column("metadata", shrink=True, least=12),
]


@click.command(
    cls=ExampleCommand,
    example='vecdb search "how to read a file" -k 3\n'
    'vecdb search "numbers" --where "year>=2020" --where kind=note --format json',
)
@click.argument("query", required=False)
@click.option(
    "--file",
    "-f",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Search with a file (a sound, an image, a text) in place of QUERY.",
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many hits.")
@where_option
@click.option(
    "--collection",
    "-c",
    metavar="NAME",
    shell_complete=complete_collections,
    help="Where. Default: the first collection that takes such a query.",
)
@click.option("--space", metavar="NAME", help="Which space of it. Default: the first that takes such a query.")
@click.option("--ef", type=click.IntRange(min=1), help="Candidates in the graph: more is more exact and slower.")
@click.option("--exact", is_flag=True, help="Compare with every record.")
@click.option("--explain", is_flag=True, help="Show how the search is done and why, in place of its hits.")
@database_option
@format_option
@pass_session
def search(
    session: Session,
    /,
    *,
    query: str | None,
    file: Path | None,
    k: int,
    where: dict[str, Any] | None,
    collection: str | None,
    space: str | None,
    explain: bool,
    **how: Any,
) -> None:
    """Find the records nearest to a text or a file.

    The best come first. The score is larger for better hits; for the metric cosine it is the cosine itself, 1 at best.
    """
    content = file or query
    if content is None:
        raise click.UsageError("Give QUERY, or --file.")
    if file is not None and query is not None:
        raise click.UsageError("Give QUERY or --file, not both.")
    with session.open() as database:
        found, searched = choose_space(database, content, collection, space)
        if explain:
            write_fields(session.format, _plan(found.explain(content, k=k, where=where, space=searched, **how)))
            return
        hits = found.search(content, k=k, where=where, space=searched, **how)
    write_hits(session.format, hits)
    if not hits and session.format == "table":
        note("Nothing fits the filter." if where else "The collection is empty.")


def write_hits(format: str, hits: list[Hit]) -> None:
    """Print hits, the best first; for programs with their distances."""
    columns = COLUMNS if format == "table" else [*COLUMNS, Column("distance")]
    write_rows(format, columns, list(_rows(hits, shortened=format == "table")))


def _rows(hits: list[Hit], *, shortened: bool) -> Iterator[dict[str, Any]]:
    for rank, hit in enumerate(hits, 1):
        row: dict[str, Any] = {"rank": rank, "score": hit.score, "id": hit.id}
        if shortened:
            said: tuple[Any, ...] = (None, "", [], hit.id)
            metadata = {key: value for key, value in hit.metadata.items() if value not in said}
            if "path" in metadata:  # before what would push it out of sight
                metadata = {"path": metadata["path"], **metadata}
            yield {**row, "content": _snippet(hit), "metadata": metadata}
        else:
            yield {**row, "content": hit.content, "metadata": hit.metadata, "distance": hit.distance}


def _snippet(hit: Hit) -> Any:
    """The content as a cell; what the id says already is not shown twice."""
    content = hit.content
    if isinstance(content, dict):
        return " ".join(item.name if isinstance(item, Path) else plain(item) for item in content.values())
    if isinstance(content, Path):
        return content.name
    return content.removeprefix(f"{hit.id}: ") if isinstance(content, str) else content


def choose_space(
    database: Database, content: str | Path, collection: str | None, space: str | None
) -> tuple[Collection, str]:
    """The first collection and space, among those named, whose embedder takes this content.

    Raises:
        CollectionNotFoundError, NotFoundError: there is no such collection, or no such space.
        EmbedderNotFoundError, PluginError: there is none, but one whose plugin is missing or broken.
        UnsupportedContentError: there is none.
    """
    from vecdb.embedding import modality_of  # noqa: PLC0415  (not needed for the command's help)

    kind = modality_of(content)
    names = [collection] if collection is not None else database.collections()
    candidates = [
        (found, info)
        for found in map(database.collection, names)
        for info in found.spaces.values()
        if space in (None, info.name)
    ]
    place = f"collection {collection!r}" if collection is not None else f"database {database.path}"
    if space is not None and not candidates:
        raise vecdb.NotFoundError(
            f"there is no space {space!r} in the {place}; see `vecdb collections list`", name=space
        )
    if space is not None and collection is not None:
        return candidates[0][0], space
    takers: list[tuple[Collection, str]] = []
    unusable: list[vecdb.VecdbError] = []
    for found, info in candidates:
        try:
            if _takes(database, info, kind):
                takers.append((found, info.name))
        except vecdb.VecdbError as error:  # its plugin is not installed any more: another space may do
            unusable.append(error)
    if not takers:
        if unusable:
            raise unusable[0]
        what = f"the file {content.name}" if isinstance(content, Path) else "text"
        raise vecdb.UnsupportedContentError(
            f"nothing in the {place} takes {what} as a query; see `vecdb collections list`"
        )
    others = sorted({found.name for found, _ in takers} - {takers[0][0].name})
    if others:
        note(f"Searching {takers[0][0].name!r}; with --collection also: {', '.join(others)}")
    return takers[0]


def _takes(database: Database, space: SpaceInfo, kind: Modality | None) -> bool:
    if space.embedder is None:
        return False
    modalities = database.plugins.embedder(space.embedder).modalities
    if kind is None:  # a file of unknown kind: the embedder will tell
        return bool(modalities & {"image", "audio"})
    return kind in modalities or (kind == "text" and "ids" in modalities)


def _plan(plan: vecdb.SearchPlan) -> dict[str, Any]:
    return {
        "strategy": plan.strategy,
        "reason": plan.reason,
        "vectors": plan.vectors,
        "indexed": plan.indexed,
        "allowed": plan.allowed,
        "filtered_by": plan.filtered_by,
        "k": plan.k,
        "ef": plan.ef,
        "hits": plan.hits,
        "milliseconds": _milliseconds(plan.seconds),
        "estimated_milliseconds": _milliseconds(plan.estimates),
    }


def _milliseconds(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(one * 1000, 2) for name, one in seconds.items()}
