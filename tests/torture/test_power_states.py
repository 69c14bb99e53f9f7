"""What the simulation of power losses may lose, and what it must keep."""

from __future__ import annotations

import random

import pytest

from tests.torture.power_states import Disk, Loss
from tests.torture.shim import Kind, Step

ALL = ("none", "all", "prefix", "subset", "sectors", "garbage")


class Trace:
    """Steps in a folder, and what states they may leave."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "root"
        self.root.mkdir()
        (self.root / "old").write_bytes(b"old")
        self.disk = Disk(self.root)
        self.files = 0
        self.target = tmp_path / "state"

    def do(self, kind, path="", file=0, offset=0, data=b""):
        full = str(self.root / path).rstrip("/") if path or kind in (Kind.OPEN,) else ""
        self.disk.follow(Step(kind, file, offset, full, data))

    def create(self, path):
        self.files += 1
        self.do(Kind.CREATE, path, self.files)
        return self.files

    def sync_folder(self, path=""):
        self.files += 1
        self.do(Kind.OPEN, path, self.files)
        self.do(Kind.SYNC, file=self.files)

    def left(self, *, strict, contents=ALL, tries=60):
        """Every state seen: frozensets of (name, content)."""
        found = set()
        for number in range(tries):
            for content in contents:
                self.disk.write(self.target, Loss(strict, content, 512), random.Random(number))
                files = [path for path in self.target.rglob("*") if path.is_file()]
                found.add(frozenset((path.relative_to(self.target).as_posix(), path.read_bytes()) for path in files))
        return found


@pytest.fixture
def trace(tmp_path):
    return Trace(tmp_path)


OLD = ("old", b"old")


@pytest.mark.parametrize("strict", [False, True])
def test_what_was_not_synced_is_there_or_not(trace, strict):
    new = trace.create("new")
    trace.do(Kind.WRITE, file=new, data=b"x" * 600)
    left = trace.left(strict=strict, contents=("none", "all", "prefix"))
    torn = ("new", b"x" * 512)
    assert left == {frozenset(s) for s in ([OLD], [OLD, ("new", b"")], [OLD, torn], [OLD, ("new", b"x" * 600)])}


def test_a_synced_file_has_its_content_and_in_a_journal_its_name(trace):
    new = trace.create("new")
    trace.do(Kind.WRITE, file=new, data=b"data")
    trace.do(Kind.SYNC, file=new)
    assert trace.left(strict=False) == {frozenset([OLD, ("new", b"data")])}
    assert trace.left(strict=True) == {frozenset([OLD]), frozenset([OLD, ("new", b"data")])}
    trace.sync_folder()
    assert trace.left(strict=True) == {frozenset([OLD, ("new", b"data")])}


def test_a_name_is_only_as_durable_as_the_folders_above_it(trace):
    trace.do(Kind.MKDIR, "inner")
    trace.create("inner/new")
    trace.sync_folder("inner")
    assert trace.left(strict=True) == {frozenset([OLD]), frozenset([OLD, ("inner/new", b"")])}
    trace.sync_folder()
    assert trace.left(strict=True) == {frozenset([OLD, ("inner/new", b"")])}


def test_names_in_a_journal_arrive_in_order_and_else_in_any(trace):
    trace.create("a")
    trace.do(Kind.UNLINK, "old")
    a = ("a", b"")
    in_order = {frozenset([OLD]), frozenset([OLD, a]), frozenset([a])}
    assert trace.left(strict=False) == in_order
    assert trace.left(strict=True) == in_order | {frozenset()}


def test_a_rename_arrives_whole_or_not(trace):
    trace.do(Kind.RENAME, "old", data=str(trace.root / "new").encode())
    for strict in (False, True):
        assert trace.left(strict=strict) == {frozenset([OLD]), frozenset([("new", b"old")])}


def test_in_a_journal_nothing_is_written_after_a_size_that_was_lost(trace):
    trace.files += 1
    trace.do(Kind.OPEN, "old", trace.files)
    trace.do(Kind.TRUNCATE, file=trace.files, offset=0)
    trace.do(Kind.WRITE, file=trace.files, data=b"n")
    contents = {dict(state)["old"] for state in trace.left(strict=False)}
    assert contents == {b"old", b"", b"n"}
    assert b"nld" in {dict(state)["old"] for state in trace.left(strict=True)}


def test_a_trace_that_leads_elsewhere_is_found(trace):
    assert trace.disk.differences() == []
    (trace.root / "old").write_bytes(b"new")
    (trace.root / "unseen").touch()
    trace.create("gone")
    assert len(trace.disk.differences()) == 3
