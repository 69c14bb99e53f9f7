"""`onnx`: files that are missing, damaged, hostile or not for it; devices that are not there."""

from __future__ import annotations

import sys

import pytest

from tests.plugins.text import onnx_models as models
from vecdb import EmbedderUnavailableError

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path):
    return models.onnx_folder(tmp_path / "m")


def refusal(folder, **options):
    """What loading says."""
    embedder = models.embedder("onnx", folder, **options)
    with pytest.raises(EmbedderUnavailableError) as raised:
        embedder.load()
    return str(raised.value)


def test_no_folder(tmp_path):
    assert "vecdb embedders export" in refusal(tmp_path / "nothing")


def test_no_graph(folder):
    (folder / "model.onnx").unlink()
    assert "has no model.onnx" in refusal(folder)


def test_several_graphs_and_none_chosen(folder):
    (folder / "model.onnx").rename(folder / "a.onnx")
    (folder / "b.onnx").write_bytes(b"")
    assert "a.onnx, b.onnx: choose with the option file" in refusal(folder)
    assert "there is a.onnx, b.onnx" in refusal(folder, file="c.onnx")


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json, which does not exist" in refusal(folder)


@pytest.mark.parametrize("keep", [0, 1, 100, -20])
def test_a_graph_cut_short(folder, keep):
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be used" in refusal(folder)


@pytest.mark.parametrize("content", [b"\x80\x04\x95 pickle", b"<html>", b"\xff" * 1000, b"PK\x03\x04"])
def test_something_else_called_a_graph(folder, content):
    (folder / "model.onnx").write_bytes(content)
    assert "cannot be used" in refusal(folder)


def test_every_byte_of_a_graph_may_be_wrong(folder):
    good = (folder / "model.onnx").read_bytes()
    for position in range(0, len(good), 41):
        (folder / "model.onnx").write_bytes(good[:position] + bytes([good[position] ^ 0x5A]) + good[position + 1 :])
        embedder = models.embedder("onnx", folder)
        try:
            embedder.weights()
            embedder.load()
        except EmbedderUnavailableError:
            continue
        except Exception as error:  # what the host would show as a fault of the plugin
            pytest.fail(f"byte {position}: {error!r}")
        embedder.close()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "not json",
        "[" * 100_000,
        '{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0}}}',
        '{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["b c"]}}',
        '{"version":"1.0","added_tokens":[],"model":{"type":"Unigram","unk_id":5,"vocab":[["a",0.0]]}}',
    ],
)
def test_a_tokenizer_that_is_none(folder, content):
    (folder / "tokenizer.json").write_text(content)
    assert "tokenizer.json" in refusal(folder)


def test_a_panic_of_the_tokenizer_is_an_error_of_one_text(folder, monkeypatch):
    class PanicException(BaseException):
        """What pyo3 raises when Rust code panics; it is no `Exception`."""

    with models.host("onnx", folder) as host:
        host.embed(["the dog"]).check()
        tokeniser = host._life.loaded.embedder._tokenisers["document"]

        class Panicking:
            def encode(self, text, **options):
                if text == "a small cat":
                    raise PanicException("index out of bounds")
                return real.encode(text, **options)

        real = tokeniser._tokenizer
        monkeypatch.setattr(tokeniser, "_tokenizer", Panicking())
        errors = host.embed(["the dog", "a small cat", "blue"]).errors
    assert [error.index for error in errors] == [1]
    assert "index out of bounds" in str(errors[0])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("modules.json", "{", "JSON"),
        ("modules.json", '[{"type": 3}]', "not a list of steps"),
        ("modules.json", '[{"type": "x.Pooling", "path": "../../secret"}]', "outside the model"),
        ("1_Pooling/config.json", '{"pooling_mode": "median"}', "median is not among"),
        ("1_Pooling/config.json", '{"pooling_mode_attention": true}', "pooling_mode_attention is not among"),
        ("1_Pooling/config.json", "[1]", "JSON object"),
        ("config_sentence_transformers.json", '{"prompts": ["query: "]}', "prompts"),
        ("tokenizer_config.json", '{"truncation_side": "left"}', "beginning"),
        ("sentence_bert_config.json", "\x00", "JSON"),
    ],
)
def test_settings_that_cannot_be_followed(folder, name, content, says):
    (folder / name).write_text(content)
    assert says in refusal(folder)


def test_a_prompt_that_is_left_out_of_the_pooling(folder):
    models.write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    models.embedder("onnx", folder).load()  # without a prompt it is all the same
    models.write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query :"}})
    assert "include_prompt" in refusal(folder)


def test_steps_after_pooling(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", modules=("Dense",))
    assert "goes on with Dense after pooling; export the model" in refusal(folder)
    pooled = models.onnx_folder(tmp_path / "pooled", modules=("Dense",), output="sentence_embedding")
    models.embedder("onnx", pooled).load()  # the graph holds all steps
    assert "gives pooled vectors only" in refusal(pooled, pooling="cls")


def test_a_prompt_longer_than_the_model_reads(folder):
    assert "leaves no room" in refusal(folder, query_prompt="one two three four five six one two")


def test_a_larger_dimension_than_the_model_has(folder):
    assert "gives 8 numbers, not dimension=9" in refusal(folder, dimension=9)


def test_a_graph_for_something_else(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", inputs=("input_ids", "pixel_values"))
    assert "asks for pixel_values" in refusal(folder)
    folder = models.onnx_folder(tmp_path / "n", inputs=("input_ids", "attention_mask"), integers="INT64")
    path = folder / "model.onnx"
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, path)
    assert "attention_mask is tensor(float), not token numbers" in refusal(folder)


def test_a_graph_with_operators_of_a_library_of_its_own(tmp_path):
    folder = models.onnx_folder(tmp_path / "m")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "model.onnx")
    model.graph.node[3].domain = "evil.corp"
    model.graph.node[3].op_type = "RunMe"
    model.opset_import.append(onnx.helper.make_opsetid("evil.corp", 1))
    onnx.save(model, folder / "model.onnx")
    assert "RunMe" in refusal(folder)


def test_weights_missing_beside_the_graph(tmp_path):
    folder = models.onnx_folder(tmp_path / "m", external="model.onnx_data")
    (folder / "model.onnx_data").write_bytes(b"12")
    assert "cannot be used" in refusal(folder)
    (folder / "model.onnx_data").unlink()
    assert "model.onnx_data, which does not exist; put it beside the graph" in refusal(folder)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd"])
def test_weights_outside_the_folder(tmp_path, location):
    folder = models.onnx_folder(tmp_path / "m", external="data.bin")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = location
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "secret.bin").write_bytes(bytes(4000))
    assert "outside its folder" in refusal(folder)
    with pytest.raises(EmbedderUnavailableError, match="outside its folder"):
        models.embedder("onnx", folder).weights()


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there(folder, device, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    message = refusal(folder, device=device)
    assert "built without it. It has CPUExecutionProvider; choose device=cpu" in message


def test_a_device_that_does_not_start(folder, monkeypatch):
    models.cuda_that_does_not_start(monkeypatch)
    assert "does not start" in refusal(folder, device="cuda")
    with models.host("onnx", folder, device="auto") as host:  # which is free to take the CPU
        assert host.embed(["a b"]).errors == ()


def test_a_token_beyond_the_table_fails_alone(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace(f'"six": {models.VOCABULARY["six"]}', '"six": 999'))
    path.write_text(path.read_text().replace(f'"six":{models.VOCABULARY["six"]}', '"six":999'))
    with models.host("onnx", folder) as host:
        errors = host.embed(["the dog", "six", "blue"]).errors
    assert [error.index for error in errors] == [1]


def test_missing_libraries_are_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    info = models.INFOS["onnx"]
    monkeypatch.setattr(type(info), "missing", lambda self: ["onnxruntime"])
    with pytest.raises(EmbedderUnavailableError, match=r"pip install 'vecdb-engine\[onnx\]'"):
        info.create(info.configure({"model": folder}))
