"""Pictures that the tests make: a scene with colours, edges and texture, saved in every way."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image as Pillow

import vecdb

WIDTH, HEIGHT = 160, 120


def scene(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Any:
    """A picture of a sky, a disc and stripes, unlike upside down and mirrored; RGB."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    x, y = x / width, y / height
    sky, disc, stripe = random.uniform(0, 255, (3, 3))
    planes = sky * (1 - y[..., None]) + stripe * (y * x)[..., None]
    cx, cy, radius = random.uniform(0.3, 0.7), random.uniform(0.2, 0.5), random.uniform(0.1, 0.25)
    planes[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = disc
    bars = np.sin(x * random.uniform(20, 60)) * (y > 0.7)
    planes += bars[..., None] * 60 + random.normal(0, 3, planes.shape)
    return Pillow.fromarray(planes.clip(0, 255).astype(np.uint8))


def saved(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def item(picture: Any, kind: str = "PNG", **options: Any) -> vecdb.Image:
    """The same as an item."""
    return vecdb.Image(saved(picture, kind, **options))


def png(width: int, height: int, body: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG file whose header may lie; `body` is compressed, `extra` stands before it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(body, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey16(picture: Any) -> bytes:
    """The picture as a 16-bit grey PNG, using the whole range."""
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    return png(picture.width, picture.height, rows, depth=16, colour=0)


def with_orientation(picture: Any, orientation: int) -> bytes:
    """The picture as a JPEG that is stored turned, with the EXIF tag that turns it back."""
    turn = Pillow.Transpose
    back = {
        1: None, 2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE, 6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    turned = picture if back is None else picture.transpose(back)
    return saved(turned, "JPEG", quality=95, subsampling=0, exif=exif.tobytes())
