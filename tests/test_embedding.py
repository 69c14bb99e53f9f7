"""The host: bad items are set apart, batches fit, order is kept, and a broken embedder is told from a bad item."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import vecdb
from vecdb.embedding import Embedded, EmbedderHost, modality_of, probes_agree
from vecdb.embedding.content import MAX_TEXT_BYTES
from vecdb.embedding.probe import probe_items
from vecdb.errors import (
    DecodeError,
    EmbedderContractError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
    ItemError,
    LimitError,
    UnsupportedContentError,
)


@dataclass(frozen=True)
class Config:
    dimension: int = vecdb.option(3, help="length of the vectors")
    token: str = vecdb.option("env:VECDB_TEST_TOKEN", affects="secret", help="a secret")
    device: str = vecdb.option("cpu", affects="runtime", help="no matter")
    model: Path | None = vecdb.option(None, affects="location", help="a file")


class Lengths(vecdb.Embedder):
    """(length, number of a's, 1) of a text; it writes down what the host does with it."""

    made: list[Lengths] = []
    capacity = 1000  # items that fit into memory

    def __init__(self, config):
        super().__init__(config)
        self.calls = []
        self.loads = 0
        self.closed = 0
        self.made.append(self)

    def load(self):
        self.loads += 1

    def close(self):
        self.closed += 1

    @property
    def dimension(self):
        return self.config.dimension

    def weights(self):
        return [self.config.model] if self.config.model else []

    def prepare(self, item):
        if isinstance(item, str) and "unreadable" in item:
            raise ValueError("cannot read this")
        if isinstance(item, str) and "refused" in item:
            raise ItemError("it is refused")
        return item

    def cost(self, prepared):
        return len(prepared) if isinstance(prepared, str) else 1

    def encode(self, batch, role):
        self.calls.append(list(batch))
        if len(batch) > self.capacity:
            raise MemoryError
        if any(item == "poison" for item in batch):
            raise RuntimeError("poisoned")
        rows = []
        for item in batch:
            text = item if isinstance(item, str) else item.name if isinstance(item, Path) else "sound"
            row = [len(text), text.count("a"), 2.0 if role == "query" else 1.0]
            rows.append([0, 0, 0] if text == "nothing" else [np.nan, 1, 1] if text == "nan" else row)
        return np.array(rows, np.float64)


INFO = vecdb.EmbedderInfo(
    name="lengths", summary="for the tests", modalities=frozenset({"text"}), config=Config,
    factory=f"{__name__}:Lengths", batch_size=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setenv("VECDB_TEST_TOKEN", "opened")
    Lengths.made.clear()


def host_of(factory=Lengths, *, config=None, **changes):
    """A host of this embedder class, made known to the module so that the factory finds it."""
    globals()[factory.__name__] = factory
    return EmbedderHost(replace(INFO, factory=f"{__name__}:{factory.__name__}", **changes), config or Config())


# --- the result -----------------------------------------------------------------------------------


def test_row_i_is_item_i_whatever_the_batches():
    items = [f"text {'a' * (n * 7 % 11)} {n}" for n in range(23)]
    with host_of() as host:
        result = host.embed(items)
    assert result.vectors.shape == (23, 3)
    assert result.vectors.dtype == np.float32
    assert result.vectors.flags.c_contiguous
    assert result.vectors[:, 0].tolist() == [len(item) for item in items]
    assert result.check() is result.vectors
    [made] = Lengths.made
    costs = [[len(text) for text in batch] for batch in made.calls]
    assert [len(batch) for batch in costs] == [4, 4, 4, 4, 4, 3]
    flat = [cost for batch in costs for cost in batch]
    assert flat == sorted(flat, reverse=True)


def test_nothing_gives_no_rows_and_no_call():
    with host_of() as host:
        assert host.embed([]).vectors.shape == (0, 3)
        assert host.embed(["", " "]).vectors.shape == (2, 3)
        assert host.embed(["", " "]).vectors.any() == np.False_
    assert Lengths.made[0].calls == []


def test_equal_items_are_embedded_once_and_fail_alike():
    with host_of() as host:
        result = host.embed(["aa", "unreadable", "b", "aa", "unreadable", "aa"])
    assert Lengths.made[0].calls == [["aa", "b"]]
    assert result.vectors[:, 0].tolist() == [2, 0, 1, 2, 0, 2]
    assert [error.index for error in result.errors] == [1, 4]


def test_cosine_scales_to_length_one_and_leaves_failed_rows_zero():
    with host_of() as host:
        result = host.embed(["aa", "unreadable", "bbb"], metric="cosine")
        plain = host.embed(["aa", "bbb"], metric="l2").check()
    assert np.linalg.norm(result.vectors, axis=1) == pytest.approx([1, 0, 1])
    assert plain.tolist() == [[2, 2, 1], [3, 0, 1]]


def test_the_role_reaches_the_embedder():
    with host_of() as host:
        assert host.embed(["a"], "query").vectors[0, 2] == 2
        assert host.embed(["a"]).vectors[0, 2] == 1
        with pytest.raises(InvalidInputError, match="'document' or 'query'"):
            host.embed(["a"], "passage")


def test_one_text_is_not_a_list_of_its_letters():
    with host_of() as host, pytest.raises(InvalidInputError, match="list"):
        host.embed("abc")


def test_a_window_bounds_what_is_prepared_ahead():
    seen = []

    class Windowed(Lengths):
        def prepare(self, item):
            seen.append(len(self.calls))
            return item

    with host_of(Windowed) as host:
        host.embed([f"text {n}" for n in range(300)])
    assert seen[:128] == [0] * 128  # 32 batches of 4
    assert min(seen[128:]) == 32


def test_progress_ends_at_the_number_of_items():
    steps = []
    with host_of() as host:
        items = [*(f"text {n}" for n in range(9)), "unreadable", "text 0"]
        host.embed(items, progress=lambda done, total: steps.append((done, total)))
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert steps[-1] == (11, 11)
    assert {total for _, total in steps} == {11}


# --- items that fail ------------------------------------------------------------------------------


def test_each_bad_item_fails_alone_with_its_stage_and_cause():
    items = ["good a", "unreadable", "poison", "nan", "refused", "nothing", "", "good b", "x\0", b"bytes"]
    with host_of() as host:
        result = host.embed(items)
    assert [(error.index, error.stage) for error in result.errors] == [
        (1, "prepare"),
        (2, "encode"),
        (3, "encode"),
        (4, "prepare"),
        (5, "encode"),
        (6, "prepare"),
        (8, "prepare"),
        (9, "prepare"),
    ]
    words = ["ValueError: cannot read this", "RuntimeError: poisoned", "NaN or infinity", "it is refused"]
    words += ["nothing in this item is known", "is empty", "NUL character at position 1", "bytes"]
    for error, word in zip(result.errors, words, strict=True):
        assert word in str(error)
        assert error.__cause__ is not None
    assert isinstance(result.errors[0].__cause__, ValueError)
    assert result.vectors.any(axis=1).tolist() == [i in (0, 7) for i in range(10)]


def test_check_raises_with_every_error():
    with host_of() as host:
        result = host.embed(["fine", "unreadable", "refused"])
    with pytest.raises(EmbeddingError, match=r"^2 of 3 items .* item 1: ValueError: cannot read this") as found:
        result.check()
    assert found.value.errors == result.errors
    assert str(found.value).endswith("leave them out")
    assert found.value.__cause__ is result.errors[0]


def test_a_bad_item_is_found_by_halving():
    items = [f"text {n}" for n in range(31)] + ["poison"]
    with host_of(batch_size=32) as host:
        result = host.embed(items)
    assert [error.index for error in result.errors] == [31]
    assert len(Lengths.made[0].calls) == 1 + 2 * 5  # 32, then twice 16, 8, 4, 2, 1


def test_a_number_too_large_for_float32_is_not_stored():
    class Large(Lengths):
        def encode(self, batch, role):
            return np.full((len(batch), 3), 1e39)

    with host_of(Large) as host:
        assert "infinity" in str(host.embed(["a"]).errors[0])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("items", [["stop"], [Path("stop.txt"), Path("more.txt")]], ids=["inline", "on threads"])
def test_what_is_not_the_items_fault_passes(error, items, tmp_path):
    class Stops(Lengths):
        def prepare(self, item):
            raise error

    for item in items:
        if isinstance(item, Path):
            (tmp_path / item).write_text("stop")
    with host_of(Stops) as host, pytest.raises(error):
        host.embed([tmp_path / item if isinstance(item, Path) else item for item in items])


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered():
    class Small(Lengths):
        capacity = 3

    with host_of(Small, batch_size=16) as host:
        result = host.embed([f"text {n:02}" for n in range(40)])
    assert result.errors == ()
    sizes = [len(batch) for batch in Lengths.made[0].calls]
    assert sizes[:4] == [16, 8, 4, 2]
    assert sizes.count(16) == 1
    assert max(sizes[-12:]) == 2


def test_one_item_that_does_not_fit_is_memory_error_not_a_bad_item():
    class Tiny(Lengths):
        capacity = 0

    with host_of(Tiny) as host, pytest.raises(MemoryError):
        host.embed(["a", "b"])


def test_a_device_out_of_memory_is_known_by_its_name():
    class OutOfMemoryError(RuntimeError):
        pass

    class OnDevice(Lengths):
        def encode(self, batch, role):
            if len(batch) > self.capacity:
                raise OutOfMemoryError("CUDA out of memory")
            return super().encode(batch, role)

    with host_of(OnDevice) as host:
        host.embed(["a"])
        Lengths.made[0].capacity = 2
        assert host.embed(["a", "b", "c", "d"]).errors == ()
        Lengths.made[0].capacity = 0
        with pytest.raises(EmbedderUnavailableError, match="one item does not fit") as found:
            host.embed(["a", "b"])
        assert isinstance(found.value.__cause__, OutOfMemoryError)


# --- an embedder that is broken -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda n: np.zeros((n, 4), np.float32), "(2, 4)"),
        (lambda n: np.ones((n - 1, 3), np.float32), "(1, 3)"),
        (lambda n: np.ones(3, np.float32), "(3,)"),
        (lambda n: np.ones((n, 3), np.int32), "int32"),
        (lambda n: [[1.0, 2.0, 3.0], [1.0]], "list"),
        (lambda n: None, "object"),
        (lambda n: [["a", "b", "c"]] * n, "<U1"),
    ],
)
def test_a_wrong_result_is_the_embedders_fault(returned, got):
    class Wrong(Lengths):
        def encode(self, batch, role):
            return returned(len(batch))

    with host_of(Wrong) as host, pytest.raises(EmbedderContractError, match="'lengths': encode must return") as found:
        host.embed(["a", "b"])
    assert got in found.value.details["got"]
    assert found.value.details["expected"] == "floats of shape (2, 3)"


@pytest.mark.parametrize("dimension", [0, -1, 2.0, True, None, 10**6])
def test_a_wrong_dimension_is_the_embedders_fault(dimension):
    class Wrong(Lengths):
        @property
        def dimension(self):
            return dimension

    with host_of(Wrong) as host, pytest.raises(EmbedderContractError, match="dimension"):
        host.embed(["a"])


def test_what_load_raises_says_which_embedder():
    class Fails(Lengths):
        def load(self):
            if not self.made[1:]:
                raise OSError("no such file")

    with host_of(Fails) as host:
        with pytest.raises(EmbedderUnavailableError, match="'lengths' cannot be loaded: OSError: no such f") as found:
            host.embed(["a"])
        assert isinstance(found.value.__cause__, OSError)
        assert host.embed(["a"]).errors == ()  # and it is tried again


def test_an_unavailable_embedder_is_not_a_bad_item():
    class Gone(Lengths):
        def encode(self, batch, role):
            raise EmbedderUnavailableError("the model file was removed; put it back")

    with host_of(Gone) as host, pytest.raises(EmbedderUnavailableError, match="put it back"):
        host.embed(["a", "b"])


# --- contents -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("a.png", "text"),
        (Path("a.png"), "image"),
        (Path("A.JPEG"), "image"),
        (Path("a.webp"), "image"),
        (Path("a.wav"), "audio"),
        (Path("a.flac"), "audio"),
        (Path("a.opus"), "audio"),
        (Path("a.ogg"), "audio"),
        (Path("a.txt"), "text"),
        (Path("a.md"), "text"),
        (Path("a.rst"), "text"),
        (Path("a.csv"), "text"),
        (Path("a.html"), "text"),
        (Path("a.py"), "text"),
        (Path("a.json"), "text"),
        (Path("a.mp4"), None),
        (Path("a"), None),
        (vecdb.Image(b"x"), "image"),
        (vecdb.Audio(b"x"), "audio"),
        (b"x", None),
        (1, None),
        (None, None),
    ],
)
def test_modality_of(item, kind):
    assert modality_of(item) == kind


@pytest.mark.parametrize(
    ("takes", "item"),
    [
        ({"text"}, Path("a.png")),
        ({"text"}, Path("unknown")),
        ({"text"}, vecdb.Image(b"x")),
        ({"text"}, b"bytes"),
        ({"text"}, None),
        ({"image"}, "a.png"),
        ({"image"}, Path("a.txt")),
        ({"image"}, vecdb.Audio(b"x")),
        ({"image", "audio"}, Path("unknown")),
        ({"ids"}, Path("a.txt")),
    ],
)
def test_what_an_embedder_does_not_take_is_refused_before_any_work(takes, item):
    host = host_of(modalities=frozenset(takes))
    with pytest.raises(UnsupportedContentError, match="embedder 'lengths' takes"):
        host.check_content(item)
    assert Lengths.made == []


@pytest.mark.parametrize(
    ("takes", "item"),
    [
        ({"text"}, "text"),
        ({"ids"}, "key"),
        ({"text"}, Path("a.txt")),
        ({"image"}, Path("a.png")),
        ({"image"}, Path("unknown")),
        ({"audio", "text"}, Path("unknown.xyz")),
        ({"image", "text"}, "text"),
    ],
)
def test_what_an_embedder_takes(takes, item):
    host_of(modalities=frozenset(takes)).check_content(item)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), (" \n\u3000", "whitespace"), ("ab\0", "position 2"), ("ab\ud800c", "position 2")],
)
def test_text_that_means_nothing_is_refused(text, words):
    with pytest.raises(InvalidInputError, match=words):
        host_of().check_content(text, what="the query")


def test_a_text_file_is_read_as_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffnaïve".encode())
    with host_of() as host:
        assert host.embed([path]).check()[0, 0] == 5
    assert Lengths.made[0].calls == [["naïve"]]


@pytest.mark.parametrize(
    ("data", "cause", "words"),
    [
        (b"caf\xe9", DecodeError, "not UTF-8 (byte 3)"),
        (b"", InvalidInputError, "empty"),
        (b"a\0b", InvalidInputError, "NUL"),
        (b"a" * (MAX_TEXT_BYTES + 1), LimitError, "10 MB"),
        (None, DecodeError, "does not exist"),
        ("pipe", DecodeError, "not a regular file"),
        ("folder", DecodeError, "not a regular file"),
    ],
    ids=["latin-1", "empty", "binary", "large", "missing", "pipe", "folder"],
)
def test_a_text_file_that_cannot_be_read_fails_alone(tmp_path, data, cause, words):
    path = tmp_path / "a.txt"
    if data == "pipe":
        os.mkfifo(path)
    elif data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    good = tmp_path / "good.txt"
    good.write_text("good")
    with host_of() as host:
        result = host.embed([path, good, "text"])
    [error] = result.errors
    assert error.index == 0
    assert isinstance(error.__cause__, cause)
    assert words in str(error)
    assert str(path) in str(error)


def test_media_are_prepared_on_several_threads_in_their_order():
    threads = set()

    class Slow(Lengths):
        def prepare(self, item):
            threads.add(threading.current_thread().name)
            time.sleep(0.002)
            return item

        def cost(self, prepared):
            return 1

        def encode(self, batch, role):
            return np.array([[float(item.data.decode()), 1, 1] for item in batch])

    items = [vecdb.Audio(str(n + 1).encode()) for n in range(30)]
    with host_of(Slow, modalities=frozenset({"audio"})) as host:
        assert host.embed(items).check()[:, 0].tolist() == [n + 1 for n in range(30)]
    assert threads
    assert all(name.startswith("vecdb-prepare") for name in threads)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vecdb-prepare")]


# --- the embedder's life --------------------------------------------------------------------------


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
    host._lock.acquire()  # another thread was inside at the moment of the fork
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ok = host.embed(["bbb"]).check()[0, 0] == 3 and len(Lengths.made) == 2 and Lengths.made[0].closed == 0
            status = 0 if ok else 2
        finally:
            os._exit(status)
    host._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(Lengths.made) == 1
    host.close()


def test_a_config_of_another_class_is_refused():
    with pytest.raises(InvalidInputError, match="needs a Config, not dict"):
        EmbedderHost(INFO, {"dimension": 3})


# --- what makes vectors comparable ----------------------------------------------------------------


def test_the_fingerprint_sees_vector_options_and_weights_but_not_where_or_on_what(tmp_path):
    def of(**options):
        return host_of(config=Config(**options)).fingerprint()

    for folder, content in (("one", "weights"), ("two", "weights"), ("three", "others")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model").write_text(content)
    base = of(model=tmp_path / "one" / "model")
    assert base == of(model=tmp_path / "two" / "model", device="gpu", token="env:OTHER")
    assert base != of(model=tmp_path / "three" / "model")
    assert base != of(model=tmp_path / "one" / "model", dimension=4)
    with pytest.raises(EmbedderUnavailableError, match="does not exist"):
        of(model=tmp_path / "gone")


def test_the_environment_tells_what_the_fingerprint_leaves_out():
    found = host_of(requires=("pytest", "numpy")).environment()
    assert found["option device"] == '"cpu"'
    assert found["pytest"] == pytest.__version__
    assert found["numpy"] == np.__version__
    assert found["vecdb-engine"] == vecdb.__version__
    assert {"machine", "unicode"} <= set(found)
    assert not any("token" in name for name in found)


def test_a_probe_of_text_has_a_short_a_long_and_an_odd_item():
    with host_of() as host:
        short, long, odd = host.probe()
        assert short[0] < 100 < 5000 < long[0]
        assert odd is not None
        assert probes_agree([short, long, odd], host.probe())


def test_a_probe_marks_what_cannot_be_embedded():
    class Choosy(Lengths):
        def prepare(self, item):
            if len(item) > 1000:
                raise ItemError("too long")
            return item

    with host_of(Choosy) as host:
        assert [row is None for row in host.probe()] == [False, True, False]


def test_a_probe_sees_another_truncation():
    class Truncating(Lengths):
        def encode(self, batch, role):
            words = [item.split()[: self.config.dimension] for item in batch]
            return np.array([[text.count(letter) for letter in "eaoи水"] for text in map("".join, words)], float)

        @property
        def dimension(self):
            return 5

    def probe(words):
        with host_of(Truncating, config=Config(dimension=words)) as host:
            return host.probe()

    assert probes_agree(probe(100), probe(100))
    assert probes_agree(probe(100)[:1], probe(50)[:1])  # what a short item alone would say
    assert not probes_agree(probe(500), probe(20))


def test_probe_images_are_whole_png_files():
    sizes = []
    for item in probe_items("image"):
        data, chunks = item.data, {}
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        at = 8
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            body = data[at + 8 : at + 8 + length]
            assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
            chunks[kind] = body
            at += 12 + length
        assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
        width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        channels = {0: 1, 2: 3}[colour]
        pixels = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
        assert (depth, rest) == (8, [0, 0, 0])
        assert not pixels[:, 0].any()
        assert pixels[:, 1:].std() > 30
        sizes.append((width, height, channels))
    assert sizes == [(64, 64, 3), (1200, 900, 3), (37, 211, 1)]
    assert probe_items("image") == probe_items("image")


def test_probe_sounds_are_read_by_the_library():
    soundfile = pytest.importorskip("soundfile")
    sounds = [soundfile.read(io.BytesIO(item.data)) for item in probe_items("audio")]
    assert [(samples.shape, rate) for samples, rate in sounds] == [
        ((8000,), 16000),
        ((560000,), 16000),
        ((60417, 2), 44100),
    ]
    assert all(0.2 < np.abs(samples).max() < 1 for samples, _ in sounds)
    assert probe_items("audio") == probe_items("audio")


def test_ids_have_no_probe():
    with host_of(modalities=frozenset({"ids"})) as host:
        assert host.probe() == []
    assert Lengths.made == []


def test_probes_agree_only_if_every_cosine_is_near_one():
    a = np.array([1, 0], np.float32)
    near, far = np.array([1, 0.04], np.float32), np.array([1, 0.05], np.float32)  # cosines 0.9992 and 0.9988
    assert probes_agree([a, None], [near * 7, None])
    assert not probes_agree([a, a], [a, far])
    assert not probes_agree([a], [None])
    assert not probes_agree([None], [a])
    assert not probes_agree([a], [a, a])
    assert not probes_agree([a], [np.ones(3, np.float32)])


def test_a_result_without_errors_is_its_vectors():
    vectors = np.ones((2, 3), np.float32)
    assert Embedded(vectors).check() is vectors
