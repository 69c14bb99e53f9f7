"""Small ONNX encoders and static tables with made-up weights, and a tokenizer of words for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import Embedder, EmbedderInfo
from vecdb.embedding import EmbedderHost
from vecdb_text import vecdb_register_embedders

INFOS: dict[str, EmbedderInfo] = {info.name: info for info in vecdb_register_embedders()}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = str.split(
    "the and a dog cat sleeps runs in house garden red blue small river tree query document : "
    "one two three four five six"
)
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
TEXTS = [
    "the dog sleeps in the house",
    "a small cat runs",
    "the river and the tree",
    "blue",
    "one two three four five six",
]
WIDTH = 8


def host(name: str, model: Path, **options: Any) -> EmbedderHost:
    """A host of an embedder of this plugin; close it, or use it with `with`."""
    info = INFOS[name]
    return EmbedderHost(info, info.configure({"model": model, **options}))


def embedder(name: str, model: Path, **options: Any) -> Embedder:
    """The bare embedder, not loaded."""
    info = INFOS[name]
    return info.create(info.configure({"model": model, **options}))


def write_tokenizer(path: Path, *, special: bool = True) -> None:
    """A tokenizer of lower-case words; with `special`, it puts a text between [CLS] and [SEP]."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    made.enable_padding(pad_id=0, pad_token="[PAD]", length=32)  # as some files have it; ours must not pad
    made.enable_truncation(5)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(str(path))


def weights(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An embedding table, and the weights and the bias of a layer."""
    random = np.random.default_rng(seed)
    table = random.standard_normal((len(VOCABULARY), WIDTH)).astype(np.float32)
    return table, random.standard_normal((WIDTH, WIDTH)).astype(np.float32), random.standard_normal(WIDTH).astype("f4")


def token_vectors(numbers: list[int]) -> np.ndarray:
    """What the graph of `onnx_folder` gives for the tokens of a text, in numpy."""
    table, matrix, bias = weights()
    return np.tanh(table[numbers] @ matrix + bias)


def onnx_folder(
    folder: Path,
    *,
    output: str = "last_hidden_state",
    integers: str = "INT64",
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"),
    external: str = "",
    max_length: int = 8,
    pooling: dict[str, Any] | None = None,
    normalise: bool = False,
    modules: tuple[str, ...] = (),
) -> Path:
    """A folder with model.onnx: a table lookup, a layer, tanh. `sentence_embedding` is the mean of all tokens."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    folder.mkdir(parents=True, exist_ok=True)
    names = ("table", "matrix", "bias")
    constants = [numpy_helper.from_array(array, name) for name, array in zip(names, weights(), strict=True)]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["tokens"]),
    ]
    if output == "sentence_embedding":
        nodes.append(helper.make_node("ReduceMean", ["tokens"], [output], axes=[1], keepdims=0))
        shape: list[Any] = ["texts", WIDTH]
    else:
        nodes.append(helper.make_node("Identity", ["tokens"], [output]))
        shape = ["texts", "tokens", WIDTH]
    kind = getattr(onnx.TensorProto, integers)
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, kind, ["texts", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    beside = {"save_as_external_data": True, "location": external, "size_threshold": 0} if external else {}
    onnx.save(model, folder / "model.onnx", **beside)
    write_tokenizer(folder / "tokenizer.json")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length})
    steps = ["Transformer", "Pooling", *modules, *(["Normalize"] if normalise else [])]
    library = "sentence_transformers.models"
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": f"{i}_{step}" if i else "", "type": f"{library}.{step}"}
            for i, step in enumerate(steps)
        ],
    )
    write_json(folder / "1_Pooling" / "config.json", pooling or {"pooling_mode_mean_tokens": True})
    return folder


def static_folder(folder: Path, *, kind: str = "model2vec", dtype: str = "F32", **config: Any) -> Path:
    """A static table in one of the formats: "model2vec", "StaticEmbedding" or "WordLlama"."""
    table = weights()[0]
    name = "embeddings" if kind == "model2vec" else "embedding.weight"
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", {name: (dtype, table)})
    write_tokenizer(folder / "tokenizer.json", special=False)
    if kind == "model2vec":
        write_json(folder / "config.json", {"model_type": "model2vec", **config})
    if kind == "StaticEmbedding":
        steps = ["StaticEmbedding", *(["Normalize"] if config.get("normalize") else [])]
        write_json(folder / "modules.json", [{"type": f"sentence_transformers.models.{step}"} for step in steps])
    return folder


def write_safetensors(path: Path, arrays: dict[str, tuple[str, np.ndarray]], **changes: Any) -> None:
    """A .safetensors file, with its types spelt out; `changes` of the first entry make it a hostile one."""
    header: dict[str, Any] = {}
    data = b""
    for name, (dtype, array) in arrays.items():
        raw = _encoded(array, dtype)
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    header[next(iter(arrays))].update(changes)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _encoded(array: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":  # the upper half of a float32, rounded down
        return (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return array.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8", "I32": "<i4", "I64": "<i8"}[dtype]).tobytes()


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def cuda_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let onnxruntime offer CUDA, and fall back to the CPU by itself, as it does without a driver."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    session = onnxruntime.InferenceSession

    def on_the_cpu(path, options, providers, **others):
        return session(path, options, providers=["CPUExecutionProvider"], **others)

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)
