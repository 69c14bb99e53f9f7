"""ONNX networks that the tests make: a small one in many shapes, and MobileNetV1 from its real weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import vecdb_image

[INFO] = vecdb_image.vecdb_register_embedders()
SIZE = 32
OPSET = 17


def embedder(model: Any, **options: Any) -> Any:
    """A loaded embedder."""
    made = INFO.create(INFO.configure({"model": model, **options}))
    made.load()
    return made


def cosine(first: Any, second: Any) -> float:
    """Cosine of the angle between two vectors."""
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


class NetworkWriter:
    """Puts an ONNX graph together, one operator after another; `value` is the name of the last result."""

    def __init__(self, input_name: str = "image", seed: int = 0) -> None:
        self.value = input_name
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(seed)

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """An operator on the last value and on `inputs`; its result is the new value."""
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                operator, [self.value, *inputs], [name], name=f"{operator}_{len(self.nodes)}", **attributes
            )
        )
        self.value = name
        return name

    def stored(self, array: NDArray[Any]) -> str:
        """The name of a constant."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def random(self, *shape: int) -> str:
        """The name of a random weight with outputs of about the size of its inputs."""
        fan_in = float(np.prod(shape[1:]))
        return self.stored((self._random.standard_normal(shape) * (2 / fan_in) ** 0.5).astype(np.float32))

    def model(self, input_shape: list[Any], outputs: dict[str, list[Any]], *, kind: int = TensorProto.FLOAT) -> Any:
        """The whole as an `onnx.ModelProto`."""
        inputs = [helper.make_tensor_value_info("image", kind, input_shape)]
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "network", inputs, made, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def body(writer: NetworkWriter) -> None:
    """Two convolutions and a pooling: 3 channels to 16 features."""
    writer.add("Conv", writer.random(8, 3, 3, 3), strides=[2, 2], pads=[1] * 4)
    writer.add("Relu")
    writer.add("Conv", writer.random(16, 8, 3, 3), strides=[2, 2], pads=[1] * 4)
    writer.add("Relu", output="map")
    writer.add("GlobalAveragePool")
    writer.add("Flatten", output="pooled_map")


def classifier(*, batch: Any = "n", size: int | None = SIZE, labels: int = 10, softmax: bool = False) -> Any:
    """A small classifier of pictures with random weights: features `pooled_map` (16), output `logits`."""
    writer = NetworkWriter()
    body(writer)
    writer.add("Gemm", writer.random(labels, 16), transB=1, output="logits")
    if softmax:
        writer.add("Softmax", output="probabilities")
    sides = [size or "height", size or "width"]
    return writer.model([batch, 3, *sides], {writer.value: [batch, labels]})


def saved(model: Any, path: Path) -> Path:
    """The model as a file."""
    onnx.save(model, path)
    return path


def values_of(model: Any, tensor: str, pixels: NDArray[Any]) -> NDArray[Any]:
    """What onnxruntime gives for a tensor when it runs the whole graph, uncut."""
    import onnxruntime

    whole = onnx.ModelProto.FromString(model.SerializeToString())
    if tensor not in [value.name for value in whole.graph.output]:
        whole.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([tensor], {session.get_inputs()[0].name: pixels})[0])


def mobilenet_v1(weights: Path, path: Path) -> Path:
    """MobileNetV1 (Howard et al. 2017) as an ONNX file, from weights in torch's layout with folded norms."""
    from safetensors.numpy import load_file

    stored = load_file(weights)
    writer = NetworkWriter()
    for layer in range(27):
        stride = 2 if layer in (0, 3, 7, 11, 23) else 1
        depthwise = layer % 2 == 1
        kernel = stored[f"conv{layer}.weight"]
        pads = [0, 0, 0, 0] if kernel.shape[-1] == 1 else [0, 0, 1, 1] if stride == 2 else [1, 1, 1, 1]
        names = writer.stored(kernel), writer.stored(stored[f"conv{layer}.bias"])
        writer.add("Conv", *names, strides=[stride] * 2, pads=pads, group=len(kernel) if depthwise else 1)
        writer.add("Clip", writer.stored(np.float32(0)), writer.stored(np.float32(6)))
    writer.add("GlobalAveragePool")
    writer.add("Flatten")
    kernel = stored["classifier.weight"].reshape(1001, 1024)
    writer.add("Gemm", writer.stored(kernel), writer.stored(stored["classifier.bias"]), transB=1, output="logits")
    return saved(writer.model(["n", 3, 224, 224], {"logits": ["n", 1001]}), path)
