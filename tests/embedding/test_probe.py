"""What makes vectors comparable: fingerprint, environment and probe."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest

import vecdb
from tests.embedding.lengths import Config, Lengths, host_of
from vecdb.embedding import Embedded, probes_agree
from vecdb.embedding.probe import probe_items
from vecdb.errors import (
    EmbedderContractError,
    EmbedderUnavailableError,
    ItemError,
)


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


def test_an_encode_that_always_fails_is_the_plugins_fault():
    class Wrong(Lengths):
        def encode(self, batch):
            return np.ones((len(batch), 3))

    with pytest.raises(EmbedderContractError, match="plugin's author"):
        host_of(Wrong).probe()
