"""Small Universal Sentence Encoders in each format, and the same arithmetic written plainly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

RESERVED = ["\ufffd", "<s>", "</s>", "extra_1", "extra_2", "extra_3"]
WORDS = ["▁the", "▁cat", "▁dog", "▁king", "▁queen", "▁sat", "▁on", "▁mat", "ing", "ed", "er", "qu"]
PIECES: list[tuple[str, float | None]] = [
    *((piece, 0) for piece in RESERVED),
    *((piece, -3 - i / 7) for i, piece in enumerate(WORDS)),
    *((letter, -6 - i / 11) for i, letter in enumerate("▁abcdefghijklmnoprstuvwxyz")),  # no "q": only "qu"
    (":", None),
]
WIDTHS = (8, 16, 16)
FFN, DIMENSION = 24, 12
SHARDS = 3


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under plain names; the attention of the first layer makes 16 numbers of 8."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"embeddings.weight": (len(PIECES) + 2, WIDTHS[0])}
    for i, (inner, outer) in enumerate(pairwise(WIDTHS)):
        sizes = {"qkv": (inner, 3 * inner), "out": (inner, outer), "ffn1": (outer, FFN), "ffn2": (FFN, outer)}
        if inner != outer:
            sizes["residual"] = (inner, outer)
        for name, size in sizes.items():
            shapes |= {f"layer{i}.{name}.kernel": size, f"layer{i}.{name}.bias": size[1:]}
        for name, width in (("ln1", inner), ("ln2", outer)):
            shapes |= {f"layer{i}.{name}.scale": (width,), f"layer{i}.{name}.bias": (width,)}
    shapes |= {"tanh.kernel": (WIDTHS[-1], DIMENSION), "tanh.bias": (DIMENSION,)}
    found = {
        name: random.standard_normal(shape, np.float32) * np.float32(shape[0] ** -0.5 if len(shape) == 2 else 0.3)
        for name, shape in shapes.items()
    }
    found["embeddings.weight"] *= 3
    found["timing.inv_freq"] = np.array([1, 0.3, 0.1, 0.03], np.float32)
    return found


def plain_vector(weights: dict[str, np.ndarray], ids: Sequence[int]) -> np.ndarray:
    """One text, as the README of the shared weights writes the network; float64."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    angles = np.arange(len(ids))[:, None] * w["timing.inv_freq"]
    x = 2 * w["embeddings.weight"][list(ids)] + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for i in range(2):
        def affine(name: str, x: np.ndarray, i: int = i) -> np.ndarray:
            return x @ w[f"layer{i}.{name}.kernel"] + w[f"layer{i}.{name}.bias"]

        def norm(name: str, x: np.ndarray, i: int = i) -> np.ndarray:
            centred = x - x.mean(axis=1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
            return scaled * w[f"layer{i}.{name}.scale"] + w[f"layer{i}.{name}.bias"]

        heads = []
        q, k, v = np.split(affine("qkv", norm("ln1", x)), 3, axis=1)
        for a, b, c in zip(*(np.split(part, 4, axis=1) for part in (q, k, v)), strict=True):
            scores = np.exp(a @ b.T / np.sqrt(a.shape[1]))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ c)
        x = affine("out", np.concatenate(heads, axis=1)) + (affine("residual", x) if i == 0 else x)
        x = x + affine("ffn2", np.maximum(affine("ffn1", norm("ln2", x)), 0))
    vector = np.tanh(x.mean(axis=0) @ w["tanh.kernel"] + w["tanh.bias"])
    return vector / np.linalg.norm(vector)


def write_vocabulary(folder: Path, pieces: Any = PIECES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(pieces), encoding="utf-8")


def write_safetensors(folder: Path, weights: dict[str, np.ndarray] | None = None) -> Path:
    from safetensors.numpy import save_file

    write_vocabulary(folder)
    save_file(tensors() if weights is None else weights, folder / "use.safetensors")
    return folder


_STACK = "module_apply_default/Encoder_en/KonaTransformer/Encode/"
CONSTANTS = {
    "Layer_1/TransformerLayer/MultiheadAttention/split_heads/split_last_dimension/Reshape/shape/2": np.int32(4),
    "ClipToMaxLength/Less/y": np.int32(128),
    "Layer_1/TransformerLayer/FFN/layer_prepostprocess/layer_norm/Cast/x": np.float32(1e-6),
    "Layer_0/SequenceMask/Const": np.int32(0),
}


def graph_name(plain: str) -> str:
    """What a weight is called in the graph of the release."""
    if plain == "embeddings.weight":
        return "module/Embeddings_en"
    if plain == "timing.inv_freq":
        return _STACK + "TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1"
    part, name, *last = plain.split(".")
    if part == "tanh":
        return "module/Encoder_en/hidden_layers/tanh_layer_0/" + {"kernel": "weights", "bias": "bias"}[name]
    layer = f"{_STACK}Layer_{part[-1]}/TransformerLayer/"
    names = {
        "ln1": f"layer_prepostprocess/layer_norm/layer_norm_{last[0]}/ConcatPartitions/concat",
        "ln2": f"FFN/layer_prepostprocess/layer_norm/layer_norm_{last[0]}/ConcatPartitions/concat",
        "qkv": f"MultiheadAttention/qkv_transform_single/{last[0]}/part_0",
        "out": f"MultiheadAttention/output_transform_single/{last[0]}/part_0",
        "residual": f"dense/{last[0]}/ConcatPartitions/concat",
    }
    for i in (1, 2):
        kernel = last[0] == "kernel"
        names[f"ffn{i}"] = f"FFN/conv{i}/" + ("Tensordot/Reshape_1" if kernel else "bias/ConcatPartitions/concat")
    return layer + names[name]


def write_tfjs(
    folder: Path, weights: dict[str, np.ndarray] | None = None, constants: dict[str, Any] = CONSTANTS
) -> Path:
    """model.json and its shards, with kernels of attention as convolutions (1, 1, inputs, outputs)."""
    write_vocabulary(folder)
    entries, data = [], b""
    for plain, tensor in (tensors() if weights is None else weights).items():
        convolution = plain.endswith(("qkv.kernel", "out.kernel"))
        shape = [1, 1, *tensor.shape] if convolution else [1, *tensor.shape] if "timing" in plain else tensor.shape
        entries.append({"name": graph_name(plain), "shape": list(shape), "dtype": "float32"})
        data += tensor.astype("<f4").tobytes()
    for name, value in constants.items():
        entries.append({"name": _STACK + name, "shape": [], "dtype": value.dtype.name})
        data += value.tobytes()
    size = -(-len(data) // SHARDS)
    shards = [data[start : start + size] for start in range(0, len(data), size)]
    names = [f"group1-shard{i + 1}of{SHARDS}" for i in range(SHARDS)]
    for name, shard in zip(names, shards, strict=True):
        (folder / name).write_bytes(shard)
    manifest = [{"paths": names, "weights": entries}]
    (folder / "model.json").write_text(json.dumps({"modelTopology": {"node": []}, "weightsManifest": manifest}))
    return folder


def onnx_model(words: Sequence[str] = ("the", "cat", "dog", "king", "queen", "sat"), *, domain: str = "") -> Any:
    """A graph from strings to vectors: counts of known words, times random numbers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.random.default_rng(0).standard_normal((len(words), DIMENSION)).astype(np.float32)
    nodes = [
        helper.make_node("StringSplit", ["inputs"], ["words", "counts"], delimiter=" "),
        helper.make_node(
            "TfIdfVectorizer", ["words"], ["known"], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
            ngram_counts=[0], ngram_indexes=list(range(len(words))), pool_strings=list(words),
        ),
        helper.make_node("MatMul", ["known", "kernel"], ["product"]),
        helper.make_node("Tanh", ["product"], ["outputs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("inputs", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["n", DIMENSION])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_onnx(folder: Path, model: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "use.onnx").write_bytes((model or onnx_model()).SerializeToString())
    return folder
