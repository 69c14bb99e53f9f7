"""From a picture to what a network takes: fitted to its size, and its pixels to its scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb import InvalidInputError
from vecdb_image.config import CnnConfig

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Triple = tuple[float, float, float]

_DEFAULT_SIZE = 224
_CROPPED = 0.875  # share of the shorter side that a centre crop keeps: 224 of 256


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture is prepared.

    Attributes:
        size: height and width of the network's input; None: any, so that 224 is taken.
        resize: length of the shorter side before the centre is cut out; None: size / 0.875.
        fit: "crop" (keeps proportions, loses the edges) or "stretch" (keeps all, loses proportions).
        interpolation: "bilinear", "bicubic", "lanczos", "box" or "nearest"; all of them average over
            the pixels that fall together.
        channels: "rgb" or "bgr".
        truncated: whether the longer side is rounded down and the crop's place to even, as torchvision
            does; else the side to the nearest and the place down. (Half a pixel: cosine 0.996.)
        mean, std: the network sees (x - mean) / std, x from 0 to 255, in the order of `channels`.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    fit: str = "crop"
    interpolation: str = "bilinear"
    channels: str = "rgb"
    mean: Triple = (123.675, 116.28, 103.53)
    std: Triple = (58.395, 57.12, 57.375)
    truncated: bool = True

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.size or (_DEFAULT_SIZE, _DEFAULT_SIZE)

    @property
    def shorter_side(self) -> int:
        """Length of the shorter side before the centre is cut out."""
        return self.resize or round(max(self.input_size) / _CROPPED)

    def pixels(self, picture: Any) -> Pixels:
        """A Pillow picture in mode RGB as uint8 of shape (3, height, width), channels in order.

        A crop is resized as a part of the picture and never as a whole: a strip of 1 x 10,000 pixels
        would otherwise grow to 256 x 2,560,000. The result is the same, because the filter looks
        beyond the part's edges.
        """
        from PIL import Image

        height, width = self.input_size
        box = self._crop_box(*picture.size) if self.fit == "crop" else None
        fitted = picture.resize((width, height), Image.Resampling[self.interpolation.upper()], box=box)
        array = np.asarray(fitted, np.uint8)
        if self.channels == "bgr":
            array = array[:, :, ::-1]
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def normalised(self, batch: Sequence[Pixels]) -> Floats:
        """What the network sees: float32 of shape (len(batch), 3, height, width)."""
        found = np.stack(batch).astype(np.float32)
        for channel in range(3):
            found[:, channel] -= np.float32(self.mean[channel])
            found[:, channel] *= np.float32(1 / self.std[channel])
        return found

    def with_options(self, config: CnnConfig, fixed: tuple[int, int] | None = None) -> Preprocessing:
        """The same, changed by what the user says: the preset first, then single options.

        Args:
            config: the options.
            fixed: height and width, where the network takes these only.

        Raises:
            InvalidInputError: the network takes another size only, or the crop would reach beyond the picture.
        """
        if fixed is not None and config.size is not None and (config.size, config.size) != fixed:
            raise InvalidInputError(
                f"size={config.size}, but the network takes {fixed[0]} x {fixed[1]} pixels only; leave size out"
            )
        changed = self
        if config.preprocess != "auto":
            changed = dataclasses.replace(PRESETS[config.preprocess], size=self.size)
        if fixed not in (None, changed.size):
            changed = dataclasses.replace(changed, size=fixed, resize=None)
        chosen: dict[str, Any] = {
            name: getattr(config, name)
            for name in ("fit", "interpolation", "channels")
            if getattr(config, name) != "auto"
        }
        if config.channels not in ("auto", changed.channels):
            chosen |= {"mean": changed.mean[::-1], "std": changed.std[::-1]}
        if config.size is not None:
            chosen |= {"size": (config.size, config.size), "resize": None}
        if config.resize is not None:
            chosen["resize"] = config.resize
        chosen |= {name: _triple(getattr(config, name)) for name in ("mean", "std") if getattr(config, name)}
        changed = dataclasses.replace(changed, **chosen)
        if changed.fit == "crop" and changed.shorter_side < max(changed.input_size):
            raise InvalidInputError(
                f"resize={changed.shorter_side} is less than the network's input of {max(changed.input_size)} pixels; "
                "make it larger, or take fit='stretch'"
            )
        return changed

    def _crop_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of the picture that a resize to the shorter side and a centre crop would keep."""
        to_side: Callable[[float], int] = int if self.truncated else round
        to_place: Callable[[float], int] = round if self.truncated else math.floor
        scale = self.shorter_side / min(width, height)
        new_width, new_height = (max(self.shorter_side, to_side(scale * side)) for side in (width, height))
        crop_height, crop_width = self.input_size
        left, top = to_place((new_width - crop_width) / 2), to_place((new_height - crop_height) / 2)
        across, down = width / new_width, height / new_height
        return (
            left * across,
            top * down,
            min((left + crop_width) * across, width),
            min((top + crop_height) * down, height),
        )


PRESETS = {
    "imagenet": Preprocessing(),
    "caffe": Preprocessing(
        interpolation="bicubic", channels="bgr", mean=(103.939, 116.779, 123.68), std=(1.0,) * 3, truncated=False
    ),
    "inception": Preprocessing(interpolation="bicubic", mean=(127.5,) * 3, std=(127.5,) * 3, truncated=False),
    "unit": Preprocessing(mean=(0.0,) * 3, std=(255.0,) * 3),
    "raw": Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3),
}
"""imagenet: torchvision's; caffe: BGR less the mean, Keras' ResNet and VGG; inception: -1..1, TensorFlow's
Inception and MobileNet; unit: 0..1; raw: 0..255."""


def _triple(values: tuple[float, ...]) -> Triple:
    first, second, third = values * 3 if len(values) == 1 else values
    return first, second, third
