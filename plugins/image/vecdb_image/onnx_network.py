"""Networks in ONNX files, run by onnxruntime: the only code that touches it and the `onnx` package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import EmbedderUnavailableError, VecdbError
from vecdb_image.config import CnnConfig
from vecdb_image.devices import onnx_providers
from vecdb_image.network import pooled
from vecdb_image.onnx_graph import Graph
from vecdb_image.preprocessing import PRESETS, Floats, Preprocessing
from vecdb_image.stored_preprocessing import from_metadata, from_processor_file, processor_file

_QUIET = 4  # fatal errors only: what else it has to say is raised as an exception
_TYPES = {1: np.float32, 2: np.uint8, 10: np.float16, 11: np.float64}  # numbers of onnx.TensorProto.DataType
_INSTALL = "pip install 'vecdb-engine[image]'"


def onnx_files(model: Path) -> list[Path]:
    """The files whose content decides the vectors: the model, its weights beside it, its preprocessor_config.json."""
    return [model, *_data_files(model), *filter(None, [processor_file(model)])]


class OnnxNetwork:
    """A classifier in an ONNX file, cut before its last weighted layer; see `Network`.

    Raises:
        EmbedderUnavailableError: a library is missing; the file is missing, damaged, or not a network
            that takes pictures; there is no such device.
        InvalidInputError: no such layer.
    """

    def __init__(self, path: Path, config: CnnConfig) -> None:
        self._path = path
        with self._mapped_errors():
            model = self._read()
            graph = Graph(model)
            self._read_input(graph)
            self.preprocessing = self._stored_preprocessing(model).with_options(config, self._size)
            graph.cut(graph.features(config.layer))
            self._one_by_one = graph.mixes_batch()
            self._session = self._start(model, config)
            height, width = self.preprocessing.input_size
            self.dimension = int(self.features(np.zeros((1, 3, height, width), np.float32)).shape[1])

    def features(self, pixels: Floats) -> Floats:
        """See `Network`."""
        batch = pixels.transpose(0, 2, 3, 1) if self._channels_last else pixels
        batch = np.ascontiguousarray(batch, self._type)
        step = 1 if self._one_by_one else self._batch or len(batch)
        found = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _run(self, batch: Any) -> Floats:
        count = len(batch)
        if self._batch and count < self._batch:  # the graph takes batches of one length only
            batch = np.concatenate([batch, np.zeros_like(batch, shape=(self._batch - count, *batch.shape[1:]))])
        [values] = self._session.run(None, {self._input: batch})
        return pooled(np.asarray(values, np.float32)[:count])

    # --- opening ---

    def _read(self) -> Any:
        try:
            import onnx
            import onnxruntime  # noqa: F401
        except (ImportError, OSError) as error:
            raise EmbedderUnavailableError(
                f"ONNX files cannot be read ({error}): {_INSTALL}", missing=["onnx", "onnxruntime"]
            ) from error
        if not self._path.is_file():
            raise EmbedderUnavailableError(
                f"there is no file {self._path}; give the path of an ONNX file, or the name of a torchvision model",
                missing=[str(self._path)],
            )
        model = onnx.load(self._path, load_external_data=False)
        if not model.graph.node or not model.graph.output:
            raise EmbedderUnavailableError(f"{self._path} holds no network; export it again as ONNX")
        self._read_external_data(onnx, model)
        return model

    def _read_external_data(self, onnx: Any, model: Any) -> None:
        helper = onnx.external_data_helper
        named = {
            entry.value
            for tensor in helper._get_all_tensors(model)  # noqa: SLF001  (the package has no other way to list them)
            if helper.uses_external_data(tensor)
            for entry in tensor.external_data
            if entry.key == "location"
        }
        unknown = named - {file.name for file in _data_files(self._path)}
        if unknown:
            raise EmbedderUnavailableError(
                f"{self._path} keeps its weights in {', '.join(sorted(unknown))}, not in {self._path.name}.data or "
                f"{self._path.name}_data beside it; put that file there, or make one file with "
                "onnx.save(onnx.load(FILE), OUT)",
                missing=sorted(unknown),
            )
        if named:
            helper.load_external_data_for_model(model, str(self._path.parent))

    def _read_input(self, graph: Graph) -> None:
        """Name, type, layout and fixed sizes of the input."""
        if len(graph.inputs) != 1:
            names = ", ".join(value.name for value in graph.inputs) or "none"
            raise EmbedderUnavailableError(
                f"{self._path} has the inputs {names}, not one that takes pictures; export the image encoder alone"
            )
        [value] = graph.inputs
        kind = value.type.tensor_type
        sizes = [axis.dim_value or None for axis in kind.shape.dim]
        self._input = value.name
        self._channels_last = len(sizes) == 4 and sizes[3] == 3 and sizes[1] != 3
        channels = sizes[3] if self._channels_last else sizes[1] if len(sizes) == 4 else 0
        if kind.elem_type not in _TYPES or channels not in (3, None):
            raise EmbedderUnavailableError(
                f"{self._path} takes an input of shape {sizes}, not pictures of shape (n, 3, height, width) or "
                "(n, height, width, 3); give an image classifier"
            )
        self._type = _TYPES[kind.elem_type]
        self._batch = sizes[0]
        height, width = sizes[1:3] if self._channels_last else sizes[2:]
        self._size = (height, width) if height and width else None

    def _stored_preprocessing(self, model: Any) -> Preprocessing:
        if self._type is np.uint8:
            return PRESETS["raw"]
        beside = processor_file(self._path)
        if beside is not None:
            return from_processor_file(beside)
        return from_metadata({entry.key: entry.value for entry in model.metadata_props}) or PRESETS["imagenet"]

    def _start(self, model: Any, config: CnnConfig) -> Any:
        import onnxruntime

        providers = onnx_providers(config.device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        # Threads that wait spin by default, and take the cores from those that decode pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if config.threads is not None:
            options.intra_op_num_threads = config.threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
        if config.device != "auto" and wanted not in session.get_providers():
            raise EmbedderUnavailableError(
                f"device={config.device!r}: onnxruntime cannot start {wanted} (a driver or library of it is missing); "
                "install it, or take device='cpu'"
            )
        return session

    @contextlib.contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except (VecdbError, MemoryError):
            raise
        except Exception as error:  # protobuf and onnxruntime have an exception for each occasion
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise EmbedderUnavailableError(
                f"{self._path} cannot be run as an ONNX image network ({reason}); get a whole copy, or export it again"
            ) from error


def _data_files(model: Path) -> list[Path]:
    """Weights beside the model, by the names that torch and optimum give them."""
    candidates = [model.with_name(model.name + ending) for ending in (".data", "_data")]
    return [path for path in candidates if path.is_file()]

