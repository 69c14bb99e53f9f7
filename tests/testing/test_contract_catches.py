"""The contract is worth what it catches: broken embedders, each with one fault, and the clause that names it."""

from __future__ import annotations

import pytest

from tests.testing import embedders
from tests.testing.embedders import GOOD, info_of
from vecdb.testing import CHECKS, run_contract

NEAR = ("the red dog", "the small red dog", "music in a city")


def check(info, **more):
    results = run_contract(
        info,
        more.pop("options", {}),
        GOOD,
        **{"bad": ["unknown"], "runtime_change": {"threads": 2}, "vector_change": {"seed": 2}, "near": NEAR, **more},
    )
    assert [result.name for result in results] == [clause.name for clause in CHECKS]
    return {result.name: result for result in results}


def test_a_good_embedder_passes_every_clause(tmp_path):
    table = tmp_path / "table"
    table.write_text("weights")
    results = check(info_of(embedders.Good), options={"table": table})
    assert {name: result.message for name, result in results.items() if result.passed is not True} == {}


def test_what_cannot_be_checked_is_neither_passed_nor_failed():
    results = check(info_of(embedders.Good), runtime_change={}, vector_change={}, near=())
    unknown = {name for name, result in results.items() if result.passed is None}
    assert unknown == {"weights", "runtime_options", "vector_options", "nearness"}
    assert "runtime_change" in results["runtime_options"].message


@pytest.mark.parametrize(
    ("broken", "clause", "words"),
    [
        (embedders.GlobalSeed, "side_effects", "numpy.random"),
        (embedders.ChangesRandom, "side_effects", "`random`"),
        (embedders.ChangesFolder, "side_effects", "the working directory"),
        (embedders.ChangesEnvironment, "side_effects", "the environment variables"),
        (embedders.UnseededNoise, "determinism", "embedded again"),
        (embedders.HashBased, "determinism", "in another process"),
        (embedders.WrongDimension, "shape", "return (1, 64)"),
        (embedders.DroppedItem, "shape", "(4, 64) for 5 items"),
        (embedders.Integers, "shape", "int64"),
        (embedders.BatchDependent, "batch_invariance", "mask padding"),
        (embedders.NotANumber, "finite", "NaN"),
        (embedders.Prints, "silence", "embedding"),
        (embedders.Constant, "distinct", "same vector"),
        (embedders.Reordered, "order", "in the order of the batch"),
        (embedders.Network, "offline", "127.0.0.1"),
        (embedders.NotReusable, "reuse", "loaded before"),
        (embedders.CloseOnce, "reuse", "repeatable"),
        (embedders.PreparesForItself, "reuse", "need nothing of the instance"),
        (embedders.ThreadUnsafe, "threads", "keep nothing in `self`"),
        (embedders.ChangesPrepared, "input_unchanged", "must not change"),
        (embedders.SortsItsBatch, "input_unchanged", "work on a copy"),
        (embedders.RoleCrash, "roles", "'query'"),
        (embedders.OneBadSpoilsAll, "isolation", "[1, 2, 3, 4, 5]"),
        (embedders.CutsSilently, "truncation", "vecdb.Windows"),
        (embedders.CutsAndRounds, "truncation", "vecdb.Windows"),
        (embedders.EmbedsAnything, "isolation", "got a vector"),
        (embedders.DimensionBeforeLoad, "shape", "return (1, 65)"),
        (embedders.DropsConfig, "description", "self.config"),
        (embedders.FarIsNear, "nearness", "pooling"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_embedder_is_caught(broken, clause, words):
    result = check(info_of(broken))[clause]
    assert result.passed is False
    assert words in result.message


def test_cutting_is_fine_where_it_is_said():
    results = check(info_of(embedders.CutsAndSaysSo))
    assert [name for name, result in results.items() if result.passed is False] == []


def test_a_vector_option_declared_runtime_is_caught():
    result = check(info_of(embedders.RuntimeChangesVectors), runtime_change={"scale": 3.0})["runtime_options"]
    assert result.passed is False
    assert "affects='vectors'" in result.message


def test_a_runtime_option_in_the_fingerprint_is_caught():
    result = check(info_of(embedders.Good), runtime_change={"device": "gpu"})["runtime_options"]
    assert result.passed is False
    assert "affects='runtime'" in result.message


def test_a_vector_option_missing_from_the_fingerprint_is_caught():
    result = check(info_of(embedders.RuntimeChangesVectors), vector_change={"scale": 3.0})["vector_options"]
    assert result.passed is False
    assert "affects='vectors'" in result.message


def test_a_weight_file_that_is_not_named_is_caught(tmp_path):
    table = tmp_path / "table"
    table.write_text("weights")
    result = check(info_of(embedders.ForgetsWeights), options={"table": table})["weights"]
    assert result.passed is False
    assert str(table) in result.message


def test_a_fingerprint_of_the_process_is_caught(tmp_path):
    table = tmp_path / "table"
    table.write_text("weights")
    result = check(info_of(embedders.ProcessInFingerprint), options={"table": table})["fingerprint"]
    assert result.passed is False


def test_a_library_imported_at_registration_is_caught():
    result = check(embedders.HEAVY, runtime_change={})["cheap_import"]
    assert result.passed is False
    assert "plistlib" in result.message
