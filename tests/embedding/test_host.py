"""The life of an embedder in its host: made once, closed, used by threads, renewed after a fork."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from tests.embedding.lengths import INFO, Lengths, host_of
from vecdb.embedding import EmbedderHost
from vecdb.errors import EmbedderUnavailableError, InvalidInputError


def test_it_is_made_and_loaded_once_on_first_use():
    host = host_of()
    assert host.fingerprint().startswith("vf1:")
    assert [made.loads for made in Lengths.made] == [0]
    host.embed(["a"])
    host.embed(["b"])
    assert host.dimension == 3
    assert [made.loads for made in Lengths.made] == [0, 1]
    host.close()
    host.close()
    assert [made.closed for made in Lengths.made] == [0, 1]
    assert host.embed(["a"]).errors == ()
    host.close()


def test_secrets_are_revealed_to_the_embedder_only(monkeypatch):
    with host_of() as host:
        host.embed(["a"])
        assert Lengths.made[0].config.token == "opened"
        assert host.config.token == "env:VECDB_TEST_TOKEN"
    monkeypatch.delenv("VECDB_TEST_TOKEN")
    with pytest.raises(InvalidInputError, match="VECDB_TEST_TOKEN"):
        host.embed(["a"])


def test_without_a_file_to_spare_its_environment_is_an_error_of_vecdb(monkeypatch):
    def refuse(name):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("importlib.metadata.version", refuse)
    with host_of() as host, pytest.raises(EmbedderUnavailableError, match="Too many open files; close files"):
        host.environment()


def test_closing_waits_for_the_calls_under_way():
    inside, go_on = threading.Event(), threading.Event()

    class Waits(Lengths):
        def encode(self, batch, role):
            inside.set()
            go_on.wait(10)
            assert not self.closed
            return super().encode(batch, role)

    host = host_of(Waits)
    found = []
    worker = threading.Thread(target=lambda: found.append(host.embed(["a"])))
    worker.start()
    inside.wait(10)
    host.close()
    assert Lengths.made[0].closed == 0
    go_on.set()
    worker.join()
    assert found[0].errors == ()
    assert Lengths.made[0].closed == 1


def test_threads_load_one_embedder_and_encode_one_at_a_time():
    inside = []

    class Alone(Lengths):
        def load(self):
            time.sleep(0.02)
            super().load()

        def encode(self, batch, role):
            inside.append(1)
            time.sleep(0.001)
            assert inside.pop() == 1
            assert not inside
            return super().encode(batch, role)

    results = []
    with host_of(Alone) as host:
        threads = [
            threading.Thread(target=lambda n=n: results.append(host.embed([f"text {n} {i}" for i in range(20)])))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [result.errors for result in results] == [()] * 4
    assert len(Lengths.made) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_has_an_embedder_of_its_own():
    host = host_of()
    host.embed(["a"])
    host._life._lock.acquire()  # another thread was inside at the moment of the fork
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ok = host.embed(["bbb"]).check()[0, 0] == 3 and len(Lengths.made) == 2 and Lengths.made[0].closed == 0
            status = 0 if ok else 2
        finally:
            os._exit(status)
    host._life._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(Lengths.made) == 1
    host.close()


def test_a_config_of_another_class_is_refused():
    with pytest.raises(InvalidInputError, match="needs a Config, not dict"):
        EmbedderHost(INFO, {"dimension": 3})
