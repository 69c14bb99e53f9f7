"""Reading the weights of USE-lite under plain names, from TF.js shards or safetensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb import EmbedderUnavailableError
from vecdb_text.universal.files import read_json, unusable

_ADVICE = "fetch the model again, as it was published"
_ITEM_BYTES = {"float32": 4, "int32": 4}
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# Where a weight stands in the graph, as the ends of names, and its plain name.
_LAYER = r".*/Layer_(\d)/TransformerLayer/"
_NAMES = (
    (r".*/Embeddings_en", "embeddings.weight"),
    (r".*/AddTimingSignal/TimingSignal/ExpandDims_1", "timing.inv_freq"),
    (r".*/hidden_layers/tanh_layer_0/weights", "tanh.kernel"),
    (r".*/hidden_layers/tanh_layer_0/bias", "tanh.bias"),
    (_LAYER + r"layer_prepostprocess/layer_norm/layer_norm_(scale|bias)/.*", r"layer\1.ln1.\2"),
    (_LAYER + r"FFN/layer_prepostprocess/layer_norm/layer_norm_(scale|bias)/.*", r"layer\1.ln2.\2"),
    (_LAYER + r"MultiheadAttention/qkv_transform_single/(kernel|bias)/.*", r"layer\1.qkv.\2"),
    (_LAYER + r"MultiheadAttention/output_transform_single/(kernel|bias)/.*", r"layer\1.out.\2"),
    (_LAYER + r"dense/(kernel|bias)/.*", r"layer\1.residual.\2"),
    (_LAYER + r"FFN/conv([12])/(bias)/.*", r"layer\1.ffn\2.\3"),
    (_LAYER + r"FFN/conv([12])/Tensordot/Reshape_1", r"layer\1.ffn\2.kernel"),
)

# What the graph holds beside weights, and `network.py` takes for granted.
_CONSTANTS = {
    r".*/split_last_dimension/Reshape/shape/2": 4,
    r".*/ClipToMaxLength/Less/y": 128,
    r".*/layer_norm/Cast/x": 1e-6,
}


class Tensors:
    """Float32 tensors by name; `take` checks what it hands out."""

    def __init__(self, path: Path, found: Mapping[str, NDArray[np.float32]]) -> None:
        self._path = path
        self._found = found

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def take(self, name: str, *shape: int | None) -> NDArray[np.float32]:
        """The tensor of this name and shape (None: any length from 1).

        Raises:
            EmbedderUnavailableError: there is none, it has another shape, or it holds NaN or infinity.
        """
        if name not in self._found:
            raise self.unusable(f"the tensor {name} is missing")
        tensor = self._found[name]
        fits = tensor.ndim == len(shape) and all(
            got >= 1 and wanted in (None, got) for got, wanted in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            raise self.unusable(f"the tensor {name} has shape {tensor.shape}, not {_shape_text(shape)}")
        if not np.isfinite(tensor).all():
            raise self.unusable(f"the tensor {name} holds NaN or infinity")
        return tensor

    def unusable(self, problem: str) -> EmbedderUnavailableError:
        """The error for a model whose tensors do not make a network."""
        return unusable(self._path, problem, _ADVICE)


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"


def read_safetensors(path: Path) -> Tensors:
    """The tensors of a safetensors file, which must be float32.

    Raises:
        EmbedderUnavailableError: the library is not installed, or the file is missing or damaged.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise EmbedderUnavailableError(
            f"reading {path} needs safetensors: pip install safetensors", missing=["safetensors"]
        ) from error
    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise unusable(path, f"is not a safetensors file, or is damaged ({error})", _ADVICE) from error
    for name, tensor in found.items():
        if tensor.dtype != np.float32:
            raise unusable(path, f"the tensor {name} is {tensor.dtype}, not float32", _ADVICE)
    return Tensors(path, found)


def shard_paths(manifest: Path) -> list[Path]:
    """The files that the weights of a TF.js model lie in, beside its model.json.

    Raises:
        EmbedderUnavailableError: model.json is missing or damaged, or names files elsewhere.
    """
    return [path for paths, _ in _groups(manifest) for path in paths]


def read_tfjs(manifest: Path) -> Tensors:
    """The weights of a TF.js graph model of USE-lite.

    The graph is not run: its weights are known by their names, and the constants in it show that it
    computes what `network.py` does.

    Raises:
        EmbedderUnavailableError: a file is missing, cut off or damaged, or it is another model.
    """
    found: dict[str, NDArray[np.float32]] = {}
    unseen = dict(_CONSTANTS)
    for paths, entries in _groups(manifest):
        for name, tensor in _read_group(manifest, paths, entries):
            plain = _plain_name(name)
            if plain is not None:
                found[plain] = tensor.reshape([length for length in tensor.shape if length != 1] or [1])
            for pattern, expected in _CONSTANTS.items():
                if re.fullmatch(pattern, name):
                    unseen.pop(pattern, None)
                    if tensor.size != 1 or not math.isclose(float(tensor.reshape(())), expected, rel_tol=1e-6):
                        raise unusable(manifest, f"its constant {name} is not {expected}", "only USE-lite is known")
    if unseen:
        raise unusable(manifest, "is not the graph of USE-lite", "give that model, or an ONNX export of yours")
    return Tensors(manifest, found)


def _plain_name(name: str) -> str | None:
    for pattern, plain in _NAMES:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(plain)
    return None


def _groups(manifest: Path) -> Iterator[tuple[list[Path], list[dict[str, Any]]]]:
    """Of each group of the manifest the shards, and the entries of the weights in them."""
    content = read_json(manifest)
    groups = content.get("weightsManifest") if isinstance(content, dict) else None
    if not isinstance(groups, list) or not groups:
        raise unusable(manifest, "is not a TF.js graph model (no weightsManifest)", _ADVICE)
    for group in groups:
        match group:
            case {"paths": [_, *_] as names, "weights": list(entries)}:
                pass
            case _:
                raise unusable(manifest, "its weightsManifest is damaged", _ADVICE)
        for name in names:
            if not (isinstance(name, str) and _SHARD_NAME.fullmatch(name)):
                raise unusable(manifest, f"names the shard {name!r}, which is not a file beside it", _ADVICE)
        yield [manifest.with_name(name) for name in names], entries


def _read_group(
    manifest: Path, paths: list[Path], entries: list[dict[str, Any]]
) -> Iterator[tuple[str, NDArray[Any]]]:
    wanted = [_entry(manifest, entry) for entry in entries]
    promised = sum(size for _, _, _, size in wanted)
    try:
        stored = sum(path.stat().st_size for path in paths)
        if stored != promised:
            raise unusable(manifest, f"promises {promised} bytes of weights, its shards hold {stored}", _ADVICE)
        data = b"".join(path.read_bytes() for path in paths)
    except OSError as error:
        raise unusable(manifest, f"a shard cannot be read ({error})", "put all shards beside it") from error
    offset = 0
    for name, dtype, shape, size in wanted:
        tensor = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), math.prod(shape), offset).reshape(shape)
        yield name, tensor
        offset += size


def _entry(manifest: Path, entry: Any) -> tuple[str, str, list[int], int]:
    """Name, dtype, shape and bytes of a weight."""
    match entry:
        case {"name": str(name), "dtype": str(dtype), "shape": list(shape)}:
            if "quantization" in entry or dtype not in _ITEM_BYTES:
                raise unusable(manifest, f"the weight {name} is quantised or {dtype}", "give the float32 model")
            if len(shape) <= 8 and all(type(length) is int and length >= 0 for length in shape):
                return name, dtype, shape, math.prod(shape) * _ITEM_BYTES[dtype]
    raise unusable(manifest, "an entry of its weightsManifest is damaged", _ADVICE)
