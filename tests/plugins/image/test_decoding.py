"""Every kind of picture gives the right vector or the promised error, never a crash, never another's vector."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import features

import vecdb
from tests.plugins.image.pictures import chunk, grey16, item, png, saved, scene, with_orientation
from vecdb_image.decoding import read_picture

LIMIT = 100_000_000


def pixels(content, **options) -> np.ndarray:
    """The decoded picture, floats of shape (height, width, 3)."""
    given = vecdb.Image(content) if isinstance(content, bytes) else content
    picture = read_picture(given, max_pixels=LIMIT, wanted=10_000, **options)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(float)


def difference(first, second) -> float:
    """Mean absolute difference on the scale 0..255; infinite where the sizes differ."""
    return float(np.abs(first - second).mean()) if first.shape == second.shape else float("inf")


def refused(content, words: str) -> None:
    given = vecdb.Image(content) if isinstance(content, bytes) else content
    with pytest.raises(vecdb.DecodeError, match=words):
        read_picture(given, max_pixels=LIMIT, wanted=256)


SCENE = scene()
RGB = np.asarray(SCENE).astype(float)
GREY = np.asarray(SCENE.convert("L").convert("RGB")).astype(float)
ONE_BIT = SCENE.convert("1")


@pytest.mark.parametrize(
    ("content", "expected", "within"),
    [
        (saved(SCENE), RGB, 0),
        (saved(SCENE, "JPEG", quality=95, subsampling=0), RGB, 3),
        (saved(SCENE, "JPEG", quality=95, progressive=True), RGB, 5),
        (saved(SCENE.convert("CMYK"), "JPEG", quality=95), RGB, 4),  # with Adobe's marker, stored inverted
        (saved(SCENE.convert("CMYK"), "TIFF"), RGB, 1),
        (saved(SCENE.convert("L"), "JPEG", quality=95), GREY, 3),
        (saved(SCENE, "BMP"), RGB, 0),
        (saved(SCENE, "TIFF"), RGB, 0),
        (saved(SCENE, "TIFF", compression="tiff_lzw"), RGB, 0),
        (saved(SCENE, "PPM"), RGB, 0),
        (saved(SCENE, "WEBP", lossless=True), RGB, 0),
        (saved(SCENE.quantize(256), "PNG"), RGB, 6),
        (saved(SCENE.quantize(256), "GIF"), RGB, 6),
        (saved(SCENE.convert("L"), "PNG"), GREY, 0),
        (grey16(SCENE), GREY, 0),
        (saved(Pillow.fromarray(np.asarray(SCENE.convert("L")).astype(np.uint16) * 257), "TIFF"), GREY, 0),
        (saved(Pillow.fromarray(np.asarray(SCENE.convert("L")).astype(np.uint16) * 257), "PPM"), GREY, 0.6),
        (saved(ONE_BIT, "PNG"), np.asarray(ONE_BIT.convert("RGB")).astype(float), 0),
        (saved(ONE_BIT, "TIFF", compression="group4"), np.asarray(ONE_BIT.convert("RGB")).astype(float), 0),
        (saved(SCENE.convert("YCbCr"), "TIFF"), RGB, 2),
    ],
    ids=[
        "png",
        "jpeg",
        "progressive",
        "cmyk-jpeg",
        "cmyk-tiff",
        "grey-jpeg",
        "bmp",
        "tiff",
        "lzw",
        "ppm",
        "webp",
        "palette",
        "gif",
        "grey",
        "grey16-png",
        "grey16-tiff",
        "grey16-pgm",
        "one-bit",
        "fax",
        "ycbcr",
    ],
)
def test_each_format_and_colour_space_gives_the_picture(content, expected, within):
    assert difference(pixels(content), expected) <= within


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_gives_the_picture():
    assert difference(pixels(saved(SCENE, "AVIF", quality=95)), RGB) < 4


def test_cmyk_without_adobes_marker_is_not_inverted():
    whole = saved(SCENE.convert("CMYK"), "JPEG", quality=95)
    at = whole.index(b"\xff\xee")  # the segment APP14
    length = struct.unpack(">H", whole[at + 2 : at + 4])[0]
    inverted = SCENE.convert("CMYK").point(lambda value: 255 - value)
    plain = saved(inverted, "JPEG", quality=95)
    at = plain.index(b"\xff\xee")
    assert difference(pixels(plain[:at] + plain[at + 2 + length :]), RGB) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    assert difference(pixels(with_orientation(SCENE, orientation)), RGB) < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow's own
def test_exif_that_cannot_be_read_is_passed_over():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x63\xff\xff"
    broken = saved(SCENE, "JPEG", quality=95, subsampling=0, exif=exif)
    assert difference(pixels(broken), RGB) < 3


def with_transparency(mode: str):
    """The scene in its left half, nothing in its right one."""
    mask = Pillow.new("L", SCENE.size, 0)
    mask.paste(255, (0, 0, SCENE.width // 2, SCENE.height))
    picture = SCENE.convert("L" if mode == "LA" else "RGB")
    picture.putalpha(mask)
    return picture


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")])
def test_what_is_transparent_becomes_white(mode, kind):
    found = pixels(saved(with_transparency(mode), kind, **({"lossless": True} if kind == "WEBP" else {})))
    half = SCENE.width // 2
    expected = GREY if mode == "LA" else RGB
    assert difference(found[:, :half], expected[:, :half]) < 1
    assert found[:, half:].min() == 255


def test_transparent_colours_of_a_palette_become_white():
    picture = Pillow.new("P", (40, 30), 0)
    picture.putpalette([0, 0, 0, 200, 10, 10] + [0] * 762)
    picture.paste(1, (0, 0, 20, 30))
    for kind in ("PNG", "GIF"):
        found = pixels(saved(picture, kind, transparency=0))
        assert found[:, 25:].min() == 255
        assert found[5, 5].tolist() == [200, 10, 10]


def test_a_transparent_colour_of_an_rgb_png_becomes_white():
    found = pixels(saved(Pillow.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)))
    assert found.min() == 255


def test_floats_and_32_bit_greys_use_their_own_range():
    grey = np.asarray(SCENE.convert("L")).astype(np.float32)
    expected = pixels(saved(Pillow.fromarray(grey), "TIFF"))
    assert expected.min() == 0
    assert expected.max() == 255
    assert difference(pixels(saved(Pillow.fromarray(grey / 255), "TIFF")), expected) < 1
    assert difference(pixels(saved(Pillow.fromarray((grey * 1e6).astype(np.int32)), "TIFF")), expected) < 1
    assert pixels(saved(Pillow.fromarray(np.full((9, 9), 7.0, np.float32)), "TIFF")).max() == 0
    grey[3, 3] = np.nan
    refused(saved(Pillow.fromarray(grey), "TIFF"), "NaN or infinite")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_pictures_counts(kind):
    others = [scene(seed) for seed in (1, 2)]
    options = {"lossless": True} if kind == "WEBP" else {}
    animated = saved(SCENE, kind, save_all=True, append_images=others, **options)
    assert difference(pixels(animated), RGB) < 6
    assert difference(pixels(animated), np.asarray(others[0]).astype(float)) > 15


def test_a_name_says_nothing(tmp_path):
    (tmp_path / "picture.jpg").write_bytes(saved(SCENE, "PNG"))
    assert difference(pixels(tmp_path / "picture.jpg"), RGB) == 0


# --- bombs --------------------------------------------------------------------------------------


def gif_header(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + (b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00\x3b")
    )


def bmp_header(width: int, height: int) -> bytes:
    head = b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def tiff_header(width: int, height: int) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
               (278, 4, height), (279, 4, 100)]  # fmt: skip
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        + b"\0" * 104
    )


def webp_header(side: int) -> bytes:
    canvas = b"VP8X" + struct.pack("<II", 10, 2) + struct.pack("<I", side - 1)[:3] * 2
    body = canvas + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jpeg_header(width: int, height: int) -> bytes:
    whole = saved(Pillow.new("RGB", (8, 8)), "JPEG")
    at = whole.index(b"\xff\xc0")
    return whole[: at + 5] + struct.pack(">HH", height, width) + whole[at + 9 :]


@pytest.mark.parametrize(
    "content",
    [
        png(50_000, 50_000, b"\0" * 1000),
        gif_header(60_000, 60_000),
        bmp_header(50_000, 50_000),
        tiff_header(50_000, 50_000),
        b"P6 50000 50000 255\n" + b"\0" * 100,
        jpeg_header(50_000, 50_000),
        webp_header(16_383),
        bmp_header(2**31 - 1, -(2**31)),
        tiff_header(2**32 - 1, 2**32 - 1),
        b"P5 99999999999999999999 99999999 255\n",
    ],
    ids=["png", "gif", "bmp", "tiff", "ppm", "jpeg", "webp", "bmp-largest", "tiff-largest", "ppm-endless"],
)
def test_a_small_file_that_declares_gigapixels_is_refused_unread(content):
    import tracemalloc

    tracemalloc.start()
    try:
        refused(content, "over the limit|cannot be decoded")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_the_memory_of_a_bomb_is_never_taken():
    """In a process of its own, because a decoder's memory is not Python's."""
    code = (
        "import sys, resource, vecdb\n"
        "from vecdb_image.decoding import read_picture\n"
        "from tests.plugins.image.test_decoding import *\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for bomb in (png(30000, 30000, bytes(90001 * 500)), webp_header(16383), gif_header(40000, 40000)):\n"
        "    try: read_picture(vecdb.Image(bomb), max_pixels=LIMIT, wanted=256)\n"
        "    except vecdb.DecodeError: continue\n"
        "    raise SystemExit('not refused')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 150_000  # kB; the pictures would take 2.7, 1 and 1.6 GB


def test_a_long_file_is_refused_unread(tmp_path):
    path = tmp_path / "long.jpg"
    with path.open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0\0\x10")
        file.truncate(3 << 30)  # takes no room on the disk; Pillow would look through it byte by byte
    refused(path, r"is 3221225472 bytes long, more than 100000000 pixels take; reduce it, or raise .* max_pixels")


def test_a_limit_of_ones_own():
    small = item(SCENE)
    with pytest.raises(vecdb.DecodeError, match=r"160 x 120 pixels, over the limit of 1000; .*max_pixels"):
        read_picture(small, max_pixels=1000, wanted=256)
    assert read_picture(small, max_pixels=160 * 120, wanted=256).size == SCENE.size


def test_compressed_text_that_grows_is_refused():
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(b"a" * 50_000_000, 9))
    refused(png(4, 4, b"\0" * 52, extra=text), "cannot be decoded")


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_a_truncated_file_is_refused(kind, kept):
    whole = saved(SCENE, kind)
    refused(whole[: int(len(whole) * kept)], "cannot be decoded|is not an image")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"not an image", "is not an image of a known kind"),
        (b"%PDF-1.7 ...", "is not an image of a known kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing.* rsvg-convert"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x --><svg width='3'/>", "SVG drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC picture.* heif-convert"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        (png(0, 10, b""), "cannot be decoded"),
        (b"P6 0 10 255\n", "cannot be decoded"),
        (b"\xff\xd8\xff\xe0", "cannot be decoded"),
    ],
    ids=["empty", "text", "pdf", "svg", "svg-xml", "heic", "png-start", "zero-width", "zero-ppm", "jpeg-start"],
)
def test_what_is_no_picture_is_refused_with_advice(content, words):
    refused(content, words)


def test_files_that_cannot_be_read(tmp_path):
    refused(tmp_path / "none.png", "none.png is not a file; give the path")
    refused(tmp_path, "is not a file")
    with pytest.raises(vecdb.UnsupportedContentError, match=r"not bytes; wrap bytes as vecdb.Image"):
        read_picture(saved(SCENE), max_pixels=LIMIT, wanted=256)


def test_no_setting_of_pillow_is_changed_or_asked(monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    assert difference(pixels(saved(SCENE)), RGB) == 0
    assert (Pillow.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (10, False)


def mutated(whole: bytes, random: np.random.Generator) -> bytes:
    """The file with a few bytes changed, a stretch cut out, or its end lost."""
    data = bytearray(whole)
    how = random.integers(4)
    if how == 0:
        for at in random.integers(0, len(data), random.integers(1, 9)):
            data[at] = random.integers(256)
    elif how == 1:  # in the header, where the structure is
        for at in random.integers(0, min(80, len(data)), 3):
            data[at] = random.integers(256)
    elif how == 2:
        start = random.integers(0, len(data))
        del data[start : start + random.integers(1, 60)]
    else:
        del data[random.integers(0, len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"])
def test_a_damaged_file_is_an_error_or_a_picture(kind, capfd):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    random = np.random.default_rng(5)
    whole = saved(scene(3, 48, 40), kind)
    decoded = failed = 0
    for _ in range(80):
        try:
            picture = read_picture(vecdb.Image(mutated(whole, random)), max_pixels=1_000_000, wanted=64)
            assert picture.mode == "RGB"
            decoded += 1
        except vecdb.DecodeError:
            failed += 1
    assert failed > 10
    assert decoded + failed == 80
    assert capfd.readouterr() == ("", "")


# --- speed without loss -------------------------------------------------------------------------


def test_a_large_jpeg_is_decoded_smaller_but_not_too_small():
    large = item(scene(1, 1200, 800), "JPEG", quality=90)
    assert read_picture(large, max_pixels=LIMIT, wanted=200).size == (600, 400)
    assert read_picture(large, max_pixels=LIMIT, wanted=50).size == (150, 100)
    assert read_picture(large, max_pixels=LIMIT, wanted=201).size == (1200, 800)


def test_many_threads_give_each_its_own_picture():
    items = [item(scene(seed), kind) for seed in range(4) for kind in ("PNG", "JPEG", "GIF", "WEBP")] * 3
    alone = [pixels(one).tobytes() for one in items]
    with ThreadPoolExecutor(8) as pool:
        assert [found.tobytes() for found in pool.map(pixels, items)] == alone
