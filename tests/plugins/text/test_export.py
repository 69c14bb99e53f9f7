"""`vecdb embedders export`: the folder that it makes, and that it makes a right one or none."""

from __future__ import annotations

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.plugins.text import onnx_models, transformer_models
from vecdb import AlreadyExistsError, EmbedderUnavailableError, InvalidInputError
from vecdb_text import vecdb_register_commands
from vecdb_text.export import export as exporting
from vecdb_text.export.command import NAME
from vecdb_text.export.command import export as command
from vecdb_text.export.sentences import calibration_texts, check_texts

for library in ("torch", "sentence_transformers", "onnx", "onnxruntime"):
    pytest.importorskip(library)

TEXTS = [*transformer_models.TEXTS, transformer_models.LONG]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small sentence-transformers model with a prompt for queries, and what came of exporting it."""
    folder = tmp_path_factory.mktemp("export")
    original = transformer_models.sentence_folder(folder / "original", prompts={"query": "query : ", "document": ""})
    result = CliRunner().invoke(command, [str(original), str(folder / "exported")])
    assert result.exit_code == 0, result.output
    return original, folder / "exported", result


def cosines(left, right):
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.mark.parametrize("role", ["document", "query"])
def test_the_originals_vectors(model, role):
    original, exported, _ = model
    library = transformer_models.reference(original)
    theirs = library.encode_query(TEXTS) if role == "query" else library.encode_document(TEXTS)
    with onnx_models.host("onnx", exported) as host:
        found = host.embed(TEXTS, role)
    assert found.truncated == (len(TEXTS) - 1,)
    assert cosines(found.check(), theirs).min() > 0.999999


def test_the_int8_graph_is_near_and_smaller(model):
    original, exported, _ = model
    theirs = transformer_models.reference(original).encode_document(TEXTS)
    with onnx_models.host("onnx", exported, file="model_int8.onnx") as host:
        assert cosines(host.embed(TEXTS).check(), theirs).min() > 0.97


def test_an_int8_vector_does_not_depend_on_its_batch(model):
    _, exported, _ = model
    with onnx_models.host("onnx", exported, file="model_int8.onnx") as host:
        together = host.embed(TEXTS).check()
        alone = np.concatenate([host.embed([text]).check() for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_it_tells_what_came_out(model):
    _, exported, result = model
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["graph", "model.onnx", "model_int8.onnx"]
    least, mean = (float(number) for number in result.stdout.splitlines()[1].split()[2:])
    assert 0.9999 < least <= mean <= 1.000001
    assert f"onnx:{exported}" in result.stderr


def test_nothing_is_left_beside_it(model):
    _, exported, _ = model
    assert {path.name for path in exported.parent.iterdir()} == {"original", "original-encoder", "exported"}
    assert not [path for path in exported.rglob("*") if path.suffix in (".safetensors", ".bin")]


def test_without_int8_and_for_a_model_that_does_not_normalise(tmp_path):
    original = transformer_models.sentence_folder(tmp_path / "original", normalise=False)
    graphs = exporting.export_model(str(original), tmp_path / "exported", int8=False)
    assert [graph.name for graph in graphs] == ["model.onnx"]
    theirs = transformer_models.reference(original).encode(TEXTS)
    with onnx_models.host("onnx", tmp_path / "exported") as host:
        np.testing.assert_allclose(host.embed(TEXTS).check(), theirs, atol=1e-4)


def test_a_model_with_a_step_after_pooling(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    torch = pytest.importorskip("torch")
    encoder = transformer_models.bert_folder(tmp_path / "encoder")
    with transformer_models.silent(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = [
            library.base.modules.Transformer(str(encoder), max_seq_length=16),
            library.sentence_transformer.modules.Pooling(16, "cls"),
            library.base.modules.Dense(16, 6),
        ]
        library.SentenceTransformer(modules=steps, device="cpu").save_pretrained(
            str(tmp_path / "original"), create_model_card=False
        )
    exporting.export_model(str(tmp_path / "original"), tmp_path / "exported")
    theirs = transformer_models.reference(tmp_path / "original").encode(TEXTS)
    with onnx_models.host("onnx", tmp_path / "exported") as host:
        np.testing.assert_allclose(host.embed(TEXTS).check(), theirs, atol=1e-4)


def test_it_never_writes_over_anything(model, tmp_path):
    original, _, _ = model
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all my work")
    with pytest.raises(AlreadyExistsError, match="exists already; remove it, or give another name"):
        exporting.export_model(str(original), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all my work"
    with pytest.raises(InvalidInputError, match="make it first"):
        exporting.export_model(str(original), tmp_path / "no" / "such")


@pytest.mark.parametrize("step", ["_export_graph", "_checked", "quantise"])
def test_a_failure_leaves_nothing(model, tmp_path, monkeypatch, step):
    original, _, _ = model

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, step, fail)
    with pytest.raises(KeyboardInterrupt):
        exporting.export_model(str(original), tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_with_other_vectors_is_refused(model, tmp_path, monkeypatch):
    original, _, _ = model
    other = transformer_models.sentence_folder(tmp_path / "other")
    load = exporting._load

    def load_the_other_to_check(name):
        found = load(name)
        wrong = transformer_models.reference(other)
        with pytest.importorskip("torch").no_grad():
            for parameter in wrong.parameters():
                parameter.mul_(1.5)
        monkeypatch.setattr(found, "encode_document", wrong.encode_document)
        return found

    monkeypatch.setattr(exporting, "_load", load_the_other_to_check)
    with pytest.raises(EmbedderUnavailableError, match="nothing was written"):
        exporting.export_model(str(original), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_model_that_is_no_transformer(tmp_path):
    folder = transformer_models.static_folder(tmp_path / "m")
    with pytest.raises(EmbedderUnavailableError, match="begins with StaticEmbedding"):
        exporting.export_model(str(folder), tmp_path / "exported")


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmbedderUnavailableError):
        exporting.export_model(str(tmp_path / "empty"), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_LIBRARIES", ("torch", "no_such_library"))
    with pytest.raises(EmbedderUnavailableError, match=r"needs no_such_library: pip install 'vecdb-engine\[export\]'"):
        exporting.export_model("m", tmp_path / "exported")


def test_the_check_is_not_on_texts_that_ranges_were_set_by():
    assert not set(calibration_texts()) & set(check_texts())


def test_its_help_ends_with_an_example():
    shown = CliRunner().invoke(command, ["--help"]).output.rstrip()
    assert shown.splitlines()[-1].strip().startswith(f"vecdb {NAME} ")


def test_the_command_is_offered_to_the_group_of_embedders():
    group = click.Group()
    vecdb_register_commands(group)
    assert group.commands == {NAME: command}
    assert NAME == "embedders export"
