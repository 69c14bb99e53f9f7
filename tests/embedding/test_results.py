"""Row i is item i, bad items are set apart, batches fit, and a broken embedder is told from a bad item."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.embedding.lengths import Lengths, host_of
from vecdb.errors import (
    EmbedderContractError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
)


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


def test_a_batch_is_of_like_cost_unless_it_is_small():
    with host_of(batch_size=32) as host:
        host.embed([f"{n:03}" + "x" * (n * n) for n in range(45)])
    [made] = Lengths.made
    costs = [[len(text) for text in batch] for batch in made.calls]
    assert sum(map(len, costs)) == 45
    assert all(8 <= len(batch) <= 32 for batch in costs[:-1])
    assert all(batch[-1] >= batch[0] * 3 // 4 for batch in costs if len(batch) > 8)
    assert all(after[0] < batch[0] * 3 // 4 for batch, after in itertools.pairwise(costs) if len(batch) < 32)
    with host_of(batch_size=32) as host:
        host.embed(["x" * n for n in (1, 10, 100, 1000)])
    assert len(Lengths.made[1].calls) == 1


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
    [made] = Lengths.made
    sizes = [len(batch) for batch in made.calls]
    assert [sizes.count(size) for size in (32, 16, 8, 4, 2)] == [1, 2, 2, 2, 2]
    assert made.calls.count(["poison"]) == 1
    assert len(sizes) == 1 + 2 * 5 + 5  # after a failure it is made sure that the embedder is not broken


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
