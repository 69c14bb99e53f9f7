"""An embedder that does not come back: its caller does, in time, and goes on with a fresh one."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vecdb
from tests.embedding.lengths import Lengths, host_of
from vecdb.embedding import life
from vecdb.errors import EmbedderTimeoutError

SOUNDS = frozenset({"audio"})


@pytest.fixture(autouse=True)
def release():
    """Set when the test is over, so that what hangs ends."""
    event = threading.Event()
    Hangs.release = event
    Hangs.inside.clear()
    Hangs.places = {"encode"}
    yield event
    event.set()


class Hangs(Lengths):
    """Hangs in some of its methods, over items that say so; `load` and `close` always, if at all."""

    places: set[str] = set()
    inside = threading.Event()
    release = threading.Event()

    def hang(self, place, item="hang"):
        if place in self.places and "hang" in (item if isinstance(item, str) else str(item.data)):
            self.inside.set()
            self.release.wait(60)

    def load(self):
        self.hang("load")
        super().load()

    def close(self):
        self.hang("close")
        super().close()

    def prepare(self, item):
        self.hang("prepare", item)
        return super().prepare(item)

    def cost(self, prepared):
        return super().cost(prepared)

    def encode(self, batch, role):
        for item in batch:
            self.hang("encode", item)
        return super().encode(batch, role)


def test_without_a_timeout_no_thread_is_made_for_a_text(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", None)
    for seconds in (None, float("inf")):
        with host_of(timeout=seconds) as host:
            assert host.embed(["a", "poison", "unreadable", "b"]).errors
            assert host.embed(["query"], "query").check()[0, 0] == 5


def test_an_item_that_hangs_fails_alone(release):
    items = [f"text {n}" for n in range(11)]
    items[5] = "hang"
    with host_of(Hangs, timeout=1.0) as host:
        result = host.embed(items)
        assert [(error.index, error.stage) for error in result.errors] == [(5, "encode")]
        assert isinstance(result.errors[0].__cause__, EmbedderTimeoutError)
        assert (result.errors[0].__cause__.name, result.errors[0].__cause__.seconds) == ("lengths", 1.0)
        assert result.vectors[:, 0].tolist() == [0 if i == 5 else len(item) for i, item in enumerate(items)]
        assert [made.closed for made in Lengths.made] == [0, 0]  # that of its batch, and that of itself
        release.set()
    until = time.monotonic() + 30
    while [made.closed for made in Lengths.made] != [1, 1] and time.monotonic() < until:
        time.sleep(0.01)
    assert [made.closed for made in Lengths.made] == [1, 1]  # what came back after all is let go of


def test_a_batch_that_is_only_slow_is_made_smaller():
    class Slow(Lengths):
        def encode(self, batch, role):
            time.sleep(0.2 * len(batch))
            return super().encode(batch, role)

    with host_of(Slow, timeout=1.2, batch_size=8) as host:
        assert host.embed([f"text {n:02}" for n in range(16)]).errors == ()
    sizes = [len(batch) for made in Lengths.made for batch in made.calls]
    assert sizes.count(4) == 2
    assert len(Lengths.made) == 2


@pytest.mark.parametrize("sounds", [False, True], ids=["texts", "sounds on threads"])
def test_prepare_that_hangs_costs_its_item_only(sounds):
    Hangs.places = {"prepare"}
    items = [f"text {n}" for n in range(30)]
    items[3] = items[17] = "hang a"
    items[20] = "hang b"
    changes = {"timeout": 1.0}
    if sounds:
        items = [vecdb.Audio(item.encode()) for item in items]
        changes["modalities"] = SOUNDS
    with host_of(Hangs, **changes) as host:
        result = host.embed(items)
        assert [(error.index, error.stage) for error in result.errors] == [(n, "prepare") for n in (3, 17, 20)]
        assert "preparing this item took longer than 1 s" in str(result.errors[0])
        assert result.vectors.any(axis=1).tolist() == [i not in (3, 17, 20) for i in range(30)]


def test_a_thread_that_comes_back_late_prepares_nothing_more(release):
    Hangs.places = {"prepare"}

    class Writes(Hangs):
        def prepare(self, item):
            self.seen = [*getattr(self, "seen", []), item]
            return super().prepare(item)

    with host_of(Writes, timeout=0.5) as host:
        assert [error.index for error in host.embed(["a", "hang", "c", "d"]).errors] == [1]
        release.set()
        [late] = host._life._hanging
        until = time.monotonic() + 30
        while not late.ended and time.monotonic() < until:
            time.sleep(0.01)
        assert [made.seen for made in Lengths.made] == [["a", "hang"], ["c", "d"]]
        assert len(late.results) == 1


def test_nobody_enters_an_embedder_in_which_another_thread_hangs():
    inside, both = [], []

    class Alone(Hangs):
        def encode(self, batch, role):
            if self in inside:
                both.append(batch)
            inside.append(self)
            rows = super().encode(batch, role)
            inside.remove(self)
            return rows

    with host_of(Alone, timeout=1.0) as host:
        hung = threading.Thread(target=host.embed, args=(["hang"],))
        hung.start()
        Hangs.inside.wait(60)
        results = []
        others = [threading.Thread(target=lambda n=n: results.append(host.embed([f"text {n}"]))) for n in range(3)]
        for thread in others:
            thread.start()
        for thread in [hung, *others]:
            thread.join(60)
        assert [result.errors for result in results] == [()] * 3
        assert both == []
        assert len(Lengths.made) == 2


def test_a_batch_that_hangs_does_not_condemn_what_is_being_prepared(release):
    """A lock inside the embedder is held by the encode that hangs, and `prepare` needs it."""

    class Locked(Hangs):
        def __init__(self, config):
            super().__init__(config)
            self.inner = threading.Lock()

        def prepare(self, item):
            if item.data.startswith(b"later"):
                self.inside.wait(60)
            with self.inner:
                return item

        def encode(self, batch, role):
            with self.inner:
                for item in batch:
                    self.hang("encode", item)
            return np.ones((len(batch), 3))

    first = [b"hang", *(b"%d" % n for n in range(7))]
    items = [vecdb.Audio(data) for data in [*first, *(b"later %d" % n for n in range(8))]]
    with host_of(Locked, timeout=1.0, modalities=SOUNDS) as host:
        result = host.embed(items)
        assert [error.index for error in result.errors] == [0]
        release.set()


def test_a_call_gives_up_after_six():
    with host_of(Hangs, timeout=0.2) as host:
        with pytest.raises(EmbedderTimeoutError, match="loaded anew 6 times in this call, which gives up") as caught:
            host.embed([f"hang {n}" for n in range(20)])
        assert (caught.value.name, caught.value.seconds) == ("lengths", 0.2)
        assert len(Lengths.made) == 7


def test_no_more_threads_are_left_hanging_than_can_be_borne(monkeypatch, release):
    monkeypatch.setattr(life, "_MOST_HANGING", 2)
    with host_of(Hangs, timeout=0.5) as host:
        for item in ("hang a", "hang b"):
            assert host.embed([item]).errors
        for _ in range(3):
            with pytest.raises(EmbedderTimeoutError, match="2 calls hang and have not come back; restart the process"):
                host.embed(["a"])
        assert len(Lengths.made) == 2
        release.set()
        until = time.monotonic() + 30
        while any(not one.ended for one in host._life._hanging) and time.monotonic() < until:
            time.sleep(0.01)
        assert host.embed(["a"]).errors == ()


def test_a_load_that_takes_long_goes_on_for_the_next_call(release):
    Hangs.places = {"load"}
    with host_of(Hangs, timeout=0.4) as host:
        for call in (lambda: host.embed(["a"]), lambda: host.dimension):
            with pytest.raises(EmbedderTimeoutError, match=r"not loaded after 0\.4 s; it goes on loading"):
                call()
        assert len(Lengths.made) == 1
        release.set()
        until = time.monotonic() + 30
        while host._life.loaded is None and time.monotonic() < until:
            time.sleep(0.01)
        assert host.embed(["a"]).errors == ()
        assert [made.loads for made in Lengths.made] == [1]


def test_what_is_loaded_for_a_host_that_was_closed_meanwhile_is_closed(release):
    Hangs.places = {"load"}
    host = host_of(Hangs, timeout=0.2)
    with pytest.raises(EmbedderTimeoutError):
        host.embed(["a"])
    host.close()
    release.set()
    until = time.monotonic() + 30
    while not Lengths.made[0].closed and time.monotonic() < until:
        time.sleep(0.01)
    assert [made.closed for made in Lengths.made] == [1]
    assert host.embed(["a"]).errors == ()
    assert len(Lengths.made) == 2
    host.close()


def test_a_load_that_fails_fails_for_all_who_wait_and_is_tried_again():
    gate = threading.Event()

    class Fails(Lengths):
        def load(self):
            gate.wait(60)
            if len(self.made) == 1:
                raise OSError("no such file")

    outcomes = []

    def embed():
        try:
            outcomes.append(host.embed(["a"]).errors)
        except vecdb.EmbedderUnavailableError as error:
            outcomes.append(str(error))

    with host_of(Fails, timeout=60.0) as host:
        threads = [threading.Thread(target=embed) for _ in range(2)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while host._life._loading is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)  # both wait
        gate.set()
        for thread in threads:
            thread.join(60)
        assert len(outcomes) == 2
        assert any("no such file" in str(outcome) for outcome in outcomes)
        assert host.embed(["a"]).errors == ()


def test_close_that_hangs_holds_nothing_up():
    Hangs.places = {"close"}
    host = host_of(Hangs, timeout=0.3)
    assert host.embed(["a"]).errors == ()
    with pytest.warns(vecdb.PluginWarning, match=r"'lengths' does not close \(takes longer than 0\.3 s\)"):
        host.close()
    with host_of(timeout=0.3) as another:
        assert another.embed(["a"]).errors == ()


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_what_a_plugin_raises_is_the_same_on_a_thread(seconds):
    class Raises(Lengths):
        def encode(self, batch, role):
            raise {"interrupt": KeyboardInterrupt, "exit": SystemExit, "memory": MemoryError}[batch[0]]

    with host_of(Raises, timeout=seconds) as host:
        for text, error in (("interrupt", KeyboardInterrupt), ("exit", SystemExit), ("memory", MemoryError)):
            with pytest.raises(error):
                host.embed([text])


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: the workers of pytest-xdist leave it to their parent."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("place", ["load", "encode", "prepare"])
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_wait_for_what_hangs(place, release):
    Hangs.places = {place}
    interrupted = threading.Thread(target=lambda: (Hangs.inside.wait(60), time.sleep(0.2), _thread.interrupt_main()))
    with host_of(Hangs, timeout=50.0) as host:
        interrupted.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            host.embed(["hang"])
        assert time.monotonic() - begin < 30
        Hangs.places = set()
        if place == "load":
            release.set()
        assert host.embed(["hang"]).errors == ()
        assert len(Lengths.made) == (1 if place == "load" else 2)  # none in which a thread still is


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_wait_for_media_without_a_timeout_too():
    Hangs.places = {"prepare"}
    interrupted = threading.Thread(target=lambda: (Hangs.inside.wait(60), time.sleep(0.2), _thread.interrupt_main()))
    with host_of(Hangs, modalities=SOUNDS) as host:
        interrupted.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            host.embed([vecdb.Audio(b"hang"), vecdb.Audio(b"good")])
        assert time.monotonic() - begin < 30


def test_the_interpreter_exits_while_threads_hang():
    program = """
        import threading, time
        import vecdb
        from tests.embedding.lengths import Lengths, host_of

        class Stuck(Lengths):
            def prepare(self, item):
                if isinstance(item, vecdb.Audio) and item.data == b"hang":
                    time.sleep(1000)
                return "text" if isinstance(item, vecdb.Audio) else item

            def encode(self, batch, role):
                if "hang" in batch:
                    time.sleep(1000)
                return super().encode(batch, role)

        host = host_of(Stuck, timeout=0.5, modalities=frozenset({"text", "audio"}))
        print(len(host.embed(["good", "hang", vecdb.Audio(b"hang"), vecdb.Audio(b"good")]).errors))
        host.close()
        print(sum(thread.name.startswith("vecdb-") for thread in threading.enumerate()))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "VECDB_TEST_TOKEN": "opened"},
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    failed, hanging = map(int, run.stdout.split())
    assert failed == 2
    assert hanging >= 2


def test_threads_that_embed_while_some_items_hang_get_their_own_vectors():
    outcomes = {}

    def embed(n):
        items = [f"{'a' * n} {i}" for i in range(12)]
        items[n] = f"hang {n}" if n < 2 else items[n]
        outcomes[n] = (items, host.embed(items))

    with host_of(Hangs, timeout=1.0) as host:
        threads = [threading.Thread(target=embed, args=(n,)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    for n, (items, result) in outcomes.items():
        assert [error.index for error in result.errors] == ([n] if n < 2 else [])
        expected = [0 if "hang" in item else len(item) for item in items]
        assert result.vectors[:, 0].tolist() == expected
