"""An int8 graph from an fp32 one: matrix products in 8-bit integers, embedding tables in 8 bits.

Each `MatMul` with constant weights becomes `MatMulIntegerToFloat`. Weights have one scale a column;
inputs have one fixed scale, set by example texts, so that a vector never depends on the other texts of
its batch, as it does where ranges are taken from the batch (measured on MiniLM: cosine down to 0.95).
Inputs with outliers in some columns are first divided column by column, and the weights multiplied:
SmoothQuant (Xiao et al. 2023); its exponent is chosen product by product, by the error that it leaves.

Weights have 7 bits: without VNNI instructions a processor adds pairs of 8 by 8 bit products in 16
bits, which full 8-bit weights overflow and these do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb_text.export.graph_files import save_graph

Floats = NDArray[np.float32]

_LARGEST_WEIGHT = 63
_LARGEST_ENTRY = 127  # embedding tables are not multiplied
_LARGEST_INPUT = 255
_EXPONENTS = (0.5, 0.65, 0.8, 0.95)
_WORTH_SMOOTHING = 0.5  # a division costs time: it must halve the error at least
_ROWS_KEPT = 512
_LEAST_TABLE = 100_000
_DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Activations:
    """What the examples showed of the input of a product.

    Attributes:
        low, high: the least and the largest number of each column.
        rows: some of its rows.
    """

    low: Floats
    high: Floats
    rows: Floats


@dataclass(frozen=True, slots=True)
class QuantisedInput:
    """How the input of products is quantised: divided by `divisors`, then `round(x / scale) + zero`."""

    divisors: Floats | None
    scale: np.float32
    zero: np.uint8


def quantise(graph: Path, output: Path, examples: Iterable[Mapping[str, NDArray[np.int64]]]) -> None:
    """Write an int8 graph.

    Args:
        graph: the fp32 graph.
        output: the file to write.
        examples: inputs of the graph: a few dozen texts of all kinds.
    """
    import onnx

    model = onnx.load(graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = _products(model, constants)
    seen = observe(model, sorted(products), examples)
    replaced = _Replacements(onnx, model, constants)
    for name, nodes in products.items():
        replaced.products(name, nodes, seen[name])
    for node in model.graph.node:
        if node.op_type == "Gather" and _is_table(constants.get(node.input[0])):
            replaced.table(node)
        elif node.op_type == "Erf":
            replaced.gelu(node)
    replaced.apply()
    save_graph(model, output)


def observe(
    model: Any, names: Sequence[str], examples: Iterable[Mapping[str, NDArray[np.int64]]]
) -> dict[str, Activations]:
    """Run examples through a graph and look at these values inside it; all of their last axis is columns."""
    import onnx
    import onnxruntime

    if not names:
        return {}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = {node.name for node in session.get_inputs()}
    seen: dict[str, list[Floats]] = {name: [] for name in names}
    for example in examples:
        found = session.run(list(names), {key: value for key, value in example.items() if key in asked})
        for name, value in zip(names, found, strict=True):
            seen[name].append(value.reshape(-1, value.shape[-1]))
    return {name: _summary(np.concatenate(values)) for name, values in seen.items()}


def _summary(values: Floats) -> Activations:
    random = np.random.default_rng(0)
    chosen = random.choice(len(values), min(_ROWS_KEPT, len(values)), replace=False)
    return Activations(values.min(axis=0), values.max(axis=0), values[chosen])


def choose_input(seen: Activations, weights: Floats) -> QuantisedInput:
    """The quantisation of an input that leaves the least error in its product with `weights`."""
    exact = seen.rows @ weights
    largest = np.maximum(np.abs(seen.low), np.abs(seen.high)) + 1e-6
    heaviest = np.abs(weights).max(axis=1) + 1e-6
    plain = _fixed_input(seen, None)
    candidates = [_fixed_input(seen, np.asarray(largest**a / heaviest ** (1 - a), np.float32)) for a in _EXPONENTS]
    errors = [float(np.square(_approximate(seen.rows, weights, found) - exact).sum()) for found in candidates]
    best = int(np.argmin(errors))
    without = float(np.square(_approximate(seen.rows, weights, plain) - exact).sum())
    return candidates[best] if errors[best] < _WORTH_SMOOTHING * without else plain


def _fixed_input(seen: Activations, divisors: Floats | None) -> QuantisedInput:
    low = min(float((seen.low if divisors is None else seen.low / divisors).min()), 0.0)
    high = max(float((seen.high if divisors is None else seen.high / divisors).max()), 0.0)
    scale = np.float32(max(high - low, 1e-6) / _LARGEST_INPUT)
    return QuantisedInput(divisors, scale, np.uint8(np.clip(np.rint(-low / scale), 0, _LARGEST_INPUT)))


def _approximate(rows: Floats, weights: Floats, found: QuantisedInput) -> Floats:
    """The product as the int8 graph makes it."""
    divided = rows if found.divisors is None else rows / found.divisors
    numbers = np.clip(np.rint(divided / found.scale) + found.zero, 0, _LARGEST_INPUT) - np.float32(found.zero)
    integers, scales = quantise_columns(_scaled(weights, found))
    product: Floats = (numbers @ integers.astype(np.float32)) * (scales * found.scale)
    return product


def _scaled(weights: Floats, found: QuantisedInput) -> Floats:
    return weights if found.divisors is None else weights * found.divisors[:, None]


def quantise_columns(weights: Floats, largest: int = _LARGEST_WEIGHT) -> tuple[NDArray[np.int8], Floats]:
    """Integers of at most `largest`, and a scale for each column: `weights ≈ integers * scales`."""
    scales = np.abs(weights).max(axis=0) / np.float32(largest)
    scales[scales == 0] = 1
    return np.rint(weights / scales).astype(np.int8), scales.astype(np.float32)


class _Replacements:
    """Collects the nodes and constants of the new graph."""

    def __init__(self, onnx: Any, model: Any, constants: Mapping[str, Any]) -> None:
        self._onnx = onnx
        self._model = model
        self._constants = constants
        self._added: list[Any] = []
        self._nodes: dict[int, list[Any]] = {}
        self._users: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def products(self, name: str, nodes: Sequence[Any], seen: Activations) -> None:
        """Replace all products with one input, which is quantised once."""
        weights = [self._array(node.input[1]) for node in nodes]
        found = choose_input(seen, np.concatenate(weights, axis=1))
        prefix = f"int8/products of {name}"
        before, divided = [], name
        if found.divisors is not None:
            divided = f"{prefix}/divided"
            before.append(self._node("Mul", [name, self._constant(f"{prefix}/factors", 1 / found.divisors)], divided))
        scale = self._constant(f"{prefix}/scale", np.array(found.scale))
        zero = self._constant(f"{prefix}/zero", np.array(found.zero))
        before.append(self._node("QuantizeLinear", [divided, scale, zero], f"{prefix}/integers"))
        for number, (node, weight) in enumerate(zip(nodes, weights, strict=True)):
            integers, scales = quantise_columns(_scaled(weight, found))
            label = f"{prefix}/{number}"
            inputs = [
                f"{prefix}/integers",
                self._constant(f"{label}/weights", integers),
                scale,
                self._constant(f"{label}/scales", scales),
                zero,
                self._constant(f"{label}/zeros", np.zeros(len(scales), np.int8)),
            ]
            bias = self._bias(node)
            if bias is not None:
                inputs.append(bias[1])
                self._nodes[id(bias[0])] = []
            result = node.output[0] if bias is None else bias[0].output[0]
            product = self._node("MatMulIntegerToFloat", inputs, result, domain=_DOMAIN)
            self._nodes[id(node)] = [*(before if number == 0 else []), product]

    def table(self, node: Any) -> None:
        """Replace the lookup of rows in an embedding table; each row has a scale."""
        integers, scales = quantise_columns(self._array(node.input[0]).T, _LARGEST_ENTRY)
        name, rows = node.output[0], node.input[1]
        prefix = f"int8/rows for {name}"
        table = self._constant(f"{prefix}/table", integers.T)
        scales_of_rows = self._constant(f"{prefix}/scales", scales[:, None])
        self._nodes[id(node)] = [
            self._node("Gather", [table, rows], f"{prefix}/integers"),
            self._node("Cast", [f"{prefix}/integers"], f"{prefix}/floats", to=self._onnx.TensorProto.FLOAT),
            self._node("Gather", [scales_of_rows, rows], f"{prefix}/scale"),
            self._node("Mul", [f"{prefix}/floats", f"{prefix}/scale"], name),
        ]

    def gelu(self, erf: Any) -> None:
        """Replace x (1 + erf(x / √2)) / 2, as torch writes GELU, by one operator with tanh for erf.

        The difference (Hendrycks and Gimpel 2016) is far below a step of the integers.
        """
        chain = [self._producer(erf.input[0]), erf]
        while len(chain) < 5 and (user := self._only_user(chain[-1])) is not None:
            chain.append(user)
        if [node.op_type if node else "" for node in chain] != ["Div", "Erf", "Add", "Mul", "Mul"]:
            return
        halved = chain[0].input[0]
        if halved in chain[3].input and self._number(chain[2]) == 1 and self._number(chain[4]) == 0.5:
            self._nodes |= {id(node): [] for node in chain}
            self._nodes[id(chain[4])] = [self._node("FastGelu", [halved], chain[4].output[0], domain=_DOMAIN)]

    def apply(self) -> None:
        """Put the new nodes in the places of the old ones, and drop the constants that nothing uses."""
        graph = self._model.graph
        nodes = [new for node in graph.node for new in self._nodes.get(id(node), [node])]
        used = {name for node in _with_inner(nodes) for name in node.input} | {output.name for output in graph.output}
        nodes = [node for node in nodes if node.op_type != "Constant" or node.output[0] in used]
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        for field, values in ((graph.node, nodes), (graph.initializer, [*kept, *self._added]), (graph.value_info, [])):
            copies = [type(value).FromString(value.SerializeToString()) for value in values]
            del field[:]
            field.extend(copies)
        if not any(entry.domain == _DOMAIN for entry in self._model.opset_import):
            self._model.opset_import.append(self._onnx.helper.make_opsetid(_DOMAIN, 1))

    def _array(self, name: str) -> Floats:
        array: Floats = self._onnx.numpy_helper.to_array(self._constants[name])
        return array

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        self._added.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return self._onnx.helper.make_node(kind, inputs, [output], name=f"{kind} for {output}", **attributes)

    def _producer(self, name: str) -> Any:
        return next((node for node in self._model.graph.node if name in node.output), None)

    def _only_user(self, node: Any) -> Any:
        users = self._users.get(node.output[0], [])
        return users[0] if len(users) == 1 else None

    def _number(self, node: Any) -> float | None:
        """The constant that a node adds or multiplies by."""
        for name in node.input:
            made_by = self._producer(name)
            if name in self._constants:
                return float(self._array(name).reshape(-1)[0])
            if made_by is not None and made_by.op_type == "Constant":
                return float(self._onnx.numpy_helper.to_array(made_by.attribute[0].t).reshape(-1)[0])
        return None

    def _bias(self, node: Any) -> tuple[Any, str] | None:
        """The addition of a constant that alone uses a product, and that constant."""
        user = self._only_user(node)
        if user is None or user.op_type != "Add":
            return None
        others = [name for name in user.input if name != node.output[0]]
        if len(others) == 1 and others[0] in self._constants and len(self._constants[others[0]].dims) == 1:
            return user, others[0]
        return None


def _products(model: Any, constants: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The products with constant weights, by the name of their input."""
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        weights = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weights is not None and len(weights.dims) == 2 and node.input[0] not in constants and _is_float(weights):
            found.setdefault(node.input[0], []).append(node)
    return found


def _is_table(tensor: Any) -> bool:
    return tensor is not None and len(tensor.dims) == 2 and tensor.dims[0] * tensor.dims[1] >= _LEAST_TABLE and (
        _is_float(tensor)
    )


def _is_float(tensor: Any) -> bool:
    return bool(tensor.data_type == 1)  # TensorProto.FLOAT


def _with_inner(nodes: Iterable[Any]) -> Iterator[Any]:
    """The nodes, and those of the branches and loops in them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:
                yield from _with_inner(graph.node)
