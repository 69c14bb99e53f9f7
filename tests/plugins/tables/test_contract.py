"""The embedder holds to the contract: by id, by token, and with a random table."""

from __future__ import annotations

from pathlib import Path

from tests.plugins.tables.tables import INFO, npy, words
from vecdb.testing import EmbedderContract


class TestByToken(EmbedderContract):
    info = INFO
    good = ["cat", "kitten dog", "a train to the dog", "car " * 500]
    bad = ["horse", "Cat"]
    vector_change = {"pooling": "max"}
    near = ("cat dog", "kitten dog", "car train")

    def set_up(self, folder: Path) -> None:
        self.config = {"model": npy(folder), "vocabulary": words(folder), "padding_idx": 0}


class TestById(EmbedderContract):
    info = INFO
    good = ["0", "3 4", "[6, 5, 2]", "1,1,2", "-0 6"]
    bad = ["7", "-1", "two", "[]", "1.5", "99999999999999999999999", "٣"]
    vector_change = {"padding_idx": 1}
    near = ("2", "3", "5")

    def set_up(self, folder: Path) -> None:
        self.config = {"model": npy(folder)}


class TestRandom(EmbedderContract):
    info = INFO
    config = {"num_embeddings": 50, "embedding_dim": 16}
    good = ["0", "49", "1 2 3", "7 7 8"]
    bad = ["50"]
    vector_change = {"seed": 1}
    near = ("1 2 3", "1 2 4", "10 11 12")
