"""What a model says of its own preprocessing: in ONNX metadata, or in a `preprocessor_config.json` beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecdb import EmbedderUnavailableError
from vecdb_image.config import LARGEST_SIDE
from vecdb_image.preprocessing import Preprocessing, Triple

_PROCESSOR = "preprocessor_config.json"
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}  # Pillow's numbers
_RANGES: dict[str, tuple[Triple, Triple]] = {
    "nominalrange_0_255": ((0.0,) * 3, (1.0,) * 3),
    "normalized_0_1": ((0.0,) * 3, (255.0,) * 3),
    "normalized_1_1": ((127.5,) * 3, (127.5,) * 3),
}


def from_metadata(properties: Mapping[str, str]) -> Preprocessing | None:
    """What the standard metadata of ONNX image models say ("Image.BitmapPixelFormat", "Image.NominalPixelRange")."""
    pixels = properties.get("Image.BitmapPixelFormat", "").lower()
    values = properties.get("Image.NominalPixelRange", "").lower()
    if values not in _RANGES:
        return None
    mean, std = _RANGES[values]
    return Preprocessing(channels="bgr" if pixels.startswith("bgr") else "rgb", mean=mean, std=std)


def processor_file(model: Path) -> Path | None:
    """The `preprocessor_config.json` of a model exported from transformers: in its folder, or above `onnx/`."""
    folders = [model.parent, *([model.parent.parent] if model.parent.name == "onnx" else [])]
    return next((folder / _PROCESSOR for folder in folders if (folder / _PROCESSOR).is_file()), None)


def from_processor_file(path: Path) -> Preprocessing:
    """What an image processor of transformers says.

    Raises:
        EmbedderUnavailableError: the file is not JSON, or says what cannot be.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return _from_processor(stored)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise EmbedderUnavailableError(
            f"{path} cannot be read as an image processor ({error}); correct it, or move it away and give the options "
            "preprocess, size and interpolation"
        ) from error


def _from_processor(stored: Mapping[str, Any]) -> Preprocessing:
    scale = 1.0 if stored.get("do_rescale") is False else float(stored.get("rescale_factor", 1 / 255))
    normalised = stored.get("do_normalize", True)
    mean = _triple(stored["image_mean"] if normalised else 0.0, scale)
    std = _triple(stored["image_std"] if normalised else 1.0, scale)
    if not all(map(math.isfinite, mean)) or not all(math.isfinite(number) and number > 0 for number in std):
        raise ValueError(f"image_mean {mean} and image_std {std} on the scale 0..255")
    size, crop = _sides(stored.get("size", 224)), _sides(stored.get("crop_size", stored.get("size", 224)))
    cropped = stored.get("do_center_crop", "crop_size" in stored or "crop_pct" in stored)
    short = min(size)
    if stored.get("crop_pct") and short < 384:  # as ConvNextImageProcessor does
        crop, short = size, int(short / float(stored["crop_pct"]))
    return Preprocessing(
        size=crop if cropped else size,
        resize=max(short, *crop) if cropped else None,
        fit="crop" if cropped else "stretch",
        interpolation=_INTERPOLATIONS[int(stored.get("resample", 2))],
        mean=mean,
        std=std,
    )


def _triple(values: Any, scale: float) -> Triple:
    numbers = list(values) if isinstance(values, list) else [values] * 3
    first, second, third = (float(number) / scale for number in numbers)
    return first, second, third


def _sides(value: Any) -> tuple[int, int]:
    if isinstance(value, Mapping):
        short = value.get("shortest_edge")
        sides = (int(short), int(short)) if short else (int(value["height"]), int(value["width"]))
    else:
        sides = int(value), int(value)
    if not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise ValueError(f"a picture of {sides[0]} x {sides[1]} pixels; 1 to {LARGEST_SIDE} are taken")
    return sides
