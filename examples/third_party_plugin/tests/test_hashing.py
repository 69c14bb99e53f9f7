"""The embedder keeps vecdb's contract, and does what it is for."""

import pytest
from vecdb_hashing import HASHING

import vecdb
from vecdb.testing import EmbedderContract


class TestHashing(EmbedderContract):
    info = HASHING
    good = ["Müller, Johanna", "Miller, John", "北京 大学", "part no. 4711-B", "x"]
    vector_change = {"longest": 5}
    near = ("Johanna Mueller", "Müller, Johanna", "Meyer, Hans")


def test_a_typing_error_is_found(tmp_path):
    with vecdb.open(tmp_path / "people.vecdb") as db:
        names = db.create_collection("names", embedder="hashing")
        names.add(["Müller, Johanna", "Miller, John", "Meyer, Hans"])
        assert names.search("Mueller Johana", k=1)[0].content == "Müller, Johanna"


def test_impossible_lengths_are_refused():
    with pytest.raises(vecdb.InvalidInputError, match="shortest"):
        HASHING.configure({"shortest": 5})
