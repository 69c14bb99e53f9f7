"""An item longer than the model takes: its beginning and a mark, the mean of its parts, or an error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import vecdb
from tests.embedding import lengths
from tests.embedding.lengths import Lengths, host_of
from vecdb.embedding import EmbedderHost
from vecdb.errors import EmbedderContractError, InvalidInputError

LONGEST = 4


@dataclass(frozen=True)
class Config:
    on_truncate: str = vecdb.truncation_option()


class Cutting(Lengths):
    """Takes four characters: (number of a's, number of b's, 1)."""

    @property
    def dimension(self):
        return 3

    def weights(self):
        return []

    def prepare(self, item):
        parts = [item[start : start + LONGEST] for start in range(0, len(item), LONGEST)]
        return vecdb.Windows(parts) if len(parts) > 1 else item

    def cost(self, prepared):
        return len(prepared)

    def encode(self, batch, role):
        self.calls.append(list(batch))
        if len(batch) > self.capacity:
            raise MemoryError
        if "bad!" in batch:
            raise RuntimeError("poisoned")
        if {"++++", "----"} & set(batch):
            return np.array([[0, 0, -1.0 if "-" in item else 1.0] for item in batch])
        empty = [[0.0, 0.0, 0.0] if set(item) == {"0"} else [item.count("a"), item.count("b"), 1.0] for item in batch]
        return np.array(empty, np.float64)


INFO = replace(lengths.INFO, config=Config, factory=f"{__name__}:Cutting")


def host(on_truncate="mark"):
    return EmbedderHost(INFO, Config(on_truncate))


def test_by_default_the_beginning_is_embedded_and_the_item_marked():
    with host() as opened:
        result = opened.embed(["ab", "aaaabbbb", "b", "aaaabbbb"])
    assert result.errors == ()
    assert result.truncated == (1, 3)
    assert result.vectors.tolist() == [[1, 1, 1], [4, 0, 1], [0, 1, 1], [4, 0, 1]]


def test_the_mean_is_of_all_parts_by_their_cost():
    with host("mean") as opened:
        result = opened.embed(["aaaabb", "ab", "aaaa" * 9 + "b"])
    assert result.truncated == result.errors == ()
    assert result.vectors[0] == pytest.approx(np.average([[4, 0, 1], [0, 2, 1]], axis=0, weights=[4, 2]))
    assert result.vectors[1].tolist() == [1, 1, 1]
    assert result.vectors[2] == pytest.approx(np.average([[4, 0, 1]] * 9 + [[0, 1, 1]], axis=0, weights=[4] * 9 + [1]))


def test_an_error_names_the_way_out_and_the_others_go_on():
    with host("error") as opened:
        result = opened.embed(["ab", "aaaabb"])
    [error] = result.errors
    assert (error.index, error.stage) == (1, "prepare")
    assert "on_truncate='mark' or 'mean'" in str(error)
    assert result.truncated == ()
    assert result.vectors[0].tolist() == [1, 1, 1]


def test_a_bad_part_is_a_bad_item_and_no_other():
    with host("mean") as opened:
        result = opened.embed(["aaaabad!bb", "aaaabb", "ab"])
    assert [error.index for error in result.errors] == [0]
    assert not result.vectors[0].any()
    assert result.vectors[1:].any(axis=1).all()


def test_a_cut_item_that_fails_is_not_called_truncated():
    with host() as opened:
        result = opened.embed(["bad!bb", "aaaabb"])
    assert [error.index for error in result.errors] == [0]
    assert result.truncated == (1,)


def test_parts_that_outweigh_each_other_are_an_error_of_their_item_alone():
    with host("mean") as opened:
        result = opened.embed(["++++----", "ab"], metric="cosine")
    assert [error.index for error in result.errors] == [0]
    assert np.linalg.norm(result.vectors[1]) == pytest.approx(1)


def test_too_little_memory_halves_batches_of_parts_and_the_mean_stays(monkeypatch):
    items = ["a" * 18 + "b" * 7, "ab", "aaaabb" * 3]
    seen = []
    with host("mean") as opened:
        expected = opened.embed(items).vectors
        monkeypatch.setattr(Cutting, "capacity", 1)
        result = opened.embed(items, progress=lambda done, total: seen.append(done))
    np.testing.assert_array_equal(result.vectors, expected)
    assert seen[-1] == len(items)


def test_parts_without_anything_known_count_for_nothing_unless_all_are():
    with host("mean") as opened:
        result = opened.embed(["aaaa0000", "00000000"])
    assert result.vectors[0] == pytest.approx([4, 0, 1])
    assert "nothing in this item is known" in str(result.errors[0])


def test_progress_counts_items_not_parts():
    seen = []
    with host("mean") as opened:
        opened.embed(["a" * 40, "b" * 41, "ab"], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_windows_without_parts_are_the_plugins_fault():
    class Empty(Cutting):
        def prepare(self, item):
            return vecdb.Windows([])

    with host_of(Empty) as opened, pytest.raises(EmbedderContractError, match="Windows"):
        opened.embed(["a"])


def test_an_unknown_way_is_refused():
    with pytest.raises(InvalidInputError, match="mark"):
        INFO.configure({"on_truncate": "cut"})
