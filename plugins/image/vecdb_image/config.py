"""The options of the image embedder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option

PRESETS = ("auto", "imagenet", "caffe", "inception", "unit", "raw")
FITS = ("auto", "crop", "stretch")
INTERPOLATIONS = ("auto", "bilinear", "bicubic", "lanczos", "box", "nearest")
CHANNELS = ("auto", "rgb", "bgr")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
LARGEST_SIDE = 4096
_TORCH_SUFFIXES = {".pth", ".pt", ".safetensors", ".ckpt", ".bin"}


@dataclass(frozen=True)
class CnnConfig:
    """Which network, which of its layers, and how pictures are prepared for it.

    `model` is kept as a `Path` where it ends in ".onnx" or holds a folder, and as a `str` where it is
    the name of an architecture.

    Raises:
        InvalidInputError: options that are out of range or do not go together.
    """

    model: str | Path = option(
        affects="location", help="an ONNX file, or the name of a torchvision model (resnet50, vgg16, …)"
    )
    checkpoint: Path | None = option(
        None, affects="location", help="weights of the torchvision model: a state dict (.pth, .safetensors)"
    )
    weights: str = option(
        "DEFAULT",
        help="torchvision's name of the weights (IMAGENET1K_V1, …); with a checkpoint, those it was trained like",
    )
    layer: str | None = option(None, help="the tensor, node or module to take; none: what the classifier sees")
    preprocess: str = option(
        "auto", choices=PRESETS, help="how pixels become numbers; auto: what the model says of itself, else imagenet"
    )
    size: int | None = option(None, help="side of the network's input in pixels; none: what the model says, else 224")
    resize: int | None = option(None, help="the shorter side before cropping; none: size / 0.875")
    fit: str = option("auto", choices=FITS, help="crop: the middle of the picture; stretch: all of it, distorted")
    interpolation: str = option("auto", choices=INTERPOLATIONS, help="the filter for resizing")
    channels: str = option("auto", choices=CHANNELS, help="their order")
    mean: tuple[float, ...] = option((), help="taken off each channel, in their order, on the scale 0..255")
    std: tuple[float, ...] = option((), help="what the channels are divided by, on the scale 0..255")
    device: str = option("auto", affects="runtime", help="auto, cpu, cuda, cuda:N or mps")
    threads: int | None = option(None, affects="runtime", help="threads of the network; none: what its library takes")
    max_pixels: int = option(100_000_000, affects="runtime", help="larger pictures are refused before decoding")

    def __post_init__(self) -> None:
        if isinstance(self.model, str) and (Path(self.model).suffix or "/" in self.model or "\\" in self.model):
            object.__setattr__(self, "model", Path(self.model))
        problem = self._problem()
        if problem:
            raise InvalidInputError(problem)

    def _problem(self) -> str | None:
        if not str(self.model).strip():
            return "model is empty; give an ONNX file or the name of a torchvision model"
        if isinstance(self.model, Path) and self.model.suffix.lower() in _TORCH_SUFFIXES:
            return f"model={self.model} is a checkpoint; give it as checkpoint, and its architecture as model"
        if isinstance(self.model, Path) and self.checkpoint is not None:
            return "an ONNX file brings its own weights; leave checkpoint out, or name an architecture as model"
        if self.size is not None and not 8 <= self.size <= LARGEST_SIDE:
            return f"size={self.size} must be from 8 to {LARGEST_SIDE}"
        if self.resize is not None and not (self.size or 8) <= self.resize <= 2 * LARGEST_SIDE:
            return f"resize={self.resize} must be from size={self.size or 8} to {2 * LARGEST_SIDE}"
        if self.resize is not None and self.fit == "stretch":
            return "resize goes with fit='crop'; leave it out, or give size"
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, 3) or not all(-1e4 < value < 1e4 for value in values):
                return f"{name}={values} must be one number for all channels, or three"
        if any(value < 1 for value in self.std):
            return f"std={self.std} is on the scale 0..255 and at least 1; multiply numbers for 0..1 by 255, mean too"
        if not _DEVICE.fullmatch(self.device):
            return f"device={self.device!r} must be auto, cpu, cuda, cuda:N or mps"
        if self.threads is not None and not 1 <= self.threads <= 1024:
            return f"threads={self.threads} must be from 1 to 1024"
        if not 1 <= self.max_pixels <= 2_000_000_000:
            return f"max_pixels={self.max_pixels} must be from 1 to 2000000000"
        return None
