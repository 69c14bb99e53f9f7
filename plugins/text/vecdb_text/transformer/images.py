"""Decoding images for models that take texts and images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import DecodeError, EmbedderUnavailableError, Image, LimitError

MAX_PIXELS = 89_000_000
"""What Pillow itself takes without a warning; 270 MB as RGB."""

_MAX_BYTES = 8 * MAX_PIXELS  # red, green, blue and alpha of 16 bits each, uncompressed
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")


def read_image(item: Path | Image) -> Any:
    """The image of a file or of bytes as a PIL image in RGB: upright, its first frame, transparency on white.

    Raises:
        DecodeError: not an image of a known format, damaged, or cut off.
        LimitError: more than 89 million pixels, or more bytes than these take; found before any is decoded.
        EmbedderUnavailableError: Pillow is not installed.
    """
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise EmbedderUnavailableError("images need Pillow: pip install pillow", missing=["PIL"]) from error
    name = f"the file {item}" if isinstance(item, Path) else "the image"
    source = item if isinstance(item, Path) else io.BytesIO(item.data)
    try:
        if isinstance(item, Path) and (length := item.stat().st_size) > _MAX_BYTES:  # Pillow may read all of it
            raise LimitError(
                f"{name} is {length} bytes long, more than {MAX_PIXELS // 1_000_000} million pixels take; scale it "
                "down",
                limit=_MAX_BYTES,
                got=length,
            )
        PIL.Image.init()
        known = [name for name in _FORMATS if name in PIL.Image.OPEN]
        with PIL.Image.open(source, formats=known) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise _too_large(name, f"{width} x {height}")
            opened.load()
            return _as_rgb(PIL.ImageOps.exif_transpose(opened))
    except LimitError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise _too_large(name, "too many") from error
    except PIL.UnidentifiedImageError as error:
        raise DecodeError(
            f"{name} is not one of {', '.join(known)}; convert it to PNG or JPEG, or leave it out"
        ) from error
    except Exception as error:  # each of Pillow's decoders has errors of its own
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DecodeError(f"{name} cannot be decoded ({what}); convert it to PNG or JPEG, or leave it out") from error


def _too_large(name: str, size: str) -> LimitError:
    return LimitError(
        f"{name} has {size} pixels, more than {MAX_PIXELS // 1_000_000} million; scale it down", limit=MAX_PIXELS
    )


def _as_rgb(image: Any) -> Any:
    import PIL.Image

    if image.mode.startswith("I;16"):
        return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):  # 32-bit numbers have no agreed white: the brightest is taken for it
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are NaN or infinite")
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255 / (high - low)) if high > low else values * 0
        return PIL.Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
