"""The life of an embedder in its host: made once, closed, used by threads, renewed after a fork."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from tests.embedding.lengths import INFO, Lengths, host_of
from vecdb.embedding import EmbedderHost
from vecdb.errors import (
    EmbedderContractError,
    EmbedderTimeoutError,
    EmbedderUnavailableError,
    InvalidInputError,
    PluginWarning,
)


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


@pytest.mark.parametrize("seconds", [None, 60.0])
@pytest.mark.parametrize("error", [OSError("half way"), MemoryError("half way"), KeyboardInterrupt("half way")])
def test_what_load_opened_before_it_failed_is_closed(error, seconds):
    class HalfWay(Lengths):
        def load(self):
            super().load()
            if not self.made[1:]:
                raise error

        def close(self):
            super().close()
            raise AttributeError("it was not even opened")

    host = host_of(HalfWay, timeout=seconds)
    with pytest.raises(EmbedderUnavailableError if isinstance(error, OSError) else type(error), match="half way"):
        host.embed(["a"])
    assert [made.closed for made in Lengths.made] == [1]
    assert host.embed(["a"]).errors == ()
    with pytest.warns(PluginWarning):
        host.close()


def test_an_embedder_without_a_dimension_is_closed():
    class Shapeless(Lengths):
        @property
        def dimension(self):
            raise RuntimeError("which model?")

    with host_of(Shapeless) as host, pytest.raises(EmbedderContractError, match="RuntimeError: which model"):
        host.embed(["a"])
    assert Lengths.made[0].closed == 1


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_close_that_raises_is_a_warning_and_takes_no_result(seconds):
    inside, go_on = threading.Event(), threading.Event()

    class Unclosable(Lengths):
        def encode(self, batch, role):
            inside.set()
            go_on.wait(10)
            return super().encode(batch, role)

        def close(self):
            super().close()
            raise OSError("still busy")

    host = host_of(Unclosable, timeout=seconds)
    found = []

    def embed():
        with pytest.warns(PluginWarning, match=r"'lengths' does not close \(OSError: still busy\); report it"):
            found.append(host.embed(["a"]))

    worker = threading.Thread(target=embed)
    worker.start()
    inside.wait(10)
    host.close()
    go_on.set()
    worker.join()
    assert found[0].errors == ()
    host.close()
    assert [made.closed for made in Lengths.made] == [1]
    assert host.embed(["a"]).errors == ()  # and another one works
    with pytest.warns(PluginWarning):
        host.close()


def test_an_embedder_may_write_its_next_result_into_the_same_array():
    class Reuses(Lengths):
        output = np.zeros((4, 3), np.float32)

        def encode(self, batch, role):
            self.output[: len(batch)] = super().encode(batch, role)
            return self.output[: len(batch)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with host_of(Reuses) as host:
            host.embed(["a"])
            results = {}

            def embed(n):
                results[n] = host.embed([f"{'a' * n}{i:03}" for i in range(200)]).vectors[:, 0]

            threads = [threading.Thread(target=embed, args=(n,)) for n in range(1, 5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert {n: set(lengths.tolist()) for n, lengths in results.items()} == {n: {n + 3} for n in range(1, 5)}


def test_after_a_fork_the_child_waits_for_no_thread_of_its_parent():
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    release = threading.Event()

    class SlowToLoad(Lengths):
        def load(self):
            if len(self.made) == 1:
                release.wait(60)
            super().load()

    host = host_of(SlowToLoad, timeout=0.3)
    with pytest.raises(EmbedderTimeoutError):
        host.embed(["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while there are threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if host.embed(["bbb"]).check()[0, 0] == 3 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    host.close()
