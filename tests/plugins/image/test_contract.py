"""The embedder holds to the contract for plugins, on a small network and on the real ResNet50."""

from __future__ import annotations

from types import MappingProxyType

import vecdb
from tests.plugins.image.networks import INFO, classifier, saved
from tests.plugins.image.pictures import grey16, item, png, scene, with_orientation
from tests.plugins.image.pictures import saved as file_bytes
from tests.shared import needs_shared, shared
from vecdb.testing import EmbedderContract

GOOD = [
    item(scene(1)),
    item(scene(2), "JPEG", quality=90),
    item(scene(3).convert("CMYK"), "JPEG", quality=90),
    vecdb.Image(grey16(scene(4))),
    vecdb.Image(with_orientation(scene(5), 6)),
]
BAD = [
    vecdb.Image(file_bytes(scene(1), "JPEG")[:900]),
    vecdb.Image(png(50_000, 50_000, b"\0" * 1000)),
    vecdb.Image(b"<svg/>"),
]
NEAR = (item(scene(6)), item(scene(6).resize((320, 240)), "JPEG", quality=60), item(scene(7)))


class TestSmallNetwork(EmbedderContract):
    info = INFO
    good, bad, near = GOOD, BAD, NEAR
    runtime_change = MappingProxyType({"threads": 2, "device": "cpu"})
    vector_change = MappingProxyType({"preprocess": "caffe"})

    def set_up(self, folder):
        self.config = {"model": saved(classifier(), folder / "model.onnx")}


@needs_shared("cnn")
class TestResNet50(EmbedderContract):
    info = INFO
    good, bad, near = GOOD[:4], BAD, NEAR
    runtime_change = MappingProxyType({"threads": 1, "max_pixels": 1_000_000})
    vector_change = MappingProxyType({"layer": "t170"})

    def set_up(self, folder):
        self.config = {"model": shared("cnn", "resnet50_imagenet_int8w.onnx"), "preprocess": "caffe"}
