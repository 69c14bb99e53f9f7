"""Opening an ONNX graph with onnxruntime, on a device, and running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb import EmbedderUnavailableError, ItemError
from vecdb_text.onnx_providers import choose_providers, on_cpu, require_started

_INTEGERS: dict[str, type[np.integer]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_QUIET = 4
# On a CPU the fused operator takes nine times as long as the addition and the normalisation that it
# replaces: a seventh of all the time of an int8 MiniLM (measured with onnxruntime 1.31).
_SLOW_FUSIONS = ["SkipLayerNormFusion"]


class Session:
    """A graph that takes token numbers. Custom operators, which would be foreign code, are never loaded.

    Args:
        path: the graph.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        threads: CPU threads; 0 as many as onnxruntime takes.

    Raises:
        EmbedderUnavailableError: the file is missing, damaged or not for texts; or no such device.
    """

    def __init__(self, path: Path, *, device: str, threads: int) -> None:
        import onnxruntime

        self._path = path
        providers = choose_providers(onnxruntime, device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would burn the CPU
        fusions = _SLOW_FUSIONS if on_cpu(providers) else []
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=providers, disabled_optimizers=fusions
            )
        except Exception as error:  # onnxruntime has an error of its own for each kind of damage
            raise self._unusable(_first_line(error)) from error
        require_started(onnxruntime, self._session, providers, device)
        self.inputs = {node.name: self._integer(node) for node in self._session.get_inputs()}
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.int64]], output: str) -> NDArray[np.float32]:
        """One output for named arrays; those that the graph does not ask for are left out.

        Raises:
            ItemError: the graph fails for them.
            MemoryError: there is not enough memory for them.
        """
        given = {name: inputs[name].astype(kind, copy=False) for name, kind in self.inputs.items()}
        try:
            found: Any = self._session.run([output], given)[0]
        except Exception as error:
            message = _first_line(error)
            if "bad_alloc" in message or "allocate memory" in message:
                raise MemoryError(message) from error
            raise ItemError(f"the graph {self._path} fails for this text ({message}); leave it out") from error
        return np.asarray(found, np.float32)

    def require_inputs(self, known: frozenset[str]) -> None:
        """Raise `EmbedderUnavailableError` if the graph asks for something that a text does not give."""
        if unknown := sorted(set(self.inputs) - known):
            raise self._unusable(f"it asks for {', '.join(unknown)}, and is not a plain encoder of texts")

    def _integer(self, node: Any) -> type[np.integer]:
        if node.type not in _INTEGERS:
            raise self._unusable(f"its input {node.name} is {node.type}, not token numbers")
        return _INTEGERS[node.type]

    def _unusable(self, problem: str) -> EmbedderUnavailableError:
        return EmbedderUnavailableError(
            f"the graph {self._path} cannot be used: {problem}; fetch it again, or make it anew with "
            "`vecdb embedders export`",
            missing=[str(self._path)],
        )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
