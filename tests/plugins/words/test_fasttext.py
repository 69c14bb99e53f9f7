"""fastText models: vectors of known and unknown words as the official program computes them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.plugins.words.models import cosines, embed, embedder, fasttext_bytes
from tests.shared import needs_shared, shared
from vecdb import EmbedderUnavailableError, ItemError
from vecdb_words.fasttext_binary import read_fasttext
from vecdb_words.subwords import subword_hashes

WORDS = ["the", "king", "queen"]
BUCKETS = 20
INPUTS = np.random.default_rng(3).standard_normal((len(WORDS) + BUCKETS, 4)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(fasttext_bytes(WORDS, INPUTS, buckets=BUCKETS))
    return path


def test_hashes_are_fnv_1a_with_signed_bytes() -> None:
    """Published FNV-1a of "a" and "foobar"; a byte above 127 is sign-extended, as the official program does."""
    assert subword_hashes("foobar", 6, 6)[1] == 0xBF9CF968
    assert subword_hashes("a", 1, 1) == [0xE40C292C]  # "<" and ">" alone are no n-grams
    value = 2166136261
    for byte in "é".encode():
        value = ((value ^ (byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    assert subword_hashes("é", 1, 1) == [value]
    assert subword_hashes("</s>", 1, 5) == []
    assert subword_hashes("word", 3, 0) == []


@needs_shared("fasttext-ko")
def test_the_official_vectors_of_a_korean_model() -> None:
    """Words of the vocabulary and others, their rows and vectors, from official fastText 0.9.2."""
    golden = json.loads(shared("fasttext-ko", "golden.json").read_text(encoding="utf-8"))
    path = shared("fasttext-ko", "nsmc-ko-skipgram-48d.bin")
    model = read_fasttext(path)
    made = embedder("fasttext", model=path, pooling="mean")
    assert len(model.index) == golden["vocabulary"]
    for expected in golden["words"]:
        word = expected["word"]
        assert (word in model.index) == expected["in_vocabulary"]
        assert model.rows(word) == expected["subword_rows"]
        np.testing.assert_allclose(embed(made, [word])[0], expected["vector"], atol=1e-5)


@needs_shared("fasttext-ko")
def test_an_unseen_korean_word_lands_by_its_parts() -> None:
    made = embedder("fasttext", model=shared("fasttext-ko", "nsmc-ko-skipgram-48d.bin"))
    unseen, alike, other = embed(made, ["재미있었읍니다", "재미있었습니다", "배우"])
    assert cosines(unseen[None], alike[None])[0] > 0.8
    assert cosines(unseen[None], other[None])[0] < 0.5


def test_weights_come_from_the_counts(model: Path) -> None:
    """SIF by hand: counts 30, 20, 10 of 90 words."""
    made = embedder("fasttext", model=model, sif_a=0.1)
    file = read_fasttext(model)
    means = [INPUTS[file.rows(word)].mean(0) for word in ("the", "queen")]
    weights = [0.1 / (0.1 + 30 / 90), 0.1 / (0.1 + 10 / 90)]
    expected = (weights[0] * means[0] + weights[1] * means[1]) / sum(weights)
    np.testing.assert_allclose(embed(made, ["the queen"])[0], expected, rtol=1e-5)


def test_every_cut_is_refused(model: Path) -> None:
    """Up to the end of the input matrix; the output matrix is not read."""
    whole = model.read_bytes()
    needed = len(whole) - 17 - 4 * 4 * len(WORDS)
    for length in range(needed):
        model.write_bytes(whole[:length])
        with pytest.raises(EmbedderUnavailableError):
            embedder("fasttext", model=model)
    model.write_bytes(whole[:needed])
    assert embedder("fasttext", model=model).dimension == 4


def test_a_flipped_byte_never_crashes(model: Path) -> None:
    """Whatever a damaged header says, the file is read or refused, within its memory."""
    whole = model.read_bytes()
    header = len(whole) - INPUTS.nbytes
    for position in range(header):
        damaged = bytearray(whole)
        damaged[position] ^= 0x80
        model.write_bytes(damaged)
        try:
            made = embedder("fasttext", model=model)
            embed(made, ["king kong"])
            made.close()
        except (EmbedderUnavailableError, ItemError):
            continue


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [(4, 10, "version 10"), (8, 0, "0 numbers"), (8, -5, "-5 numbers"), (64, 2**31 - 1, "words")],
)
def test_a_header_that_cannot_be(model: Path, position: int, value: int, message: str) -> None:
    content = bytearray(model.read_bytes())
    content[position : position + 4] = struct.pack("<i", value)
    model.write_bytes(content)
    with pytest.raises(EmbedderUnavailableError, match=message):
        embedder("fasttext", model=model)


def quantised(rows: int, dimension: int, *, norms: bool) -> tuple[bytes, np.ndarray]:
    """A product-quantised matrix of parts of two columns, and what it unpacks to."""
    random = np.random.default_rng(9)
    parts = (dimension + 1) // 2
    codes = random.integers(0, 256, (rows, parts), dtype=np.uint8)
    centroids = random.standard_normal(dimension * 256).astype(np.float32)
    last = dimension - 2 * (parts - 1)
    out = struct.pack("<?2qi", norms, rows, dimension, codes.size) + codes.tobytes()
    out += struct.pack("<4i", dimension, parts, 2, last) + centroids.tobytes()
    matrix = np.empty((rows, dimension), np.float32)
    for row in range(rows):
        for part in range(parts):
            width = last if part == parts - 1 else 2
            start = part * 512 + int(codes[row, part]) * width
            matrix[row, 2 * part : 2 * part + width] = centroids[start : start + width]
    if norms:
        norm_codes = random.integers(0, 256, rows, dtype=np.uint8)
        norm_centroids = random.random(256).astype(np.float32)
        out += norm_codes.tobytes() + struct.pack("<4i", 1, 1, 1, 1) + norm_centroids.tobytes()
        matrix *= norm_centroids[norm_codes][:, None]
    return out, matrix


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("dimension", [4, 5])
def test_quantised_and_pruned(tmp_path: Path, norms: bool, dimension: int) -> None:
    """A .ftz model: only two n-gram buckets were kept, in swapped rows."""
    packed, matrix = quantised(len(WORDS) + 2, dimension, norms=norms)
    grams = [value % BUCKETS for value in subword_hashes("king", 2, 4)]
    first, second = sorted(set(grams))[:2]
    whole = fasttext_bytes(WORDS, np.zeros((len(WORDS) + BUCKETS, dimension)), buckets=BUCKETS)
    words_end = whole.index(b"queen\0") + 6 + 9
    content = bytearray(whole[:words_end]) + struct.pack("<4i", first, 1, second, 0) + b"\x01" + packed
    content[84:92] = struct.pack("<q", 2)  # two n-gram rows were kept
    path = tmp_path / "model.ftz"
    path.write_bytes(content)
    kept = {first: len(WORDS) + 1, second: len(WORDS)}
    expected = matrix[[1, *(kept[gram] for gram in grams if gram in kept)]].mean(0)
    np.testing.assert_allclose(embed(embedder("fasttext", model=path), ["king"])[0], expected, rtol=1e-5)
    for length in range(words_end, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(EmbedderUnavailableError):
            read_fasttext(path)


def test_close_lets_go_and_load_works_again(model: Path) -> None:
    made = embedder("fasttext", model=model)
    before = embed(made, ["king of queens"])
    made.close()
    made.close()
    made.load()
    np.testing.assert_array_equal(embed(made, ["king of queens"]), before)
