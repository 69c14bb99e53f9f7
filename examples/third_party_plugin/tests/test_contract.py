"""The embedder keeps vecdb's contract."""

from vecdb_hashing import HASHING

from vecdb.testing import EmbedderContract


class TestHashing(EmbedderContract):
    info = HASHING
    good = ["Müller, Johanna", "Miller, John", "北京 大学", "part no. 4711-B", "x"]
    vector_change = {"longest": 5}
    near = ("Johanna Mueller", "Müller, Johanna", "Meyer, Hans")


class TestLongNgramsOnly(EmbedderContract):
    info = HASHING
    config = {"shortest": 6, "longest": 6, "dimension": 64}
    bad = ["a few"]
    vector_change = {"dimension": 128}
