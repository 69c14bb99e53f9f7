"""Keeping a collection as its files are: what is new or changed goes in, what is gone comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vecdb.cli.files import FoundFile, Skipped, absolute, read_text
from vecdb.cli.passages import split_passages
from vecdb.collection import Collection
from vecdb.types import IngestReport, Metadata, Record

_MARKDOWN = {".md", ".markdown", ".mdown", ".mkd"}
_DELETE_BATCH = 10_000


@dataclass
class Known:
    """What a collection holds of one file: its stamp, how many passages it has, and their ids."""

    stamps: set[tuple[int, str]] = field(default_factory=set)
    passages: int = 0
    ids: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def add(self, id: str, metadata: Metadata) -> None:
        """Take in a record of this file."""
        self.stamps.add(_stamp(metadata))
        self.passages = metadata.get("passages", 1)
        self.ids.add(id)

    def add_failure(self, id: str, metadata: Metadata) -> None:
        """Take in what could not be embedded; of an earlier state of the file, it counts no more."""
        if _stamp(metadata) not in self.stamps:
            if self.ids:
                return
            self.stamps, self.failed = {_stamp(metadata)}, set()
            self.passages = metadata.get("passages", 1)
        self.failed.add(id)

    def is_current(self, file: FoundFile) -> bool:
        """Whether all of the file, as it is now, was put in (or set aside) before."""
        whole = len(self.ids | self.failed) == self.passages
        return whole and self.stamps == {(file.size, file.modified)}


def _stamp(metadata: Metadata) -> tuple[int, str]:
    return metadata.get("size", -1), metadata.get("modified", "")


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was done for the files of one collection. Numbers of files, then of records.

    Attributes:
        files: those that hold something to embed.
        unchanged_files: those of them that are stored whole as they are now.
        removed_files: those that are gone.
        report: of the records that went in.
        removed: records that went out.
        set_aside: passages and files that could not be embedded, now or in an earlier run.
    """

    files: int
    unchanged_files: int
    removed_files: int
    report: IngestReport
    removed: int
    set_aside: int


def known_files(collection: Collection) -> dict[str, Known]:
    """What the collection holds, by file name."""
    found: dict[str, Known] = {}
    for record in collection:
        name = record.metadata.get("path")
        if isinstance(name, str):
            found.setdefault(name, Known()).add(record.id, record.metadata)
    for failure in collection.failures():
        name = failure.metadata.get("path")
        if isinstance(name, str):
            found.setdefault(name, Known()).add_failure(failure.id, failure.metadata)
    return found


def index_files(
    collection: Collection,
    files: Sequence[FoundFile],
    paths: Iterable[Path],
    base: Path,
    skipped: Skipped,
    *,
    progress: Callable[[int, int], None],
) -> FileReport:
    """Bring a collection up to date with files.

    Args:
        collection: takes the files' kind.
        files: all that were found below `paths`.
        paths: what was asked for; stored files below them that are not found any more are removed.
        base: the folder that file names are relative to.
        skipped: gets the files that turn out not to be readable.
        progress: called as `progress(kilobytes done, kilobytes in all)`.
    """
    known = known_files(collection)
    changed = [file for file in files if file.name not in known or not known[file.name].is_current(file)]
    reader = _Reader(changed, skipped)
    total = max(sum(file.size for file in changed) // 1000, 1)
    report = collection.ingest(
        reader, on_error="quarantine", progress=lambda _records, _total: progress(reader.bytes // 1000, total)
    )
    gone = _gone(known, files, paths, base, skipped)
    stale = [id for name in gone for id in known[name].ids | known[name].failed]
    for file in changed:
        if file.name in known and file.name in reader.made:
            stale += (known[file.name].ids | known[file.name].failed) - reader.made[file.name]
    removed = 0
    for start in range(0, len(stale), _DELETE_BATCH):
        removed += collection.delete(stale[start : start + _DELETE_BATCH])
    names = {file.name for file in files}
    set_aside = sum(failure.metadata.get("path") in names for failure in collection.failures())
    unchanged = sum(not known[name].failed for name in names - {file.name for file in changed})
    return FileReport(len(files) - reader.left_out, unchanged, len(gone), report, removed, set_aside)


def _gone(
    known: Mapping[str, Known], files: Sequence[FoundFile], paths: Iterable[Path], base: Path, skipped: Skipped
) -> list[str]:
    """The stored files below the paths that are not there any more, or have become something else."""
    present = {file.name for file in files}
    roots = [absolute(path) for path in paths]
    gone = []
    for name in known:
        place = base / name
        below = any(place == root or root in place.parents for root in roots)
        hidden_by_error = any(place == path or path in place.parents for path in skipped.unreadable)
        if below and name not in present and not hidden_by_error:
            gone.append(name)
    return gone


class _Reader:
    """Iterates over the records of files, reading one file at a time."""

    def __init__(self, files: Sequence[FoundFile], skipped: Skipped) -> None:
        self._files = files
        self._skipped = skipped
        self.bytes = 0
        self.left_out = 0
        self.made: dict[str, set[str]] = {}

    def __iter__(self) -> Iterator[Record]:
        for file in self._files:
            try:
                records = list(file_records(file))
            except (OSError, UnicodeDecodeError) as error:
                reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"unreadable ({error.strerror})"
                self._skipped.add(reason, file.path)
                self.left_out += 1
                continue
            if not records:
                self._skipped.add("empty", file.path)
                self.left_out += 1
            self.made[file.name] = {record.id for record in records}
            yield from records
            self.bytes += file.size


def file_records(file: FoundFile) -> Iterator[Record]:
    """The records of a file: its passages if it is a text, else itself.

    Raises:
        OSError, UnicodeDecodeError: a text that cannot be read.
    """
    stamp: Metadata = {"path": file.name, "kind": file.kind, "size": file.size, "modified": file.modified}
    if file.kind != "text":
        yield Record(file.name, file.path, stamp)
        return
    passages = split_passages(read_text(file.path).replace("\0", " "), markdown=file.path.suffix.lower() in _MARKDOWN)
    for number, passage in enumerate(passages, 1):
        place: Metadata = {"heading": passage.heading, "line": passage.line}
        count: Metadata = {"passage": number, "passages": len(passages)}
        yield Record(f"{file.name}#{number}", passage.text, {**place, **stamp, **count})
