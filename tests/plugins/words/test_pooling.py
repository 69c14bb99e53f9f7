"""What the vectors are worth: word similarity, sentence similarity, and weights by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.plugins.words.models import VECTORS, WORDS, cosines, embed, embedder, spearman, text_bytes
from tests.shared import needs_shared, shared
from vecdb import EmbedderUnavailableError, InvalidInputError, ItemError
from vecdb_words.config import WordVectorConfig

GLOVE = "glove/glove.6B.50d.top20k.txt.gz"
SKIPGRAM = "word2vec/wordnet-skipgram-100d.bin"
CBOW = "word2vec/wordnet-cbow-100d.bin"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_bytes(text_bytes(header=False))
    return path


def test_sif_by_hand(model: Path) -> None:
    """Ten words sorted by frequency: that of rank r is 1 / (r + 2.7), over the sum of all."""
    frequencies = 1 / (np.arange(1, 11) + 2.7)
    frequencies /= frequencies.sum()
    weights = 0.01 / (0.01 + frequencies[[0, 1, 3]])
    expected = weights @ VECTORS[[0, 1, 3]] / weights.sum()
    made = embedder("glove", model=model, sif_a=0.01)
    np.testing.assert_allclose(embed(made, ["The king: potato!"])[0], expected, rtol=1e-5)


def test_frequencies_from_a_file(model: Path, tmp_path: Path) -> None:
    counts = tmp_path / "counts.txt"
    counts.write_text("the 60\nking\t30\nunrelated 10\n", encoding="utf-8")
    made = embedder("glove", model=model, frequencies=counts, sif_a=0.1)
    weights = 0.1 / (0.1 + np.array([0.6, 0.3, 0.1]))  # "queen" is not in the file: as its rarest word
    expected = weights @ VECTORS[:3] / weights.sum()
    np.testing.assert_allclose(embed(made, ["the king queen"])[0], expected, rtol=1e-5)
    assert list(made.weights()) == [model, counts]
    counts.write_text("the 60\nking many\n", encoding="utf-8")
    with pytest.raises(EmbedderUnavailableError, match="line 2 is not a word and its count; write 'word count'"):
        embedder("glove", model=model, frequencies=counts)


def test_all_but_the_top_takes_directions_out(model: Path) -> None:
    """After it, the vocabulary has mean zero and no part in its former main directions."""
    single = [row for row, word in enumerate(WORDS) if " " not in word]
    words = [WORDS[row] for row in single]
    plain = embed(embedder("glove", model=model, remove_components=0), words)
    np.testing.assert_allclose(plain, VECTORS[single], rtol=1e-6)
    cleaned = embed(embedder("glove", model=model, remove_components=2), words)
    centred = VECTORS.astype(float) - VECTORS.mean(0)
    top = np.linalg.svd(centred, full_matrices=False)[2][:2]
    np.testing.assert_allclose(cleaned @ top.T, 0, atol=1e-5)
    np.testing.assert_allclose(cleaned, (centred - centred @ top.T @ top)[single], atol=1e-5)


def test_a_long_text_is_pooled_in_blocks(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = embedder("glove", model=model)
    text = "the king and the queen drink water " * 50
    whole = embed(made, [text])
    monkeypatch.setattr("vecdb_words.pooling._BLOCK_ROWS", 7)
    np.testing.assert_allclose(embed(made, [text]), whole, rtol=1e-5)


def test_a_text_without_known_words_fails_alone(model: Path) -> None:
    made = embedder("glove", model=model)
    with pytest.raises(ItemError, match=r"none of the words of 'qqq www' is in the vocabulary of .*vectors\.txt; use"):
        made.prepare("qqq www")
    with pytest.raises(ItemError, match="the text is empty"):
        made.prepare(" \n ")
    with pytest.raises(ItemError, match=r"'x{60}\.\.\.'"):
        made.prepare("x" * 10_000)
    assert embed(made, ["qqq king"]).shape == (1, 7)


def test_options_out_of_range(model: Path) -> None:
    with pytest.raises(InvalidInputError, match="sif_a=0"):
        WordVectorConfig(model=model, sif_a=0.0)
    with pytest.raises(InvalidInputError, match="remove_components=-1"):
        WordVectorConfig(model=model, remove_components=-1)
    with pytest.raises(InvalidInputError, match="max_words=-1"):
        WordVectorConfig(model=model, max_words=-1)
    with pytest.raises(EmbedderUnavailableError, match="too few for remove_components=7; lower that option"):
        embedder("glove", model=model, remove_components=7)


@needs_shared("word2vec")
@pytest.mark.parametrize("word", ["king", "computer", "water", "red", "compress"])
def test_neighbours_as_gensim_finds_them(word: str) -> None:
    golden = json.loads(shared("word2vec", "golden.json").read_text(encoding="utf-8"))
    made = embedder("word2vec", model=shared(SKIPGRAM), remove_components=0)
    expected = golden["nearest (cosine)"][word]
    found = cosines(embed(made, [word]), embed(made, [other for other, _ in expected]))
    np.testing.assert_allclose(found, [score for _, score in expected], atol=1e-4)


def word_similarity(path: str, family: str, pairs: str, **options: object) -> tuple[float, int]:
    """Spearman correlation with people's judgements over the pairs that are covered, and their number."""
    made = embedder(family, model=shared(path), **options)
    first, second, scores = [], [], []
    for line in shared("words", pairs).read_text(encoding="utf-8").splitlines():
        one, other, score = line.lower().split()
        try:
            left, right = made.prepare(one), made.prepare(other)
        except ItemError:
            continue
        first.append(left)
        second.append(right)
        scores.append(float(score))
    found = cosines(np.asarray(made.encode(first, "document")), np.asarray(made.encode(second, "document")))
    return spearman(found, scores), len(scores)


@needs_shared("glove", "word2vec", "words")
@pytest.mark.parametrize(
    ("family", "path", "pairs", "known"),
    [
        ("glove", GLOVE, "EN-WS-353-ALL.txt", 0.522),
        ("glove", GLOVE, "EN-SIMLEX-999.txt", 0.271),
        ("word2vec", SKIPGRAM, "EN-WS-353-ALL.txt", 0.622),
        ("word2vec", SKIPGRAM, "EN-SIMLEX-999.txt", 0.367),
        ("word2vec", CBOW, "EN-WS-353-ALL.txt", 0.602),
    ],
)
def test_word_similarity(family: str, path: str, pairs: str, known: float) -> None:
    """Single words as the files have them; Spearman measured once for these cut files."""
    found, covered = word_similarity(path, family, pairs, remove_components=0)
    assert covered > 250
    assert found == pytest.approx(known, abs=0.005)


@needs_shared("word2vec", "words")
def test_main_directions_hide_similarity() -> None:
    """Mu and Viswanath: without its main direction a 100-dimensional model agrees better with people."""
    with_it, _ = word_similarity(SKIPGRAM, "word2vec", "EN-WS-353-ALL.txt", remove_components=0)
    by_default, _ = word_similarity(SKIPGRAM, "word2vec", "EN-WS-353-ALL.txt")
    assert by_default > with_it + 0.04


def sentence_similarity(family: str, path: str, **options: object) -> float:
    with shared("sts", "stsb-en-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    made = embedder(family, model=shared(path), **options)
    found = cosines(embed(made, [row[0] for row in rows]), embed(made, [row[1] for row in rows]))
    return spearman(found, [float(row[2]) for row in rows])


@needs_shared("glove", "word2vec", "sts")
def test_sif_beats_the_mean_on_sentences() -> None:
    """STS-B test: GloVe 50d 0.407 by the mean, 0.577 by SIF; no corpus is needed for it."""
    assert sentence_similarity("glove", GLOVE) == pytest.approx(0.577, abs=0.01)
    assert sentence_similarity("glove", GLOVE, pooling="mean") == pytest.approx(0.407, abs=0.01)
    assert sentence_similarity("word2vec", SKIPGRAM) == pytest.approx(0.549, abs=0.01)
    plain_mean = sentence_similarity("word2vec", SKIPGRAM, pooling="mean", remove_components=0)
    assert plain_mean == pytest.approx(0.4975, abs=0.01)
