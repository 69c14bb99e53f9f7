"""From an image file to a picture: the only code that touches Pillow's decoders, and trusts none of them.

A file is known by its content, its size is checked before it is decoded, and Pillow's process-wide
settings are neither read nor changed (which is why its classes are called and not `PIL.Image.open`,
which warns of large pictures as those settings say).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vecdb import DecodeError, Image, UnsupportedContentError, VecdbError

_FORMATS = "JPEG, PNG, GIF, WebP, AVIF, TIFF, BMP, PPM"
_CONVERT = "convert it to PNG or JPEG"
_ORIENTATION = 0x0112  # the EXIF tag
_BYTES_PER_PIXEL = 8  # red, green, blue and alpha of 16 bits each, uncompressed
_SMALL_FILE = 64 << 20  # bytes; room for animations and for data beside the pixels
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JPEG = {"JPEG", "MPO"}
_TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}
_SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}


def read_picture(item: Path | Image, *, max_pixels: int, wanted: int) -> Any:
    """The picture as a Pillow image in mode RGB, upright, transparency on white, the first of several.

    Args:
        item: an image file; its content decides what it is, not its name.
        max_pixels: a picture that declares more is refused before it is decoded.
        wanted: its shorter side in pixels will be reduced to this: a JPEG of more than four times the
            size is decoded at a half, a quarter or an eighth, which is faster and keeps at least twice it.

    Raises:
        UnsupportedContentError: the item is neither a path nor an `Image`.
        DecodeError: no such file; not an image of a known kind; damaged or truncated; too many pixels.
    """
    name = _name_of(item)
    try:
        with _opened(item, name, max_pixels) as file, _decoder(file, name)(file) as image:
            _check_size(image, name, max_pixels)
            if image.format in _JPEG:
                image.draft(image.mode, (2 * wanted, 2 * wanted))
            image.load()
            return _upright(_rgb(image, name), image)
    except (VecdbError, MemoryError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DecodeError(f"{name} cannot be decoded ({reason}); get a whole copy, or {_CONVERT}") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        reason = str(error) or type(error).__name__
        raise DecodeError(f"{name} cannot be decoded ({reason}); get a whole copy, or {_CONVERT}") from error


# --- opening ------------------------------------------------------------------------------------


def _name_of(item: Path | Image) -> str:
    if isinstance(item, Path):
        return str(item)
    if isinstance(item, Image):
        return f"this image of {len(item.data)} bytes"
    raise UnsupportedContentError(
        f"an image is a pathlib.Path or a vecdb.Image, not {type(item).__name__}; wrap bytes as vecdb.Image(data)"
    )


def _opened(item: Path | Image, name: str, max_pixels: int) -> BinaryIO:
    if isinstance(item, Image):
        return io.BytesIO(item.data)
    if not item.is_file():  # a pipe or a device would be waited on for ever
        raise DecodeError(f"{name} is not a file; give the path of an image file")
    try:
        length = item.stat().st_size
        if length > max(_SMALL_FILE, _BYTES_PER_PIXEL * max_pixels):  # Pillow may read all of it, or search through it
            raise DecodeError(
                f"{name} is {length} bytes long, more than {max_pixels} pixels take; reduce it, or raise the option "
                "max_pixels if you trust it"
            )
        return item.open("rb")
    except OSError as error:
        raise DecodeError(f"{name} cannot be opened ({error.strerror}); check its permissions") from error


def _decoder(file: BinaryIO, name: str) -> Callable[[BinaryIO], Any]:
    """The Pillow class for what the file begins with; others are not asked, however much they would take."""
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
        features,
    )

    start = file.read(256)
    file.seek(0)
    if not start:
        raise DecodeError(f"{name} is empty; give an image file ({_FORMATS})")
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GifImagePlugin.GifImageFile
    if start.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TiffImagePlugin.TiffImageFile
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return PpmImagePlugin.PpmImageFile
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP" and features.check("webp"):
        return WebPImagePlugin.WebPImageFile
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis") and features.check("avif"):
        from PIL import AvifImagePlugin

        return AvifImagePlugin.AvifImageFile
    raise DecodeError(f"{name} {_unknown(start)}")


def _unknown(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text):
        return "is an SVG drawing, which has no pixels; draw it first, for example with rsvg-convert FILE -o out.png"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF:
        return f"is a HEIC picture, which Pillow does not read; {_CONVERT}, for example with heif-convert FILE out.jpg"
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"):
        return f"is an AVIF picture, which this Pillow does not decode: pip install -U pillow, or {_CONVERT}"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return f"is a WebP picture, which this Pillow does not decode: pip install -U pillow, or {_CONVERT}"
    return f"is not an image of a known kind ({_FORMATS}); {_CONVERT}"


def _check_size(image: Any, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise DecodeError(
            f"{name} declares {width} x {height} pixels, over the limit of {max_pixels}; reduce it, or raise the "
            "option max_pixels if you trust it"
        )


# --- colours ------------------------------------------------------------------------------------


def _upright(picture: Any, image: Any) -> Any:
    """Turned as the file's EXIF data says; data that cannot be read says nothing."""
    from PIL import Image as Pillow

    turns = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_270,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_90,
    }
    orientation = None
    with suppress(Exception):  # whatever a parser of damaged EXIF data raises
        orientation = image.getexif().get(_ORIENTATION)
    return picture.transpose(turns[orientation]) if orientation in turns else picture


def _rgb(image: Any, name: str) -> Any:
    """In mode RGB. Colour profiles are ignored: networks were trained on pictures read like that."""
    from PIL import ImageChops

    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = _grey(np.asarray(image).astype(np.float64) / 65535)
    elif image.mode in ("I", "F"):
        image = _grey(_stretched(np.asarray(image).astype(np.float64), name))
    if image.mode == "CMYK" and image.format in _JPEG and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes all of them for Adobe's, which are stored inverted
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Any) -> Any:
    from PIL import Image as Pillow

    image = image.convert("RGBA")
    white = Pillow.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white


def _grey(values: Any) -> Any:
    """A grey picture of values from 0 to 1."""
    from PIL import Image as Pillow

    return Pillow.fromarray(np.rint(values * 255).clip(0, 255).astype(np.uint8))


def _stretched(values: Any, name: str) -> Any:
    """32-bit and floating-point greys agree on no white: the lowest value becomes black, the highest white."""
    if not np.isfinite(values).all():
        raise DecodeError(f"{name} has pixels that are NaN or infinite; mend it where it was made")
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
