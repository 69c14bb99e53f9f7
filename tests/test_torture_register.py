"""What the campaign "concurrency" judges histories by: it accepts what may have happened, and nothing else."""

from __future__ import annotations

import math

import pytest

from tests.torture.register import ABSENT, Read, Write, impossible_reads

BEGINNING = Write(ABSENT, -math.inf, -math.inf)


def problems(writes, reads):
    return impossible_reads([BEGINNING, *(Write(*write) for write in writes)], [Read(*read, "r") for read in reads])


@pytest.mark.parametrize(
    ("writes", "reads"),
    [
        ([], [(ABSENT, 1, 2)]),
        ([("a", 1, 2)], [("a", 3, 4)]),
        ([("a", 1, 5)], [(ABSENT, 2, 3), ("a", 3, 4), ("a", 6, 7)]),  # during a write both are right
        ([("a", 1, 4), ("b", 2, 3)], [("a", 5, 6)]),  # of two at a time either may be the last
        ([("a", 1, 2), (ABSENT, 3, 4)], [("a", 2, 3.5), (ABSENT, 5, 6)]),
        ([("a", 1, 2), ("b", 3, 4, False)], [("a", 100, 101)]),  # one that was killed is there or not
        ([("a", 1, 2), ("b", 3, 4, False)], [("b", 100, 101)]),
    ],
)
def test_what_may_have_happened_is_accepted(writes, reads):
    assert problems(writes, reads) == []


@pytest.mark.parametrize(
    ("writes", "reads", "words"),
    [
        ([("a", 1, 2)], [("b", 3, 4)], "nobody had written"),
        ([("a", 5, 6)], [("a", 3, 4)], "nobody had written"),
        ([("a", 1, 2)], [(ABSENT, 3, 4)], "overwritten before"),
        ([("a", 1, 2), ("b", 3, 4)], [("a", 5, 6)], "overwritten before"),
        ([("a", 1, 2), (ABSENT, 3, 4)], [("a", 5, 6)], "overwritten before"),
        ([("a", 1, 2), ("b", 3, 10)], [("b", 4, 5), ("a", 6, 7)], "older than what was read before"),
        ([("a", 1, 2, False), ("b", 3, 4)], [("a", 5, 6)], "overwritten before"),
        ([("a", 1, 10)], [("a", 2, 3), (ABSENT, 4, 5)], "older than what was read before"),
    ],
)
def test_what_cannot_have_happened_is_found(writes, reads, words):
    (problem,) = problems(writes, reads)
    assert words in problem
