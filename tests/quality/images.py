"""Images: does the nearest picture show the same thing?"""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import vecdb
from tests.plugins.image.networks import INFO, mobilenet_v1
from tests.quality.data import data
from tests.quality.figures import Figure, neighbour_accuracy
from vecdb.embedding import EmbedderHost

_DATA = "25 Caltech classes"
_METRIC = "1-NN accuracy"
_NOTES = "the notes beside the data"


def photos() -> tuple[list[vecdb.Image], list[str]]:
    """1,000 photos in 25 classes, and the class of each."""
    with data("images-caltech25", "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with zipfile.ZipFile(data("images-caltech25", "images.zip")) as images:
        return [vecdb.Image(images.read(row["file"])) for row in rows], [row["label"] for row in rows]


def resnet50() -> list[Figure]:
    """Keras' ResNet50, cut at its features."""
    return [_figure(data("cnn", "resnet50_imagenet_int8w.onnx"), "caffe", "ResNet50", 0.931)]


def mobilenet() -> list[Figure]:
    """TensorFlow's MobileNetV1, cut before its classifier."""
    weights = data("cnn", "mobilenet_v1_1.0_224.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        model = mobilenet_v1(weights, Path(folder, "mobilenet.onnx"))
        return [_figure(model, "inception", "MobileNetV1", 0.900)]


def thumbnails() -> list[Figure]:
    """What 8 x 8 colour thumbnails get: the least that a network must pass."""
    from PIL import Image

    images, labels = photos()
    small = [Image.open(io.BytesIO(image.data)).convert("RGB").resize((8, 8)) for image in images]
    vectors = np.stack([np.asarray(thumbnail, np.float32).ravel() for thumbnail in small])
    figure = neighbour_accuracy(vectors, labels)
    return [Figure("(8x8 thumbnail)", "none", _DATA, _METRIC, figure, 0.352, _chance(labels), _NOTES)]


def _figure(model: Path, preprocess: str, name: str, reference: float) -> Figure:
    images, labels = photos()
    config = INFO.configure({"model": model, "preprocess": preprocess})
    with EmbedderHost(INFO, config) as host:
        figure = neighbour_accuracy(host.embed(images, metric="cosine").check(), labels)
    about = f"cnn, preprocess={preprocess}"
    return Figure(about, name, _DATA, _METRIC, figure, reference, _chance(labels), _NOTES)


def _chance(labels: list[str]) -> float:
    return neighbour_accuracy(np.random.default_rng(0).standard_normal((len(labels), 64)), labels)


PARTS = (resnet50, mobilenet, thumbnails)
