"""What a search costs by either way: comparing every allowed vector, or taking results from the graph.

Both grow in proportion, the one with the vectors compared, the other with the results asked for. What each of them
costs depends on the processor, on the memory, on the dimension and on the graph, so it is measured, on the graph's own
vectors. Until then it is taken to be what it was on one machine (AMD EPYC, 2.x GHz with AVX2, 100,000 vectors).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vecdb.index import int8


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds as a linear function of a number."""

    base: float
    each: float

    def at(self, number: float) -> float:
        """Seconds for so many."""
        return self.base + self.each * number

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float]) -> Line:
        """The line through two points (number, seconds); it never falls, and begins at 0 at least."""
        each = max((many[1] - few[1]) / (many[0] - few[0]), 0.0)
        return cls(max(few[1] - each * few[0], 0.0), each)


@dataclass(frozen=True, slots=True)
class SearchCosts:
    """Seconds of a search of one query.

    Attributes:
        scan: by the number of vectors compared.
        graph: by the number of results that the graph is asked for.
    """

    scan: Line
    graph: Line

    @classmethod
    def usual(cls, dimension: int) -> SearchCosts:
        """What is assumed before anything was measured."""
        nanoseconds = 30 + 0.2 * dimension if int8.is_fast() else 30 + dimension
        return cls(Line(2e-4, nanoseconds * 1e-9), Line(5e-5, 2e-6 + 10e-9 * dimension))

    @classmethod
    def measured(cls, scan: tuple[Try, Try], graph: tuple[Try, Try]) -> SearchCosts:
        """From a small and a large search of each kind."""
        return cls(
            *(Line.through((few.number, few.seconds()), (many.number, many.seconds())) for few, many in (scan, graph))
        )


@dataclass(frozen=True, slots=True)
class Try:
    """Searches to be timed that go through the same number of vectors, or of results."""

    number: int
    searches: Sequence[Callable[[], object]]

    def seconds(self) -> float:
        """The least that one took: what else the machine did meanwhile is no cost of theirs."""
        taken = []
        for search in self.searches:
            begin = time.perf_counter()
            search()
            taken.append(time.perf_counter() - begin)
        return min(taken)
