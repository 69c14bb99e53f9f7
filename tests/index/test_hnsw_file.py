"""Damaged index files: no byte of one may crash the process or take a search outside the file.

hnswlib itself crashes on 85 of 288 flipped bits of a header and on 29 of 200 in links. The files are read
in a child process, so that a crash is a failed test and not a dead suite.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.index.data import clustered, numbered
from vecdb.errors import StorageError
from vecdb.index.hnsw import HnswIndex
from vecdb.index.hnsw_file import read_graph

DIMENSION, M, COUNT = 12, 4, 400
LINK_BYTES = 4 + 8 * M
NODE_BYTES = LINK_BYTES + 4 * DIMENSION + 8

READ_ALL = """
import faulthandler, sys
from pathlib import Path
import numpy as np
from vecdb.errors import StorageError
from vecdb.index.hnsw import HnswIndex

faulthandler.enable()
original, folder, dimension, M = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
known = set(np.load(sys.argv[5]).tolist())
queries = np.load(sys.argv[6])
damages = [line.split(":") for line in sys.stdin.read().split()]
path = folder / "damaged"
counts = dict(refused=0, answered=0)
for name, place, value in damages:
    data, place = bytearray(original), int(place)
    if name == "cut":
        data = data[:place]
    elif name == "append":
        data += bytes.fromhex(value)
    else:
        value = bytes.fromhex(value)
        data[place : place + len(value)] = value
    path.write_bytes(data)
    print(name, place, value, file=sys.stderr, flush=True)
    try:
        index = HnswIndex.load(path, dimension=dimension, metric="cosine", M=M, ef_construction=40)
    except StorageError:
        counts["refused"] += 1
        continue
    counts["answered"] += 1
    labels, distances = index.search(queries, 5)
    assert labels.shape == (len(queries), 5), "too few answers"
    assert np.isin(labels, index.labels()).all(), "an unknown label"
    assert np.isfinite(distances).all(), "a distance that is not a number"
    changed = set(index.labels().tolist()) - known
    assert len(changed) <= (1 if name == "label" else 0), "a label that was never added"
    index.search(queries, len(index))
    index.add([10**6], queries[:1])
    index.remove(index.labels()[:3])
    index.search(queries, 5, allowed=index.labels()[::7])
print(counts["refused"], counts["answered"])
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hnsw")
    vectors = clustered(COUNT, DIMENSION)
    index = HnswIndex(DIMENSION, "cosine", M=M, ef_construction=40)
    index.add(numbered(vectors), vectors)
    index.remove([5, 50])
    index.save(folder / "good")
    np.save(folder / "labels.npy", numbered(vectors))
    np.save(folder / "queries.npy", clustered(20, DIMENSION, seed=1))
    return folder


def attack(folder: Path, damages: list[str]) -> tuple[int, int]:
    """Load and use the file with each damage, in a child; how many were refused, and how many answered soundly."""
    arguments = [folder / "good", folder, DIMENSION, M, folder / "labels.npy", folder / "queries.npy"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ_ALL), *map(str, arguments)],
        input="\n".join(damages),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    refused, answered = map(int, done.stdout.split())
    assert refused + answered == len(damages)
    return refused, answered


def flip(data: bytes, place: int, bit: int, name: str = "flip") -> str:
    return f"{name}:{place}:{data[place] ^ (1 << bit):02x}"


def test_the_undamaged_file_answers(saved):
    assert attack(saved, ["none:0:"]) == (0, 1)


def test_every_bit_of_the_header(saved):
    data = (saved / "good").read_bytes()
    refused, answered = attack(saved, [flip(data, place, bit) for place in range(96) for bit in range(8)])
    # Free to change: a larger capacity, another entry point of the highest level, the last bits of a float.
    assert answered < 90
    assert refused > 670


def test_every_header_byte_of_all_ones_and_random_numbers(saved):
    random = np.random.default_rng(2)
    damages = [f"set:{place}:ff" for place in range(96)]
    damages += [f"set:{place}:{random.bytes(8).hex()}" for place in (0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88) * 5]
    refused, answered = attack(saved, damages)
    assert refused > answered


def test_links_and_counts_of_every_level(saved):
    data = (saved / "good").read_bytes()
    random = np.random.default_rng(3)
    level0 = 96 + random.integers(0, COUNT, 250) * NODE_BYTES + random.integers(0, LINK_BYTES, 250)
    upper = random.integers(96 + COUNT * NODE_BYTES, len(data), 250)
    places = [*level0.tolist(), *upper.tolist()]
    refused, answered = attack(saved, [flip(data, place, int(random.integers(8))) for place in places])
    assert refused > 100
    assert answered > 30


def test_vectors_and_labels(saved):
    data = (saved / "good").read_bytes()
    random = np.random.default_rng(4)
    nodes = 96 + random.integers(0, COUNT, 120) * NODE_BYTES
    damages = [
        flip(data, int(node + LINK_BYTES + random.integers(4 * DIMENSION)), int(random.integers(8))) for node in nodes
    ]
    labels = nodes + NODE_BYTES - 8 + random.integers(0, 8, len(nodes))
    damages += [flip(data, int(place), int(random.integers(8)), "label") for place in labels]
    damages += [f"set:{node + LINK_BYTES}:{bad}" for node in nodes[:20] for bad in ("0000c07f", "0000807f")]
    attack(saved, damages)


def test_truncated_lengthened_and_zeroed(saved):
    data = (saved / "good").read_bytes()
    size = len(data)
    cuts = [0, 1, 50, 95, 96, 97, 500, *range(96 + COUNT * NODE_BYTES - 3, size - 1, 97), size - 4, size - 1]
    damages = [f"cut:{place}:" for place in cuts]
    damages += [f"append:0:{value}" for value in ("00", "00000000", "ff" * 8, "00" * 4096)]
    assert attack(saved, damages) == (len(damages), 0)
    refused, answered = attack(saved, [f"set:{place}:{'00' * 4096}" for place in range(0, size - 4096, 2048)])
    assert refused > 0
    assert answered == 0  # a zeroed page leaves vectors of length 0


def test_noise(saved):
    random = np.random.default_rng(5)
    size = (saved / "good").stat().st_size
    damages = [f"set:{random.integers(size - 64)}:{random.bytes(64).hex()}" for _ in range(150)]
    refused, _ = attack(saved, damages)
    assert refused > 140


def test_what_is_wrong_is_said(saved, tmp_path):
    path = tmp_path / "short"
    path.write_bytes((saved / "good").read_bytes()[:50])
    with pytest.raises(StorageError, match=r"short does not fit: it has 50 bytes.*rebuild the index"):
        read_graph(path, dimension=DIMENSION, M=M)


@pytest.fixture
def patched(saved, tmp_path):
    """A copy of the file with 32-bit numbers of one node exchanged."""

    def patch(node, word, values):
        data = bytearray((saved / "good").read_bytes())
        place = 96 + node * NODE_BYTES + 4 * word
        data[place : place + values.nbytes] = values.tobytes()
        path = tmp_path / "patched"
        path.write_bytes(data)
        return path

    return patch


@pytest.mark.parametrize("node", [0, 57, COUNT - 1])
def test_a_length_is_judged_in_float64_where_float32_is_not_sure(patched, node):
    vector = np.zeros(DIMENSION, np.float32)
    for square, is_sound in [(0.998999, False), (0.999001, True), (1.000999, True), (1.001001, False), (2.0, False)]:
        vector[:4] = np.sqrt(square / 4)
        path = patched(node, 1 + 2 * M, vector)
        if is_sound:
            read_graph(path, dimension=DIMENSION, M=M, unit_length=True)
        else:
            with pytest.raises(StorageError, match="a vector does not have length 1"):
                read_graph(path, dimension=DIMENSION, M=M, unit_length=True)
        read_graph(path, dimension=DIMENSION, M=M)


@pytest.mark.parametrize("number", [3e38, -3e38, 1e-45, 0.0])
def test_a_vector_may_be_longer_than_float32_can_tell(patched, number):
    path = patched(57, 1 + 2 * M, np.full(DIMENSION, number, np.float32))
    read_graph(path, dimension=DIMENSION, M=M)
    with pytest.raises(StorageError, match="a vector does not have length 1"):
        read_graph(path, dimension=DIMENSION, M=M, unit_length=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("others", [0.0, 3e38])
def test_what_is_no_finite_number_is_refused(patched, bad, others):
    vector = np.full(DIMENSION, others, np.float32)
    vector[-1] = bad
    for unit_length in (True, False):
        with pytest.raises(StorageError, match="a vector holds NaN or infinity"):
            read_graph(patched(57, 1 + 2 * M, vector), dimension=DIMENSION, M=M, unit_length=unit_length)


def test_a_link_is_judged_where_it_is_in_use(saved, patched):
    graph = read_graph(saved / "good", dimension=DIMENSION, M=M, with_links=True)
    node = int(np.argmin(graph.link_counts))
    used = int(graph.link_counts[node])
    assert used < 2 * M
    for wrong in (COUNT, 2**31, 2**32 - 1):
        read_graph(patched(node, 1 + used, np.array([wrong], np.uint32)), dimension=DIMENSION, M=M)
        with pytest.raises(StorageError, match="a link leads to no vector"):
            read_graph(patched(node, used, np.array([wrong], np.uint32)), dimension=DIMENSION, M=M)


@pytest.mark.parametrize("size", [1, NODE_BYTES, 7 * NODE_BYTES, COUNT * NODE_BYTES, 1 << 30])
def test_the_size_of_blocks_changes_nothing(saved, monkeypatch, size):
    whole = read_graph(saved / "good", dimension=DIMENSION, M=M, with_links=True)
    monkeypatch.setattr("vecdb.index.hnsw_file._BLOCK_BYTES", size)
    graph = read_graph(saved / "good", dimension=DIMENSION, M=M, with_links=True, unit_length=True)
    for name in ("labels", "deleted", "links", "link_counts"):
        assert np.array_equal(getattr(graph, name), getattr(whole, name))


def test_a_checked_file_tells_its_contents(saved):
    graph = read_graph(saved / "good", dimension=DIMENSION, M=M, with_links=True)
    assert np.sort(graph.labels).tolist() == list(range(1, COUNT + 1))
    assert np.sort(graph.labels[graph.deleted]).tolist() == [5, 50]
    assert graph.link_counts.max() <= 2 * M
    assert graph.links[np.arange(2 * M) < graph.link_counts[:, None]].max() < COUNT
