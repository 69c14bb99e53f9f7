"""What a disk may hold after a power loss, worked out from a trace of what was asked of it.

A disk holds for certain what was synced. Of the rest anything may have arrived: see `Loss`.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from tests.torture.shim import Kind, Step

_SECTORS = (512, 4096)
Change = tuple[int, bytes] | int  # bytes at an offset, or a new size
Entries = dict[str, "File | Folder"]


@dataclass(eq=False, slots=True)
class File:
    """Bytes that are certain, and the changes after them, in order."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def now(self) -> bytearray:
        """What a reader sees."""
        content = bytearray(self.synced)
        for change in self.pending:
            _apply(content, change)
        return content

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.synced, change)
        self.pending.clear()


@dataclass(eq=False, slots=True)
class Folder:
    """Names that are certain, and names as they are."""

    synced: Entries = field(default_factory=dict)
    entries: Entries = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Naming:
    """One change of names, which arrives whole or not.

    Attributes:
        parts: (folder, name, what it means then; None: nothing).
        unsynced: folders whose sync makes it certain, in the strict reading.
        journalled: whether it is certain where names are a journal.
    """

    parts: list[tuple[Folder, str, File | Folder | None]]
    unsynced: list[Folder]
    journalled: bool = False

    def concerns(self, what: File | Folder) -> bool:
        return any(what in (folder, named) for folder, _, named in self.parts)


@dataclass(frozen=True, slots=True)
class Loss:
    """How a power loss went.

    Attributes:
        strict: whether names are kept by a sync of their folder only, and any of the others may have
            arrived (what POSIX says); otherwise they are a journal (what file systems do): those up
            to some moment arrived, at least up to the last change of names that a synced file or
            folder took part in.
        content: of what was written and not synced, "none" or "all" arrived, a "prefix" of the
            writes, a "subset" of them, or any "sectors" of them; "garbage" is as that, with
            nonsense instead of zeros where a file grew and the bytes did not arrive.
        sector: bytes that a disk writes as one.
    """

    strict: bool
    content: str
    sector: int

    @classmethod
    def some(cls, chance: random.Random) -> Loss:
        """Any of them."""
        content = chance.choice(("none", "all", "prefix", "subset", "sectors", "garbage"))
        return cls(chance.random() < 0.5, content, chance.choice(_SECTORS))

    def __str__(self) -> str:
        names = "any names" if self.strict else "names in order"
        return f"{names}, {self.content} of the content, sectors of {self.sector}"


class Disk:
    """Follows a trace.

    Args:
        root: the watched folder; what lies in it now is on the disk for certain.
    """

    def __init__(self, root: Path) -> None:
        self._root = PurePosixPath(root)
        self.tree = _read(root)
        self._opened: dict[int, File | Folder] = {}
        self._namings: list[Naming] = []
        self.syncs = 0

    def follow(self, step: Step) -> None:
        """Take in one operation."""
        if step.kind in (Kind.OPEN, Kind.CREATE):
            if step.kind is Kind.CREATE:
                self._name((step.path, File()))
            self._opened[step.file] = self._at(step.path)
        elif step.kind is Kind.WRITE:
            self._file(step).pending.append((step.offset, step.data))
        elif step.kind is Kind.TRUNCATE:
            self._file(step).pending.append(step.offset)
        elif step.kind is Kind.SYNC:
            self._sync(self._opened[step.file])
        elif step.kind is Kind.MKDIR:
            self._name((step.path, Folder()))
        elif step.kind in (Kind.UNLINK, Kind.RMDIR):
            self._name((step.path, None))
        elif step.kind is Kind.RENAME:
            self._name((step.path, None), (step.data.decode(), self._at(step.path)))
        elif step.kind is Kind.LINK:
            self._name((step.data.decode(), self._at(step.path)))

    def _file(self, step: Step) -> File:
        found = self._opened[step.file]
        # A temporary file without a name (O_TMPFILE) is opened by the path of its folder: nothing of it is left.
        return found if isinstance(found, File) else File()

    def _at(self, path: str) -> File | Folder:
        found: File | Folder = self.tree
        for name in PurePosixPath(path).relative_to(self._root).parts:
            if not isinstance(found, Folder):
                raise NotADirectoryError(path)
            found = found.entries[name]
        return found

    def _name(self, *changes: tuple[str, File | Folder | None]) -> None:
        parts = []
        for path, what in changes:
            folder = self._at(str(PurePosixPath(path).parent))
            if not isinstance(folder, Folder):
                raise NotADirectoryError(path)
            name = PurePosixPath(path).name
            parts.append((folder, name, what))
            _assign(folder.entries, name, what)
        self._namings.append(Naming(parts, [folder for folder, _, _ in parts]))

    def _sync(self, what: File | Folder) -> None:
        self.syncs += 1
        if isinstance(what, File):
            what.sync()
        last = max((number for number, naming in enumerate(self._namings) if naming.concerns(what)), default=-1)
        for number, naming in enumerate(self._namings):
            naming.journalled |= number <= last
            naming.unsynced = [folder for folder in naming.unsynced if folder is not what]
        while self._namings and self._namings[0].journalled and not self._namings[0].unsynced:
            for folder, name, named in self._namings.pop(0).parts:
                _assign(folder.synced, name, named)

    # --- what may be left -----------------------------------------------------------------------

    def write(self, target: Path, loss: Loss, chance: random.Random, leave_out: Container[str] = ()) -> None:
        """Make `target` what a power loss may leave now; `leave_out`: names in the root."""
        entries: dict[Folder, Entries] = {}
        arrived = chance.randint(0, len(self._namings))
        for number, naming in enumerate(self._namings):
            certain = not naming.unsynced if loss.strict else naming.journalled
            if certain or (chance.random() < 0.5 if loss.strict else number < arrived):
                for folder, name, named in naming.parts:
                    _assign(entries.setdefault(folder, dict(folder.synced)), name, named)
        shutil.rmtree(target, ignore_errors=True)

        def write(what: File | Folder, path: Path) -> None:
            if isinstance(what, Folder):
                path.mkdir()
                for name, inner in entries.get(what, what.synced).items():
                    if what is not self.tree or name not in leave_out:
                        write(inner, path / name)
            elif path.name.endswith("-shm"):
                path.write_bytes(_nonsense(chance, chance.choice((0, len(what.now())))))
            else:
                path.write_bytes(_left_of(what, loss, chance))

        write(self.tree, target)

    def differences(self) -> list[str]:
        """Where the trace does not lead to the files that are really there: then the shim missed something."""
        return list(_differences(self.tree, Path(self._root)))


def _assign(entries: Entries, name: str, named: File | Folder | None) -> None:
    if named is None:
        entries.pop(name, None)
    else:
        entries[name] = named


def _read(path: Path) -> Folder:
    found = Folder()
    for inner in path.iterdir():
        found.synced[inner.name] = _read(inner) if inner.is_dir() else File(bytearray(inner.read_bytes()))
    found.entries = dict(found.synced)
    return found


def _differences(folder: Folder, path: Path) -> Iterator[str]:
    real = {inner.name for inner in path.iterdir()}
    for name in sorted(real | set(folder.entries)):
        traced = folder.entries.get(name)
        if traced is None or name not in real or isinstance(traced, Folder) != (path / name).is_dir():
            yield f"{path / name} is {'there' if name in real else 'gone'}, the trace says otherwise"
        elif isinstance(traced, Folder):
            yield from _differences(traced, path / name)
        elif not name.endswith("-shm") and traced.now() != (path / name).read_bytes():  # that one is written by a map
            yield f"{path / name} holds other bytes than the trace says"


# --- content ------------------------------------------------------------------------------------


def _apply(content: bytearray, change: Change) -> None:
    if isinstance(change, int):
        content[:] = content[:change].ljust(change, b"\0")
        return
    offset, data = change
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


def _left_of(file: File, loss: Loss, chance: random.Random) -> bytes:
    content = bytearray(file.synced)
    for change in _arrived(file.pending, loss, chance):
        end = change if isinstance(change, int) else change[0] + len(change[1])
        if loss.content == "garbage" and end > len(content):
            content.extend(_nonsense(chance, end - len(content)))
        _apply(content, change)
    return bytes(content)


def _arrived(pending: list[Change], loss: Loss, chance: random.Random) -> Iterator[Change]:
    if loss.content == "prefix":
        whole = chance.randint(0, len(pending))
        yield from pending[:whole]
        if whole < len(pending) and not isinstance(pending[whole], int):
            parts = _sectors(pending[whole], loss.sector)
            yield from parts[: chance.randint(0, len(parts))]
        return
    odds = {"none": 0.0, "all": 1.0, "subset": 0.5}.get(loss.content, 0.7)
    for change in pending:
        if isinstance(change, int):
            if chance.random() < odds:
                yield change
            elif not loss.strict:
                return  # a journal: what was written after it was written into blocks that nothing leads to
        elif loss.content in ("sectors", "garbage"):
            yield from (part for part in _sectors(change, loss.sector) if chance.random() < odds)
        elif chance.random() < odds:
            yield change


def _sectors(change: Change, size: int) -> list[Change]:
    """The parts of a write that a disk writes one by one."""
    if isinstance(change, int):
        return [change]
    offset, data = change
    cuts = [0, *range(size - offset % size, len(data), size), len(data)]
    return [(offset + begin, data[begin:end]) for begin, end in pairwise(cuts)]


def _nonsense(chance: random.Random, size: int) -> bytes:
    return chance.randbytes(size) if chance.random() < 0.5 else bytes(size)
