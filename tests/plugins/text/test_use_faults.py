"""`use` with files that are missing, damaged, or made to do harm."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.text import use_models
from vecdb import Embedder, EmbedderUnavailableError
from vecdb_text import vecdb_register_embedders

INFO = next(info for info in vecdb_register_embedders() if info.name == "use")


def embedder(model: Path, **options: Any) -> Embedder:
    made = INFO.create(INFO.configure({"model": model, **options}))
    made.load()
    return made


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the manifest of a TF.js model."""

    def apply(folder: Path) -> None:
        path = folder / "model.json"
        content = json.loads(path.read_text())
        change(content["weightsManifest"][0])
        path.write_text(json.dumps(content))

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return apply


def constant(name: str, value: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        [full] = [key for key in use_models.CONSTANTS if key.endswith(name)]
        use_models.write_tfjs(folder, constants={**use_models.CONSTANTS, full: value})

    return apply


def weight(name: str, value: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        weights = use_models.tensors()
        if value is None:
            del weights[name]
        else:
            weights[name] = value
        use_models.write_tfjs(folder, weights)

    return apply


LAYER = "layer1.out.kernel"
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no shard": (lambda folder: (folder / "group1-shard1of3").unlink(), "a shard cannot be read .*; put all shards"),
    "cut shard": (write("group1-shard2of3", b"\0" * 99), "promises .* bytes of weights, its shards hold"),
    "long shard": (write("group1-shard2of3", b"\0" * 99_999), "promises .* bytes of weights, its shards hold"),
    "shard elsewhere": (edit(lambda group: group["paths"].append("../secret")), "names the shard '../secret'"),
    "shard as address": (edit(lambda group: group["paths"].append("https://x/y")), "which is not a file beside it"),
    "shard absolute": (edit(lambda group: group["paths"].append("/etc/passwd")), "which is not a file beside it"),
    "no shards": (edit(lambda group: group["paths"].clear()), "its weightsManifest is damaged"),
    "huge shape": (edit(lambda group: group["weights"][0].update(shape=[10**9, 10**9])), "promises 4000000000"),
    "negative shape": (edit(lambda group: group["weights"][0].update(shape=[-1, 8])), "an entry .* is damaged"),
    "shape of text": (edit(lambda group: group["weights"][0].update(shape="8")), "an entry .* is damaged"),
    "quantised": (edit(lambda group: group["weights"][0].update(quantization={})), "is quantised or float32"),
    "strings": (edit(lambda group: group["weights"][0].update(dtype="string")), "is quantised or string"),
    "no weights": (edit(lambda group: group.pop("weights")), "its weightsManifest is damaged"),
    "not json": (write("model.json", b"{"), "is not JSON .*; fetch it again"),
    "deep json": (write("model.json", b"[" * 200_000), "is not JSON"),
    "other json": (write("model.json", b"[1]"), "is not a TF.js graph model"),
    "no vocabulary": (lambda folder: (folder / "vocab.json").unlink(), "there is no such file; put it beside"),
    "short vocabulary": (write("vocab.json", b"[]"), "is not a list of pieces"),
    "odd vocabulary": (
        lambda folder: use_models.write_vocabulary(folder, [*use_models.PIECES, ["x"]]),
        r"entry \d+ is not \[piece, score\]",
    ),
    "infinite score": (
        lambda folder: use_models.write_vocabulary(folder, [*use_models.PIECES, ["x", float("inf")]]),
        r"entry \d+ is not \[piece, score\]",
    ),
    "empty piece": (
        lambda folder: use_models.write_vocabulary(folder, [*use_models.PIECES, ["", -1.0]]),
        r"entry \d+ is not \[piece, score\]",
    ),
    "long vocabulary": (
        lambda folder: use_models.write_vocabulary(folder, [*use_models.PIECES, *[["x", -1.0]] * 9]),
        "pieces, but the model knows",
    ),
    "eight heads": (constant("shape/2", np.int32(8)), "is not 4"),
    "longer texts": (constant("Less/y", np.int32(256)), "is not 128"),
    "another epsilon": (constant("Cast/x", np.float32(1e-3)), "is not 1e-06"),
    "another graph": (lambda folder: use_models.write_tfjs(folder, constants={}), "is not the graph of USE-lite"),
    "nan": (weight("layer0.ln1.bias", np.full(8, np.nan, np.float32)), "layer0.ln1.bias holds NaN or infinity"),
    "missing tensor": (weight(LAYER, None), "the tensor layer1.out.kernel is missing"),
    "wrong shape": (weight(LAYER, np.zeros((15, 16), np.float32)), r"has shape \(15, 16\), not \(16, any\)"),
    "no layers": (weight("layer0.qkv.kernel", None), "the tensor layer0.qkv.kernel is missing"),
    "odd heads": (
        lambda folder: use_models.write_tfjs(
            folder,
            {
                **use_models.tensors(),
                "layer0.qkv.kernel": np.ones((8, 18), np.float32),
                "layer0.qkv.bias": np.ones(18, np.float32),
            },
        ),
        "18 columns, not three times 4 heads",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_named_with_what_to_do(tmp_path: Path, case: str) -> None:
    change, message = BROKEN[case]
    change(use_models.write_tfjs(tmp_path))
    with pytest.raises(EmbedderUnavailableError, match=message) as caught:
        embedder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "; " in str(caught.value)


def test_what_is_not_there_or_not_one(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailableError, match="the folder holds no model; give a folder with"):
        embedder(tmp_path)
    with pytest.raises(EmbedderUnavailableError, match="there is no such file or folder"):
        embedder(tmp_path / "absent")
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(EmbedderUnavailableError, match=r"several models \(a.onnx, b.onnx\); name the file"):
        embedder(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_on(tmp_path: Path) -> None:
    use_models.write_tfjs(tmp_path)
    (tmp_path / "vocab.json").unlink()
    os.mkfifo(tmp_path / "vocab.json")
    with pytest.raises(EmbedderUnavailableError, match=r"vocab.json: is not a file; put the file"):
        embedder(tmp_path)


@pytest.mark.parametrize("name", ["use.safetensors", "use.onnx", "model.json", "use.pt", "use.pkl", "use.h5"])
def test_a_pickle_in_disguise_is_never_opened(tmp_path: Path, name: str) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "trapped",)

    use_models.write_vocabulary(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EmbedderUnavailableError):
        embedder(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_a_device_is_refused(tmp_path: Path) -> None:
    model = use_models.write_tfjs(tmp_path)
    with pytest.raises(EmbedderUnavailableError, match="runs on the CPU, not on device='cuda'; leave the option"):
        embedder(model, device="cuda")


def test_safetensors_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = use_models.write_safetensors(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(EmbedderUnavailableError, match=r"needs safetensors: pip install safetensors$"):
        embedder(model)


def test_safetensors_of_another_type(tmp_path: Path) -> None:
    model = use_models.write_safetensors(tmp_path, {**use_models.tensors(), "tanh.bias": np.ones(12, np.float16)})
    with pytest.raises(EmbedderUnavailableError, match=r"tanh\.bias is float16, not float32"):
        embedder(model)


def test_no_cut_crashes(tmp_path: Path) -> None:
    """Cut anywhere, a file is refused."""
    tfjs, safetensors = use_models.write_tfjs(tmp_path / "a"), use_models.write_safetensors(tmp_path / "b")
    for path in (tfjs / "model.json", tfjs / "vocab.json", safetensors / "use.safetensors"):
        whole = path.read_bytes()
        for length in range(0, len(whole), 211):
            path.write_bytes(whole[:length])
            with pytest.raises(EmbedderUnavailableError):
                embedder(path.parent)
        path.write_bytes(whole)
