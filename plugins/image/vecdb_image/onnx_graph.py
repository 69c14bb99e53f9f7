"""Cutting the graph of an ONNX classifier where its features are: at the input of its last weighted layer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from vecdb import InvalidInputError

_WEIGHTED = {
    "Gemm", "MatMul", "Conv", "FusedGemm", "FusedMatMul", "FusedConv", "QGemm", "QLinearMatMul", "QLinearConv",
    "MatMulInteger", "ConvInteger",
}  # fmt: skip
_POOLING = {"GlobalAveragePool", "AveragePool", "ReduceMean", "GlobalMaxPool", "MaxPool", "QLinearGlobalAveragePool"}
_ACTIVATION = {"Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Gelu", "Mish", "Tanh"}
_PROBABILITY = {"Softmax", "LogSoftmax"}
_JOINING = {"Add", "Concat", "Sum", "Mul", "Div"}  # of two values: a residual sum, a gate, a division by the length
_QUANTISED_INPUT = {"QGemm", "QLinearMatMul", "QLinearConv"}
_LABELS = {1000, 1001, 11221, 21841, 21843}  # ImageNet, with background, and the large ImageNets
_FEATURE_NAMES = {
    "features", "feature", "embedding", "embeddings", "image_embeds", "image_embedding", "pooler_output", "pooled",
}  # fmt: skip
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Features:
    """Where the features are.

    Attributes:
        tensor: the value to take.
        scale: the names of its scale and zero point, where it is quantised.
    """

    tensor: str
    scale: tuple[str, ...] = ()


class Graph:
    """An ONNX model as a graph to be followed and cut.

    Args:
        model: an `onnx.ModelProto`; `cut` changes it.
    """

    def __init__(self, model: Any) -> None:
        self._graph = model.graph
        self._stored = {tensor.name for tensor in self._graph.initializer}
        self._stored |= {tensor.values.name for tensor in self._graph.sparse_initializer}
        self._producers = {output: node for node in self._graph.node for output in node.output if output}
        # A weight may go through DequantizeLinear, Transpose or Cast first. Nodes stand in order of use.
        self._constants = set(self._stored)
        for node in self._graph.node:
            if self._constants.issuperset(_inputs_of(node)):
                self._constants.update(node.output)

    @property
    def inputs(self) -> list[Any]:
        """The inputs that are no weights (old files list these among them)."""
        return [value for value in self._graph.input if value.name not in self._stored]

    @property
    def output(self) -> str:
        """The name of the first output."""
        return str(self._graph.output[0].name)

    def features(self, layer: str | None = None) -> Features:
        """Where the features are.

        Without `layer`: an output that is called features; else the graph is followed back from its
        first output, through operators without weights, to the last one with weights, and the features
        are what goes into it. A graph that ends like a network without a classifier (in a pooling, an
        activation or a sum of two branches, unless it has as many outputs as ImageNet has labels) is
        taken whole.

        Args:
            layer: the name of a tensor, or of a node, whose first output is meant.

        Raises:
            InvalidInputError: there is no such layer; the message names some that there are.
        """
        if layer is not None:
            return Features(self._named(layer))
        named = [value.name for value in self._graph.output if value.name.lower() in _FEATURE_NAMES]
        return Features(named[0]) if named else self._before_classifier()

    def cut(self, features: Features) -> None:
        """Make the features the graph's only output, and drop what they do not need."""
        graph = self._graph
        kept, needed = self._needed([features.tensor, *features.scale])
        for index in reversed(range(len(graph.node))):
            if index not in kept:
                del graph.node[index]
        for stored in (graph.initializer, graph.input):
            for index in reversed(range(len(stored))):
                if stored[index].name not in needed:
                    del stored[index]
        del graph.value_info[:]
        del graph.output[1:]
        graph.output[0].Clear()
        graph.output[0].name = features.tensor
        if features.scale:
            graph.output[0].name += "_as_float"
            inputs = [features.tensor, *features.scale]
            graph.node.add(op_type="DequantizeLinear", input=inputs, output=[graph.output[0].name])

    def mixes_batch(self) -> bool:
        """Whether an operator looks at all items of a batch together, as dynamic quantisation does."""
        return any(node.op_type == "DynamicQuantizeLinear" for node in self._graph.node)

    # --- following ---

    def _before_classifier(self) -> Features:
        output = tensor = self.output
        seen: set[str] = set()
        while (node := self._producers.get(tensor)) is not None:
            values = [name for name in node.input if name and name not in self._constants]
            if not values:
                break
            is_label = bool(seen & _PROBABILITY) or self._is_label(output)
            if node.op_type in _WEIGHTED and self._constants & set(node.input):
                if seen & (_POOLING | _ACTIVATION) and not is_label:
                    break
                return self._into(node, values[0])
            if node.op_type in _JOINING and len(set(values)) > 1 and not is_label:
                break
            seen.add(node.op_type)
            tensor = values[0]
        return Features(output)

    def _into(self, node: Any, value: str) -> Features:
        """What goes into a weighted layer, in floating point."""
        if node.op_type in _QUANTISED_INPUT:
            return Features(value, tuple(node.input[1:3]))
        producer = self._producers.get(value)
        if producer is not None and producer.op_type == "DynamicQuantizeLinear":
            return Features(str(producer.input[0]))
        return Features(value)

    def _is_label(self, output: str) -> bool:
        """Whether an output has as many numbers as ImageNet has labels."""
        sizes = {
            axis.dim_value
            for value in self._graph.output
            if value.name == output
            for axis in value.type.tensor_type.shape.dim
        }
        return bool(sizes & _LABELS)

    def _needed(self, tensors: list[str]) -> tuple[set[int], set[str]]:
        """Positions of the nodes, and names of the tensors, that these tensors are made of."""
        positions = {output: i for i, node in enumerate(self._graph.node) for output in node.output if output}
        kept: set[int] = set()
        needed: set[str] = set()
        waiting = list(tensors)
        while waiting:
            tensor = waiting.pop()
            if tensor in needed:
                continue
            needed.add(tensor)
            position = positions.get(tensor)
            if position is not None and position not in kept:
                kept.add(position)
                waiting += _inputs_of(self._graph.node[position])
        return kept, needed

    def _named(self, layer: str) -> str:
        if layer in self._producers:
            return layer
        nodes = {node.name: str(node.output[0]) for node in self._graph.node if node.name}
        if layer in nodes:
            return nodes[layer]
        near = difflib.get_close_matches(layer, [*self._producers, *nodes], _SHOWN, cutoff=0.5)
        ends = [name for name in self._producers if name not in self._constants][-_SHOWN:]
        raise InvalidInputError(
            f"the model has no tensor or node {layer!r}; "
            + (f"near it: {', '.join(near)}; " if near else "")
            + f"its last tensors are {', '.join(ends)}: name one of these as layer, or leave layer out"
        )


def _inputs_of(node: Any) -> list[str]:
    """All tensors that a node reads, also from within its branches and loops."""
    found = [str(name) for name in node.input if name]
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            made = {output for inner in graph.node for output in inner.output}
            made |= {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            read = {name for inner in graph.node for name in _inputs_of(inner)}
            found += sorted((read | {value.name for value in graph.output}) - made)
    return found
