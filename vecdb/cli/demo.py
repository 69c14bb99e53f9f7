"""`vecdb demo`: a database of the documentation on this machine, in less than a minute and offline."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

import vecdb
from vecdb.cli.commands.search import write_hits
from vecdb.cli.docstrings import MAX_DOCSTRINGS, Docstring, find_docstrings
from vecdb.cli.options import ExampleCommand, database_option
from vecdb.cli.output import note
from vecdb.cli.progress import ProgressBar, format_rate, format_seconds
from vecdb.cli.session import Session, pass_session
from vecdb.cli.training import MODELS_FOLDER, train_model
from vecdb.collection import Collection
from vecdb.embedder import EmbedderRef
from vecdb.types import Record

COLLECTION = "docstrings"
_EXAMPLE = "gzip.open"
DEFAULT_PATH = Path("demo.vecdb")

# Chosen by trying 31 questions on 12,000 docstrings (see the tests for some of them): more dimensions than
# usual for so small a corpus help misspelt words, and so short a text weighs common words a little more.
_TRAINING = {"dimension": 150}
_EMBEDDING = {"sif_a": 1e-3}
_PARAGRAPHS = 2

_SEARCHES: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("compress a file", None),
    ("compress a file", {"kind": "class"}),
    ("square root of a number", {"source": "stdlib", "kind": "function"}),
    ("compres a flie", None),
)


@click.command(
    cls=ExampleCommand,
    example='vecdb demo --limit 600\nvecdb --db demo.vecdb search "compress a file" --where kind=function',
)
@click.option("--force", is_flag=True, help="Replace the demo database that exists.")
@click.option(
    "--limit",
    type=click.IntRange(min=200, max=100_000),
    default=MAX_DOCSTRINGS,
    show_default=True,
    help="At most so many texts.",
)
@database_option
@pass_session
def demo(session: Session, force: bool, limit: int) -> None:
    """Try vecdb: search the documentation of Python itself.

    Collects the docstrings of the standard library and of the packages installed beside it (sources are
    read, never run), trains a fastText model on them, embeds and indexes them in ./demo.vecdb (or --db
    PATH), and searches. It needs no network and less than a minute.
    """
    path = session.path or DEFAULT_PATH
    _make_room(path, force=force)
    begin = time.monotonic()
    try:
        vecdb.open(path, plugins=session.plugins).close()  # a place that cannot be written is told at once
        _build(session, path, _collect(limit))
    except BaseException:  # also Ctrl-C: half a demo would only be in the way of the next one
        shutil.rmtree(path, ignore_errors=True)
        raise
    note(f"Done in {format_seconds(time.monotonic() - begin)}: {path}\n")
    with vecdb.open(path, read_only=True, plugins=session.plugins) as database:
        collection = database.collection(COLLECTION)
        collection.search("anything")  # loads model and vectors, so that the times below are those of a search
        for query, where in _SEARCHES:
            _search(collection, query, where)
        known = collection.get([_EXAMPLE]) or [next(iter(collection))]
    _tell_next(path, known[0].id)


def _build(session: Session, path: Path, docstrings: Sequence[Docstring]) -> None:
    with vecdb.open(path, plugins=session.plugins) as database:
        model = database.path / MODELS_FOLDER / f"{COLLECTION}.bin"
        _train(session, docstrings, model)
        embedder = EmbedderRef("fasttext", {"model": model, **_EMBEDDING})
        _store(database.create_collection(COLLECTION, embedder=embedder), docstrings)


def _make_room(path: Path, *, force: bool) -> None:
    """Nothing is overwritten unasked, and nothing but a demo database ever."""
    if not path.exists():
        return
    if not force:
        raise vecdb.AlreadyExistsError(
            f"{path} exists already; search it with `vecdb --db {path} search \"compress a file\"`, or make it anew "
            "with --force"
        )
    with vecdb.open(path, read_only=True) as database:
        if database.collections() not in ([], [COLLECTION]):
            raise vecdb.AlreadyExistsError(
                f"{path} holds other collections than the demo's; give another path with --db"
            )
    shutil.rmtree(path)


def _collect(limit: int) -> list[Docstring]:
    begin = time.monotonic()
    docstrings: list[Docstring] = []
    with ProgressBar("Reading docstrings", "texts") as progress:
        for docstring in find_docstrings(limit=limit):
            docstrings.append(docstring)
            progress(len(docstrings), None)
    packages = len({one.package for one in docstrings})
    note(f"Read {len(docstrings):,} docstrings of {packages:,} packages in {format_seconds(time.monotonic() - begin)}.")
    return docstrings


def _train(session: Session, docstrings: Sequence[Docstring], model: Path) -> None:
    info = session.plugins.embedder("fasttext")
    report = train_model(info, (_whole(one) for one in docstrings), model, _TRAINING)
    words, seconds = report["words"], max(report["seconds"], 1e-9)
    note(
        f"Trained fastText on {words:,} words, {report['vocabulary']:,} different ones, in {format_seconds(seconds)} "
        f"({format_rate(words / seconds)} words/s)."
    )


def _store(collection: Collection, docstrings: Sequence[Docstring]) -> None:
    records = _Records(docstrings)
    with ProgressBar("Embedding", "texts") as progress:
        report = collection.ingest(records, on_error="quarantine", progress=progress)
    rate = format_rate(report.added / max(report.seconds, 1e-9))
    note(f"Embedded {report.embedded:,} texts and stored {report.added:,} records in "
         f"{format_seconds(report.seconds)} ({rate} records/s).")  # fmt: skip
    begin = time.monotonic()
    with ProgressBar("Indexing", "vectors") as progress:
        collection.optimize(progress=progress)
    vectors = collection.spaces["default"].vectors
    plan = collection.explain("compress a file", k=1)
    kind = "HNSW graph" if plan.strategy == "graph" else "exact search: the fastest for so few"
    note(f"Indexed {vectors:,} vectors in {format_seconds(time.monotonic() - begin)} ({kind}).")


class _Records:
    """The records of docstrings; knows its length, which progress needs."""

    def __init__(self, docstrings: Sequence[Docstring]) -> None:
        self._docstrings = docstrings

    def __len__(self) -> int:
        return len(self._docstrings)

    def __iter__(self) -> Iterator[Record]:
        for one in self._docstrings:
            yield Record(one.id, _begin(one), one.metadata)


def _begin(docstring: Docstring) -> str:
    """What is embedded: the name, which often says it all, and what comes first; details would blur it."""
    paragraphs = re.split(r"\n\s*\n", docstring.text)
    return f"{docstring.id}: " + "\n\n".join(paragraphs[:_PARAGRAPHS])


def _whole(docstring: Docstring) -> str:
    return f"{docstring.id}: {docstring.text}"


def _search(collection: Collection, query: str, where: dict[str, Any] | None) -> None:
    begin = time.perf_counter()
    hits = collection.search(query, k=3, where=where)
    milliseconds = (time.perf_counter() - begin) * 1000
    condition = "".join(f" --where {key}={value}" for key, value in (where or {}).items())
    click.echo(click.style(f'> vecdb search "{query}"{condition} -k 3', fg="green") + f"   ({milliseconds:.1f} ms)")
    write_hits("table", hits)
    click.echo()


def _tell_next(path: Path, id: str) -> None:
    chosen = "" if path == DEFAULT_PATH else f"--db {path} "
    note(
        "Now you:\n"
        f'  vecdb {chosen}search "send an email"\n'
        f'  vecdb {chosen}search "compress a file" --where kind=function --where source=stdlib\n'
        f"  vecdb {chosen}get {id}\n"
        f"  vecdb {chosen}info\n"
        "or in Python:\n"
        "  import vecdb\n"
        f'  with vecdb.open("{path}") as db:\n'
        f'      for hit in db.collection("{COLLECTION}").search("sort a list", k=5):\n'
        "          print(hit.id, round(hit.score, 2))\n"
        "Your own files:\n"
        "  vecdb --db notes.vecdb index FOLDER"
    )
