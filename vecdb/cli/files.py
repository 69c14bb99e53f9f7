"""Finding the files to index: what is text, a sound or an image, and what is left out and why."""

from __future__ import annotations

import codecs
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vecdb.embedding import modality_of
from vecdb.types import Modality

MAX_TEXT_BYTES = 50_000_000
_HEAD = 8192
_DATABASE_SUFFIX = ".vecdb"
_NOT_CONTENT = {"__pycache__", "node_modules"}
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to index.

    Attributes:
        path: where it is, absolute.
        name: its path relative to the folder that holds the database, where it lies below it; else
            absolute. With "/" between the parts.
        kind: "text", "audio" or "image".
        size: bytes.
        modified: time of the last change, ISO 8601 in UTC.
    """

    path: Path
    name: str
    kind: Modality
    size: int
    modified: str


@dataclass
class Skipped:
    """Files that are left out: how many for each reason, and a few of them by name."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    unreadable: set[Path] = field(default_factory=set)

    def add(self, reason: str, path: Path) -> None:
        """Count one."""
        self.counts[reason] += 1
        known = self.examples.setdefault(reason, [])
        if len(known) < _EXAMPLES:
            known.append(path.name)

    def lines(self) -> list[str]:
        """What to tell a person: "3 skipped, binary: a.zip, b.exe, c.so"."""
        found = []
        for reason, count in self.counts.most_common():
            more = ", …" if count > len(self.examples[reason]) else ""
            found.append(f"{count:,} skipped, {reason}: {', '.join(self.examples[reason])}{more}")
        return found


def find_files(paths: Iterable[Path], base: Path) -> tuple[list[FoundFile], Skipped]:
    """The files below the paths, each once, sorted by name within each path.

    A path that is given is taken even if it is hidden; below it, hidden files and folders, databases,
    links to folders and folders of caches are left out.

    Args:
        paths: files and folders; what does not exist is passed over.
        base: the folder that names are relative to.
    """
    skipped = Skipped()
    found: dict[Path, FoundFile] = {}
    for path in paths:
        for file in _walk(absolute(path), skipped):
            if file not in found:
                made = _file(file, base, skipped)
                if made is not None:
                    found[file] = made
    return list(found.values()), skipped


def absolute(path: Path) -> Path:
    """The path from the root, without ".."; links are not followed, so that names stay as people know them."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (Path.absolute keeps "..")


def _walk(path: Path, skipped: Skipped) -> Iterator[Path]:
    if not path.is_dir():
        if path.exists():
            yield path
        return
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        skipped.add(f"unreadable ({error.strerror})", path)
        skipped.unreadable.add(path)
        return
    for entry in entries:
        below = path / entry.name
        if entry.name.startswith("."):
            skipped.add("hidden", below)
        elif entry.is_dir(follow_symlinks=False):
            if entry.name in _NOT_CONTENT or below.suffix == _DATABASE_SUFFIX:
                continue
            yield from _walk(below, skipped)
        elif entry.is_dir():
            skipped.add("links to folders", below)
        else:
            yield below


def _file(path: Path, base: Path, skipped: Skipped) -> FoundFile | None:
    try:
        status = path.stat()
        if not path.is_file():
            skipped.add("no regular files", path)
            return None
        name = (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()
        name.encode()
        kind = modality_of(path)
        if not status.st_size:
            reason: str | None = "empty"
        else:
            reason = None if kind in ("audio", "image") else _no_text(path, status.st_size)
    except OSError as error:
        skipped.add(f"unreadable ({error.strerror})", path)
        skipped.unreadable.add(path)
        return None
    except UnicodeEncodeError:
        skipped.add("names that are not Unicode", Path(repr(path.name)))
        return None
    if reason is not None:
        skipped.add(reason, path)
        return None
    modified = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC).isoformat()
    return FoundFile(path, name, kind or "text", status.st_size, modified)


def _no_text(path: Path, size: int) -> str | None:
    """Why a file is not taken as text, from its size and its beginning; None if it is."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" in head:
        return "binary"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) == size)
    except UnicodeDecodeError:
        return "not UTF-8 text" if modality_of(path) == "text" else "binary"
    return "larger than 50 MB" if size > MAX_TEXT_BYTES else None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8 throughout.
    """
    return path.read_text("utf-8-sig")
