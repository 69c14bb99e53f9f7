"""What the embedder is for, and its command."""

import click
import numpy as np
import pytest
import vecdb_hashing
from click.testing import CliRunner
from vecdb_hashing.embedder import ngrams

import vecdb


def embed(texts, **options):
    info = vecdb_hashing.HASHING
    embedder = info.create(info.configure(options))
    embedder.load()
    rows = embedder.encode([embedder.prepare(text) for text in texts], "document")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_word_is_its_marked_ngrams():
    assert list(ngrams("Ab", 2, 3)) == ["<a", "ab", "b>", "<ab", "ab>"]


def test_case_and_width_do_not_matter():
    one, two = embed(["ＶＥＣＴＯＲ", "vector"])
    assert (one == two).all()


def test_a_typing_error_is_nearer_than_another_name():
    wrong, right, other = embed(["Johana Muller", "Johanna Müller", "Hans Meyer"])
    assert wrong @ right > 0.5
    assert wrong @ other < 0.2


def test_unlike_texts_are_near_to_orthogonal():
    """Signs make collisions cancel: unrelated texts have a cosine about zero, not above it."""
    one = embed(["abcdefgh ijklm"], dimension=32)
    two = embed(["nopqrstu vwxyz"], dimension=32)
    assert abs(float(one[0] @ two[0])) < 0.5


def test_impossible_lengths_are_refused():
    with pytest.raises(vecdb.InvalidInputError, match="shortest"):
        embed(["a"], shortest=5)


def test_the_command_shows_ngrams():
    cli = click.Group()
    vecdb_hashing.vecdb_register_commands(cli)
    result = CliRunner().invoke(cli, ["ngrams", "ab", "--longest", "3"])
    assert result.output.split() == ["<a", "ab", "b>", "<ab", "ab>"]
