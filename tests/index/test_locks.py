"""The readers-writer lock: who may be inside together, and that nobody starves."""

from __future__ import annotations

import threading

import pytest

from vecdb.index.locks import ReadWriteLock

PATIENCE = 20  # seconds until a deadlock is called one


def start(target) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def test_readers_are_inside_together():
    lock = ReadWriteLock()
    meeting = threading.Barrier(3, timeout=PATIENCE)

    def read():
        with lock.read():
            meeting.wait()

    threads = [start(read) for _ in range(2)]
    with lock.read():
        meeting.wait()  # broken, and raises, if one of the three cannot come in
    for thread in threads:
        thread.join(PATIENCE)


def test_a_writer_is_alone():
    lock = ReadWriteLock()
    inside = {"readers": 0, "writers": 0}
    count = threading.Lock()
    seen: list[dict[str, int]] = []

    def work(kind: str):
        guard = lock.read() if kind == "readers" else lock.write()
        for _ in range(300):
            with guard:
                with count:
                    inside[kind] += 1
                    if inside["writers"] > 1 or (inside["writers"] and inside["readers"]):
                        seen.append(dict(inside))
                with count:
                    inside[kind] -= 1

    threads = [start(lambda kind=kind: work(kind)) for kind in ["readers"] * 3 + ["writers"] * 3]
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert seen == []


def test_a_waiting_writer_keeps_new_readers_out_and_gets_in():
    lock = ReadWriteLock()
    order: list[str] = []

    def write():
        with lock.write():
            order.append("write")

    def read():
        with lock.read():
            order.append("read")

    with lock.read():
        writer = start(write)
        while not lock._writers:
            pass
        reader = start(read)
        while not lock._waiting:
            pass
        assert order == []
    writer.join(PATIENCE)
    reader.join(PATIENCE)
    assert order == ["write", "read"]


def test_a_writer_that_comes_again_at_once_lets_waiting_readers_go_first():
    lock = ReadWriteLock()
    order: list[str] = []

    def read():
        with lock.read():
            order.append("read")

    with lock.write():
        readers = [start(read) for _ in range(2)]
        while lock._waiting < 2:
            pass
    with lock.write():
        order.append("second write")
    for reader in readers:
        reader.join(PATIENCE)
    assert order == ["read", "read", "second write"]


def test_an_error_inside_sets_the_lock_free():
    lock = ReadWriteLock()
    for guard in (lock.read, lock.write):
        with pytest.raises(RuntimeError, match="inside"), guard():
            raise RuntimeError("inside")
    with lock.write():
        pass
    with lock.read():
        pass


def test_a_writer_interrupted_while_waiting_does_not_block_readers(monkeypatch):
    lock = ReadWriteLock()

    def interrupted(timeout=None):
        raise KeyboardInterrupt

    with lock.read():
        with monkeypatch.context() as patch:
            patch.setattr(lock._changed, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt), lock.write():
                pass
        reader = start(lambda: lock.read().__enter__())
        reader.join(PATIENCE)
        assert not reader.is_alive()
