"""The speed that is promised beside bare hnswlib, in one run and with wide margins: figures are in tests/benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.__main__ import measured

COUNT = 22_000  # as few as have a graph


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark") / "bench.vecdb"


@pytest.fixture(scope="module")
def ingested(folder: Path) -> dict[str, Any]:
    return measured("ingest", folder, COUNT)


def test_adding_is_much_faster_than_the_graph(ingested: dict[str, Any], folder: Path) -> None:
    """Records are durable and searchable in a fraction of the time that their graph takes (measured: a tenth)."""
    bare = measured("bare_add", folder, COUNT // 4)["per_cpu_second"]
    assert ingested["last_record_found"]
    assert ingested["searchable_per_cpu_second"] > 2 * bare


def test_a_database_is_hardly_larger_than_what_it_holds(ingested: dict[str, Any]) -> None:
    """Two copies of the vectors, texts and metadata, and links: measured 1.06 times."""
    assert ingested["disk_bytes_per_record"] < 1.25 * ingested["least_disk_bytes_per_record"]


@pytest.mark.usefixtures("ingested")
def test_a_search_costs_little_more_than_the_graph_alone(folder: Path) -> None:
    """With documents and metadata (measured: 1.4 times); with filters never a multiple."""
    found = measured("search", folder, COUNT)
    assert found["strategy"] == "graph"
    assert found["recall"] >= 0.95
    assert found["ratio"] < 2.5
    for name, (_, later) in found["filtered_ms"].items():
        assert later * 1000 < 5 * found["whole_us"], name


@pytest.mark.usefixtures("ingested")
def test_opening_and_memory_are_near_those_of_the_graph_alone(folder: Path) -> None:
    """Measured: opening takes twice as long, most of it for the checksum of the file; memory 1.1 times."""
    first, bare = measured("first", folder, COUNT), measured("bare_first", folder, COUNT)
    assert first["again_cpu_seconds"] < 8 * bare["cpu_seconds"]
    memory, bare_memory = measured("memory", folder, COUNT), measured("bare_memory", folder, COUNT)
    assert memory["bytes"] < 1.6 * bare_memory["bytes"]
