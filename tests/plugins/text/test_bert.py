"""`bert`: poolings and layers beside a plain computation; ONNX."""

from __future__ import annotations

import numpy as np
import pytest

import vecdb
from tests.plugins.text import onnx_models
from tests.plugins.text import transformer_models as models
from tests.plugins.text.transformer_models import LONG, TEXTS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
POSITIONS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.bert_folder(tmp_path_factory.mktemp("bert") / "model")


def plain(folder, text, pooling, layers):
    """One text alone, by transformers: no padding, so that no mask is needed."""
    with models.silent():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=POSITIONS)
        states = model(**inputs, output_hidden_states=True).hidden_states
    tokens = np.mean([states[layer][0].numpy() for layer in layers], axis=0)
    return {"cls": tokens[0], "mean": tokens.mean(0), "max": tokens.max(0)}[pooling]


@pytest.mark.parametrize("layers", [(-1,), (0,), (-1, -2, 1)])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_vectors_are_those_of_a_plain_computation(folder, pooling, layers):
    with models.host("bert", folder, pooling=pooling, layers=layers) as host:
        ours = host.embed(TEXTS).check()
        assert host.dimension == 16
    for row, text in zip(ours, TEXTS, strict=True):
        assert row == pytest.approx(plain(folder, text, pooling, layers), abs=1e-5)


def test_query_and_document_are_alike(folder):
    with models.host("bert", folder) as host:
        assert np.array_equal(host.embed(TEXTS, "query").check(), host.embed(TEXTS).check())


def test_a_long_text_is_cut_as_transformers_cuts_it_and_all_of_it_is_in_the_parts(folder):
    text = " ".join([LONG] * 4)
    embedder = models.embedder("bert", folder)
    embedder.load()
    found = embedder.prepare(text)
    assert isinstance(found, vecdb.Windows)
    assert embedder.encode(found.parts[:1], "document")[0] == pytest.approx(
        plain(folder, text, "mean", (-1,)), abs=1e-5
    )
    lengths = [embedder.cost(part) for part in found.parts]
    assert lengths[0] == POSITIONS
    assert sum(length - 2 for length in lengths) == len(text.split())
    assert max(lengths) - min(lengths[1:]) < POSITIONS
    embedder.close()


def test_max_length(folder):
    with models.host("bert", folder, max_length=8, on_truncate="error") as host:
        assert [error.index for error in host.embed(["the dog", LONG]).errors] == [1]
    with pytest.raises(vecdb.EmbedderUnavailableError, match="it takes 40 tokens, fewer than max_length; lower that"):
        models.embedder("bert", folder, max_length=41).load()


def test_roberta_has_two_positions_fewer_than_it_says(tmp_path, folder):
    config = transformers.RobertaConfig(
        vocab_size=200,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
        pad_token_id=1,
    )
    with models.silent():
        transformers.RobertaModel(config).save_pretrained(tmp_path)
        transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    with models.host("bert", tmp_path) as host:
        found = host.embed([LONG, TEXTS[0]])
    assert not found.errors
    assert found.truncated == (0,)


def test_layers_that_are_not_there_are_refused(folder):
    with pytest.raises(vecdb.InvalidInputError, match=r"has the layers 0 \(embeddings\) to 2, or -1 to -3 from"):
        models.embedder("bert", folder, layers=(3,)).load()
    for layers in ((), (1, 1)):
        with pytest.raises(vecdb.InvalidInputError, match="layers"):
            models.embedder("bert", folder, layers=layers)


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).standard_normal((200, 12)).astype(np.float32)


class TestOnnx:
    """A graph made by hand: the hidden state of a token is its row of a table."""

    @pytest.fixture
    def graph_folder(self, folder, table, tmp_path):
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        made = tmp_path / "model"
        made.mkdir()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (made / name).write_bytes((folder / name).read_bytes())
        whole, single = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
            "encoder",
            [
                onnx.helper.make_tensor_value_info(name, whole, ["texts", "tokens"])
                for name in ("input_ids", "attention_mask")
            ],
            [onnx.helper.make_tensor_value_info("last_hidden_state", single, ["texts", "tokens", 12])],
            [onnx.numpy_helper.from_array(table, "table")],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, made / "model.onnx")
        return made

    @pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
    def test_hidden_states_are_pooled_alike(self, graph_folder, folder, table, pooling):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        with models.host("bert", graph_folder, pooling=pooling) as host:
            ours = host.embed(TEXTS).check()
        for row, text in zip(ours, TEXTS, strict=True):
            tokens = table[tokenizer(text)["input_ids"]]
            assert row == pytest.approx(
                {"cls": tokens[0], "mean": tokens.mean(0), "max": tokens.max(0)}[pooling], abs=1e-6
            )

    def test_the_file_can_be_named_and_is_among_the_weights(self, graph_folder):
        graph = graph_folder / "model.onnx"
        embedder = models.embedder("bert", graph)
        assert {path.name for path in embedder.weights()} == {
            "model.onnx",
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        with models.host("bert", graph) as host, models.host("bert", graph_folder) as other:
            assert np.array_equal(host.embed(TEXTS).check(), other.embed(TEXTS).check())
            assert host.fingerprint() == other.fingerprint()

    def test_weights_in_another_file_are_in_the_fingerprint_whatever_its_name(self, graph_folder):
        onnx = pytest.importorskip("onnx")
        graph = graph_folder / "model.onnx"
        onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="weights.bin", size_threshold=0)
        stored = graph_folder / "weights.bin"
        before = models.host("bert", graph).fingerprint()
        stored.write_bytes(stored.read_bytes()[::-1])
        assert models.host("bert", graph).fingerprint() != before

    def test_long_texts_are_marked(self, graph_folder):
        with models.host("bert", graph_folder) as host:
            assert host.embed([" ".join([LONG] * 4), LONG]).truncated == (0,)

    def test_only_the_last_layer_is_there(self, graph_folder):
        with pytest.raises(vecdb.InvalidInputError, match="an ONNX model gives its last layer; leave it out"):
            models.embedder("bert", graph_folder, layers=(-2,)).load()

    def test_damaged_or_without_hidden_states(self, graph_folder):
        graph = graph_folder / "model.onnx"
        data = graph.read_bytes()
        for content, problem in (
            (data[:-200], "cannot be used"),
            (b"no graph", "cannot be used"),
            (data.replace(b"last_hidden_state", b"last_hidden_stats"), "no output last_hidden_state"),
        ):
            graph.write_bytes(content)
            with pytest.raises(vecdb.EmbedderUnavailableError, match=problem):
                models.embedder("bert", graph_folder).load()

    def test_a_device_that_is_not_there(self, graph_folder):
        with pytest.raises(vecdb.EmbedderUnavailableError, match=r"no device 'cuda:99'|cannot be used"):
            models.embedder("bert", graph_folder, device="cuda:99").load()

    def test_a_device_that_does_not_start(self, graph_folder, monkeypatch):
        onnx_models.cuda_that_does_not_start(monkeypatch)
        with pytest.raises(vecdb.EmbedderUnavailableError, match="does not start"):
            models.embedder("bert", graph_folder, device="cuda").load()
