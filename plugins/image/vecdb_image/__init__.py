"""Image embedders: the hooks."""

from __future__ import annotations

from vecdb import EmbedderInfo, hookimpl
from vecdb_image.config import CnnConfig


@hookimpl
def vecdb_register_embedders() -> list[EmbedderInfo]:
    """`cnn`."""
    return [
        EmbedderInfo(
            name="cnn",
            summary="images by the features of a pretrained CNN (ONNX classifiers, torchvision models)",
            modalities=frozenset({"image"}),
            config=CnnConfig,
            factory="vecdb_image.embedder:CnnEmbedder",
            requires=("PIL",),
            optional=("onnxruntime", "torch", "torchvision"),
            extra="image",
            batch_size=8,
        ),
    ]
