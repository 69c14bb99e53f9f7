"""Damages to files: the index files, the write-ahead log, its shared memory, the database file itself."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.damage_bases import Base
from tests.torture.damage_state import State
from vecdb.storage.engine import DATABASE_FILE
from vecdb.storage.schema import INDEX_FOLDER

BLOCKS = (512, 4096, 8192)
LOG_HEADER, FRAME = 32, 8192 + 24


@dataclass(slots=True)
class Damage:
    """What was done to a copy of a base.

    Attributes:
        family: which promise holds: "index", "shared memory", "log", "database" or "row".
        kind: what was done, in words that many damages share.
        detail: where exactly.
        states: what the database may hold now without anything being wrong, beside what it held.
        replaced: whether something stands there that is not a file of its own any more.
    """

    family: str
    kind: str
    detail: str
    states: Sequence[State] = field(default_factory=tuple)
    replaced: bool = False


class Refused(Exception):
    """This damage cannot be done here: another one is tried."""


# --- to the bytes of a file -----------------------------------------------------------------------


def _flip(data: bytearray, chance: random.Random) -> str:
    bits = [chance.randrange(8 * len(data)) for _ in range(chance.choice((1, 1, 1, 2, 8)))]
    for bit in bits:
        data[bit // 8] ^= 1 << bit % 8
    return f"bits {bits}"


def _flip_in_header(data: bytearray, chance: random.Random) -> str:
    bit = chance.randrange(8 * min(len(data), 112))
    data[bit // 8] ^= 1 << bit % 8
    return f"bit {bit}"


def _cut(data: bytearray, chance: random.Random) -> str:
    size = len(data)
    lengths = {
        "a few bytes": chance.randrange(1, 100), "within a block": chance.randrange(size), "one byte less": size - 1,
        "at a block": chance.randrange(size) // 4096 * 4096, "at a page": chance.randrange(size) // 8192 * 8192,
        "at a frame": LOG_HEADER + chance.randrange(1 + size // FRAME) * FRAME,
        "half": size // 2,
    }  # fmt: skip
    name = chance.choice(sorted(lengths))
    del data[max(1, lengths[name]) :]
    return f"to {len(data)} of {size} bytes ({name})"


def _blocks(data: bytearray, chance: random.Random, count: int) -> tuple[int, list[int]]:
    size = chance.choice([block for block in BLOCKS if block * count <= len(data)] or [max(1, len(data) // count)])
    places = chance.sample(range(max(count, len(data) // size)), count)
    return size, [place * size for place in places]


def _zero(data: bytearray, chance: random.Random) -> str:
    size, [place] = _blocks(data, chance, 1)
    data[place : place + size] = bytes(len(data[place : place + size]))
    return f"{size} bytes at {place}"


def _garbage(data: bytearray, chance: random.Random) -> str:
    size, [place] = _blocks(data, chance, 1)
    size = chance.choice((size, size, 1 + chance.randrange(64)))
    data[place : place + size] = chance.randbytes(len(data[place : place + size]))
    return f"{size} bytes at {place}"


def _exchange(data: bytearray, chance: random.Random) -> str:
    if len(data) < 2:
        raise Refused
    size, [one, other] = _blocks(data, chance, 2)
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]
    return f"{size} bytes at {one} and {other}"


def _repeat(data: bytearray, chance: random.Random) -> str:
    if len(data) < 2:
        raise Refused
    size, [one, other] = _blocks(data, chance, 2)
    data[other : other + size] = data[one : one + size]
    return f"{size} bytes from {one} at {other}"


def _append(data: bytearray, chance: random.Random) -> str:
    size = chance.choice((1, 3, 100, 4096, 8192, FRAME, 100_000))
    data += chance.choice((bytes(size), chance.randbytes(size), bytes(data[-size:])))
    return f"{size} bytes"


BYTES: dict[str, Callable[[bytearray, random.Random], str]] = {
    "bits flipped": _flip,
    "a bit of the header flipped": _flip_in_header,
    "cut short": _cut,
    "a block zeroed": _zero,
    "garbage in a block": _garbage,
    "blocks exchanged": _exchange,
    "a block over another": _repeat,
    "bytes appended": _append,
}
_WEIGHTS = {"bits flipped": 4, "cut short": 3, "a block zeroed": 2, "garbage in a block": 2, "blocks exchanged": 2}


# --- to what stands in its place -------------------------------------------------------------------


def _folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "inside").write_bytes(b"x")


def _link(path: Path, chance: random.Random) -> None:
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _dangling(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def _loop(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def _pipe(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def _missing(path: Path, chance: random.Random) -> None:
    path.unlink()


INSTEAD: dict[str, Callable[[Path, random.Random], None]] = {
    "a folder instead": _folder,
    "a link instead": _link,
    "a dangling link instead": _dangling,
    "a link to itself instead": _loop,
    "a pipe instead": _pipe,
    "emptied": _empty,
    "missing": _missing,
}
_IS_NO_FILE = {
    "a link instead",
    "a folder instead",
    "a dangling link instead",
    "a link to itself instead",
    "a pipe instead",
}


def _change(path: Path, chance: random.Random) -> tuple[str, str, bool]:
    if chance.random() < 0.2:
        kind = chance.choice(sorted(INSTEAD))
        INSTEAD[kind](path, chance)
        return kind, "", kind in _IS_NO_FILE
    names = sorted(BYTES)
    [kind] = chance.choices(names, [_WEIGHTS.get(name, 1) for name in names])
    data = bytearray(path.read_bytes())
    if not data:
        raise Refused
    detail = BYTES[kind](data, chance)
    path.write_bytes(data)
    return kind, detail, False


# --- the files of a database -----------------------------------------------------------------------


def damage_index(folder: Path, base: Base, bases: Sequence[Base], chance: random.Random) -> Damage:
    """One of the index files, or all of them."""
    files = sorted((folder / INDEX_FOLDER).glob("*.hnsw"))
    if not files:
        raise Refused
    path = chance.choice(files)
    others = [file for one in bases for file in (one.folder, one.older)]
    foreign = [file for one in others for file in sorted((one / INDEX_FOLDER).glob("*.hnsw")) if file.name != path.name]
    whole = chance.random()
    if whole < 0.1 and len(files) > 1:  # those of two spaces, or of two generations
        other = chance.choice([file for file in files if file != path])
        spare = path.with_name("spare")
        path.rename(spare)
        other.rename(path)
        spare.rename(other)
        return Damage("index", "index files exchanged", f"{path.name} and {other.name}")
    if whole < 0.2 and foreign:
        other = chance.choice(foreign)
        shutil.copyfile(other, path)
        return Damage("index", "another index file instead", f"{other} as {path.name}")
    if whole < 0.25:
        shutil.rmtree(folder / INDEX_FOLDER)
        if chance.random() < 0.5:
            (folder / INDEX_FOLDER).mkdir()
        return Damage("index", "all index files missing", "")
    if whole < 0.3:
        kinds = {_change(file, chance)[0] for file in files}
        return Damage("index", "every index file damaged", ", ".join(sorted(kinds)))
    kind, detail, replaced = _change(path, chance)
    return Damage("index", kind, f"{path.name}: {detail}", replaced=replaced)


def damage_log(folder: Path, base: Base, bases: Sequence[Base], chance: random.Random) -> Damage:
    """The write-ahead log; every state after a whole transaction is right."""
    path = folder / f"{DATABASE_FILE}-wal"
    if not path.exists():
        raise Refused
    if chance.random() < 0.15:  # of frames, which no other file has
        data = bytearray(path.read_bytes())
        frames = (len(data) - LOG_HEADER) // FRAME
        one, other = chance.sample(range(frames), 2)
        start, end = LOG_HEADER + one * FRAME, LOG_HEADER + other * FRAME
        data[start : start + FRAME], data[end : end + FRAME] = data[end : end + FRAME], data[start : start + FRAME]
        path.write_bytes(data)
        return Damage("log", "frames exchanged", f"{one} and {other} of {frames}", base.states)
    kind, detail, replaced = _change(path, chance)
    return Damage("log", kind, detail, base.states, replaced)


def damage_shared_memory(folder: Path, base: Base, bases: Sequence[Base], chance: random.Random) -> Damage:
    """The index of the log that SQLite keeps in shared memory: it is made anew from the log."""
    path = folder / f"{DATABASE_FILE}-shm"
    if not path.exists():
        raise Refused
    kind, detail, replaced = _change(path, chance)
    return Damage("shared memory", kind, detail, replaced=replaced)


def damage_database(folder: Path, base: Base, bases: Sequence[Base], chance: random.Random) -> Damage:
    """The database file: nothing can give lost bytes back, but nothing may be wrong in silence."""
    path = folder / DATABASE_FILE
    whole = chance.random()
    if whole < 0.03:
        shutil.copyfile(base.older / DATABASE_FILE, path)
        return Damage("database", "an older file instead", "", base.states)
    if whole < 0.06:
        other = chance.choice([one for one in bases if one is not base])
        shutil.copyfile(other.folder / DATABASE_FILE, path)
        return Damage("database", "another database's file instead", other.name, other.states)
    kind, detail, replaced = _change(path, chance)
    # Where nothing else is left of it, a lost file cannot be told from a database that was never made.
    log = folder / f"{DATABASE_FILE}-wal"
    traces = any((folder / INDEX_FOLDER).iterdir()) or (log.exists() and log.stat().st_size)
    made_anew: list[State] = [{}] if kind in ("emptied", "missing") and not traces else []
    return Damage("database", kind, detail, [*base.states, *made_anew], replaced)
