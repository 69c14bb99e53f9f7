"""An encoder in ONNX that gives its last hidden states, run by onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vecdb_text.onnx_encoder.external_data import external_files
from vecdb_text.onnx_providers import choose_providers, require_started
from vecdb_text.transformer.config import BertConfig
from vecdb_text.transformer.model_files import weight_files
from vecdb_text.transformer.runtime import import_library, unusable
from vecdb_text.transformer.windows import Tokens

_PLACES = ("model.onnx", "onnx/model.onnx")
_OUTPUTS = ("last_hidden_state", "token_embeddings", "hidden_states")
_DEFAULT_LENGTH = 512


def find_graph(folder: Path) -> Path | None:
    """The ONNX graph of a folder that has no torch weights beside it."""
    if any(path.suffix in (".safetensors", ".bin") for path in weight_files(folder)):
        return None
    return next((folder / place for place in _PLACES if (folder / place).is_file()), None)


def graph_files(graph: Path, folder: Path) -> list[Path]:
    """The graph, the weights that it may keep beside it, and the tokenizer's files."""
    texts = [path for path in weight_files(folder) if path.suffix not in (".safetensors", ".bin")]
    return [graph, *external_files(graph), *texts]


class OnnxGraph:
    """Runs the graph.

    Raises:
        EmbedderUnavailableError: onnxruntime is missing, the file is damaged or gives no hidden states,
            or there is no such device.
    """

    def __init__(self, torch: Any, graph: Path, config: BertConfig) -> None:
        runtime = import_library("onnxruntime")
        self._torch = torch
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = config.threads
        device = "cpu" if config.device == "auto" else config.device
        providers = choose_providers(runtime, device)
        self._session = runtime.InferenceSession(str(graph), options, providers=providers)
        require_started(runtime, self._session, providers, device)
        self._inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name: len(node.shape) for node in self._session.get_outputs()}
        output = next((name for name in _OUTPUTS if outputs.get(name) == 3), None)
        if output is None:
            raise unusable(config.model, f"it has no output {_OUTPUTS[0]} of shape (texts, tokens, dimension)")
        self._output = output

    def positions(self, folder: Path) -> int:
        """Tokens that the model takes: what config.json says, or 512."""
        path = folder / "config.json"
        settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return int(settings.get("max_position_embeddings") or _DEFAULT_LENGTH)

    def __call__(self, numbers: Tokens, kinds: Tokens, mask: Tokens, layers: Sequence[int]) -> Any:  # noqa: ARG002
        """The last hidden states, a tensor of shape (texts, tokens, dimension)."""
        inputs = {"input_ids": numbers, "token_type_ids": kinds, "attention_mask": mask}
        given = {name: array for name, array in inputs.items() if name in self._inputs}
        return self._torch.from_numpy(self._session.run([self._output], given)[0])
