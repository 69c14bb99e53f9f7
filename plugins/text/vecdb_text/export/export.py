"""From a sentence-transformers model to a folder for the embedder `onnx`."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb import AlreadyExistsError, EmbedderUnavailableError, InvalidInputError, VecdbError, Windows
from vecdb_text.export.graph_files import save_graph
from vecdb_text.export.quantise import quantise
from vecdb_text.export.sentences import calibration_texts, check_texts
from vecdb_text.onnx_encoder.config import OnnxConfig
from vecdb_text.onnx_encoder.embedder import OnnxEmbedder, Role
from vecdb_text.transformer.config import SentenceTransformersConfig
from vecdb_text.transformer.model_files import model_folder
from vecdb_text.transformer.runtime import import_library, loading
from vecdb_text.transformer.windows import padded

DEFAULT_OPSET = 17
MIN_COSINE = 0.9999
"""What the fp32 graph must reach for each text that is checked; a right one reaches 0.999999."""

_LIBRARIES = ("torch", "sentence_transformers", "onnxruntime", "onnx")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".h5", ".onnx", ".msgpack", ".md")
_ROLES: tuple[Role, ...] = ("document", "query")
_CALIBRATION_TOKENS = 256


@dataclass(frozen=True, slots=True)
class ExportedGraph:
    """One graph of an exported model.

    Attributes:
        name: its file within the folder.
        size: bytes, those of weights beside it too.
        least_cosine, mean_cosine: with the original's vectors, over texts of many kinds.
    """

    name: str
    size: int
    least_cosine: float
    mean_cosine: float


def export_model(model: str, output: Path, *, int8: bool = True, opset: int = DEFAULT_OPSET) -> list[ExportedGraph]:
    """Write a folder with model.onnx, model_int8.onnx, the tokenizer and the settings.

    The folder appears when all is done and checked, or not at all.

    Args:
        model: a folder, or a name on the model hub, which is fetched.
        output: the folder to make.
        int8: whether to make model_int8.onnx too.
        opset: the version of ONNX's operators.

    Raises:
        AlreadyExistsError: there is something at `output`.
        EmbedderUnavailableError: a library is missing, the model cannot be loaded or exported, or the
            graph does not give the model's vectors.
    """
    _require_libraries()
    if output.exists() or output.is_symlink():
        raise AlreadyExistsError(f"{output} exists already; remove it, or give another name", name=str(output))
    if not output.parent.is_dir():
        raise InvalidInputError(f"there is no folder {output.parent}; make it first")
    original = _load(model)
    scratch = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}-"))
    try:
        folder = scratch / output.name
        folder.mkdir()
        _save_settings(original, scratch, folder)
        _export_graph(original, scratch, folder / "model.onnx", opset)
        graphs = [_checked(original, folder, "model.onnx")]
        if graphs[0].least_cosine < MIN_COSINE:
            raise EmbedderUnavailableError(
                f"the exported graph does not give the vectors of {model}: the least cosine is "
                f"{graphs[0].least_cosine:.4f}; nothing was written. Use the embedder sentence-transformers for it"
            )
        if int8:
            quantise(folder / "model.onnx", folder / "model_int8.onnx", _calibration(folder))
            graphs.append(_checked(original, folder, "model_int8.onnx"))
        folder.rename(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return graphs


def _require_libraries() -> None:
    if missing := [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]:
        raise EmbedderUnavailableError(
            f"exporting needs {', '.join(missing)}: pip install 'vecdb-engine[export]'", missing=missing
        )


def _load(model: str) -> Any:
    config = SentenceTransformersConfig(model=model, device="cpu")
    folder = model_folder(config.model, config.revision)
    torch = import_library("torch")
    library = import_library("sentence_transformers")
    with loading(config, torch):
        found = library.SentenceTransformer(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            # The plain way to compute attention is the one that exports to plain operators.
            model_kwargs={"dtype": torch.float32, "attn_implementation": "eager"},
        )
        found.eval()
    if type(found[0]).__name__ != "Transformer" or "text" not in found.modalities:
        raise EmbedderUnavailableError(
            f"the model {model} begins with {type(found[0]).__name__}, not with a transformer for texts; only these "
            "can be exported (the embedder static reads StaticEmbedding as it is)"
        )
    return found


def _save_settings(original: Any, scratch: Path, folder: Path) -> None:
    """All that the library would save, but for the weights."""
    whole = scratch / "whole"
    with _silence():
        original.save_pretrained(str(whole), create_model_card=False)
    for path in sorted(whole.rglob("*")):
        if path.is_file() and path.suffix not in _WEIGHT_SUFFIXES:
            place = folder / path.relative_to(whole)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    shutil.rmtree(whole)


def _export_graph(original: Any, scratch: Path, path: Path, opset: int) -> None:
    import onnx
    import torch

    names = _inputs(original)
    outputs = ["token_embeddings", "sentence_embedding"]
    # Each input is a tensor of its own: the exporter takes one that is given twice for one input.
    lengths = (9, 6)
    mask = torch.tensor([[1] * length + [0] * (lengths[0] - length) for length in lengths])
    examples = {
        "input_ids": torch.arange(2 * lengths[0]).reshape(2, -1) % 7 + 1,
        "attention_mask": mask,
        "token_type_ids": torch.zeros(2, lengths[0], dtype=torch.int64),
    }
    raw = scratch / "raw"
    raw.mkdir()
    try:
        with _silence(), torch.no_grad():
            torch.onnx.export(
                _pipeline(original, names),
                tuple(examples[name] for name in names),
                str(raw / "model.onnx"),
                input_names=names,
                output_names=outputs,
                dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*names, outputs[0]]}
                | {outputs[1]: {0: "texts"}},
                opset_version=opset,
                dynamo=False,  # its graphs are smaller, and onnxruntime fuses more of them
            )
        save_graph(onnx.load(raw / "model.onnx"), path)
    except (VecdbError, MemoryError):
        raise
    except Exception as error:  # tracing runs the model's own code
        raise EmbedderUnavailableError(
            f"torch cannot export this model ({type(error).__name__}: {_first_line(error)}); try another --opset, or "
            "use the embedder sentence-transformers for it"
        ) from error
    shutil.rmtree(raw)


def _pipeline(original: Any, names: Sequence[str]) -> Any:
    """All steps of the model, pooling too, as one module from tensors to tensors."""
    import torch

    class Pipeline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = torch.nn.ModuleList(original)

        def forward(self, *tensors: Any) -> tuple[Any, Any]:
            features = dict(zip(names, tensors, strict=True))
            for step in self.steps:
                features = step(features)
                tokens = features.get("token_embeddings", None)
            return tokens, features["sentence_embedding"]

    return Pipeline().eval()


def _inputs(original: Any) -> list[str]:
    found = original.tokenizer(["a"], return_tensors="pt")
    return [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in found]


def _calibration(folder: Path) -> Iterator[dict[str, NDArray[np.int64]]]:
    embedder = _opened(folder, "model.onnx")
    for text in calibration_texts():
        prepared = embedder.prepare(text)
        first = prepared.parts[0] if isinstance(prepared, Windows) else prepared
        numbers, kinds, mask = padded([first.document[:, :_CALIBRATION_TOKENS]], number=0)
        positions = np.arange(numbers.shape[1])[None, :]
        yield {"input_ids": numbers, "token_type_ids": kinds, "attention_mask": mask, "position_ids": positions}


def _opened(folder: Path, name: str) -> OnnxEmbedder:
    embedder = OnnxEmbedder(OnnxConfig(model=folder, file=name, device="cpu"))
    embedder.load()
    return embedder


def _checked(original: Any, folder: Path, name: str) -> ExportedGraph:
    """Embed texts with the graph and with the original; the texts stand in one batch, as in use."""
    embedder = _opened(folder, name)
    texts = check_texts()
    prepared = [embedder.prepare(text) for text in texts]
    firsts = [item.parts[0] if isinstance(item, Windows) else item for item in prepared]
    cosines = []
    for role in _ROLES:
        encode = original.encode_query if role == "query" else original.encode_document
        wanted = np.asarray(encode(texts, batch_size=8, show_progress_bar=False), np.float64)
        cosines.append(_cosines(np.asarray(embedder.encode(firsts, role), np.float64), wanted))
    embedder.close()
    found = np.concatenate(cosines)
    size = sum(path.stat().st_size for path in folder.glob(f"{name}*"))
    return ExportedGraph(name, size, float(found.min()), float(found.mean()))


def _cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    found: NDArray[np.float64] = np.nan_to_num((left * right).sum(axis=1) / lengths)
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what torch prints and warns of while it exports from the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    sink = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:300]
