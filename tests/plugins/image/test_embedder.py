"""From a picture in any form to its vector: what the vectors are blind to, the options, the faults."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

import vecdb
from tests.plugins.image.networks import INFO, SIZE, classifier, cosine, embedder, saved
from tests.plugins.image.pictures import grey16, item, scene, with_orientation
from tests.plugins.image.pictures import saved as file_bytes
from tests.shared import needs_shared, shared
from vecdb_image.preprocessing import PRESETS, Preprocessing


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return embedder(saved(classifier(), tmp_path_factory.mktemp("cnn") / "model.onnx"))


def vector(made, content) -> np.ndarray:
    given = vecdb.Image(content) if isinstance(content, bytes) else content
    return made.encode([made.prepare(given)], "document")[0]


def test_the_plugin_imports_cheaply():
    code = (
        "import sys, vecdb_image; vecdb_image.vecdb_register_embedders();"
        "print([m for m in ('PIL', 'onnx', 'onnxruntime', 'torch', 'vecdb_image.embedder') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


FORMS = {
    "jpeg": lambda picture: file_bytes(picture, "JPEG", quality=95),
    "cmyk": lambda picture: file_bytes(picture.convert("CMYK"), "JPEG", quality=95),
    "webp": lambda picture: file_bytes(picture, "WEBP", quality=95),
    "turned": lambda picture: with_orientation(picture, 8),
    "alpha": lambda picture: file_bytes(picture.convert("RGBA"), "TIFF"),
}


def check_forms(made, pictures) -> None:
    for picture in pictures:
        original = vector(made, file_bytes(picture))
        for name, form in FORMS.items():
            assert cosine(vector(made, form(picture)), original) > 0.99, name
        few_colours = picture.quantize(256)
        for kind in ("PNG", "GIF"):
            found = vector(made, file_bytes(few_colours, kind))
            assert cosine(found, vector(made, file_bytes(few_colours.convert("RGB")))) > 0.9999
        grey = vector(made, file_bytes(picture.convert("L")))
        assert cosine(vector(made, grey16(picture)), grey) > 0.9999


def test_a_picture_has_one_vector_in_whatever_form_it_is_saved(small):
    check_forms(small, [scene(seed) for seed in range(3)])


@needs_shared("cnn", "images-caltech25")
def test_a_photo_has_one_resnet50_vector_in_whatever_form_it_is_saved():
    import io
    import zipfile

    made = embedder(shared("cnn", "resnet50_imagenet_int8w.onnx"), preprocess="caffe")
    with zipfile.ZipFile(shared("images-caltech25", "images.zip")) as images:
        photo = Pillow.open(io.BytesIO(images.read("ferry/image_0031.jpg"))).convert("RGB")
    check_forms(made, [photo])


@needs_shared("cnn", "images-caltech25")
def test_a_large_jpeg_has_the_vector_of_the_same_picture_as_png():
    """It is decoded at a reduced size."""
    import io
    import zipfile

    made = embedder(shared("cnn", "resnet50_imagenet_int8w.onnx"), preprocess="caffe")
    with zipfile.ZipFile(shared("images-caltech25", "images.zip")) as images:
        photo = Pillow.open(io.BytesIO(images.read("lotus/image_0042.jpg"))).convert("RGB")
    large = photo.resize((photo.width * 8, photo.height * 8), Pillow.Resampling.BICUBIC)
    jpeg = file_bytes(large, "JPEG", quality=95, subsampling=0)
    whole = file_bytes(Pillow.open(io.BytesIO(jpeg)).convert("RGB"), "PNG", compress_level=1)
    assert cosine(vector(made, jpeg), vector(made, whole)) > 0.999


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 10_000), (10_000, 1), (2, 3), (3000, 2)])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_pictures_of_any_shape(width, height, fit, tmp_path):
    made = embedder(saved(classifier(), tmp_path / "model.onnx"), fit=fit)
    picture = Pillow.new("RGB", (width, height), (200, 30, 90))
    prepared = made.prepare(item(picture))
    assert prepared.shape == (3, SIZE, SIZE)
    assert (prepared == np.array([200, 30, 90], np.uint8)[:, None, None]).all()
    assert np.isfinite(made.encode([prepared], "document")).all()


# --- preprocessing ------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(300, 200), (201, 333), (64, 64), (1000, 40)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_crop_is_the_middle_of_the_resized_picture(width, height, interpolation):
    picture = scene(2, width, height)
    found = Preprocessing(size=(56, 56), resize=64, interpolation=interpolation, truncated=False).pixels(picture)
    scale = 64 / min(width, height)
    resized = picture.resize((round(width * scale), round(height * scale)), Pillow.Resampling[interpolation.upper()])
    left, top = (resized.width - 56) // 2, (resized.height - 56) // 2
    expected = np.asarray(resized.crop((left, top, left + 56, top + 56))).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - expected).max() <= 2
    assert np.abs(found.astype(int) - expected).mean() < 0.1


def test_presets_are_what_they_are_called():
    white = np.full((3, 1, 1), 255, np.uint8)
    black = np.zeros_like(white)

    def ends(name):
        return [PRESETS[name].normalised([pixel])[0, :, 0, 0].round(4).tolist() for pixel in (black, white)]

    assert ends("imagenet")[0] == pytest.approx([-2.1179, -2.0357, -1.8044])
    assert ends("imagenet")[1] == pytest.approx([2.2489, 2.4286, 2.64])
    assert ends("caffe") == [pytest.approx([-103.939, -116.779, -123.68]), pytest.approx([151.061, 138.221, 131.32])]
    assert ends("inception") == [[-1] * 3, [1] * 3]
    assert ends("unit") == [[0] * 3, [1] * 3]
    assert ends("raw") == [[0] * 3, [255] * 3]
    red = Pillow.new("RGB", (4, 4), (250, 20, 10))
    assert PRESETS["caffe"].pixels(red)[:, 0, 0].tolist() == [10, 20, 250]


def test_single_options_change_a_preset(tmp_path):
    path = saved(classifier(), tmp_path / "model.onnx")

    def said(**options):
        return embedder(path, **options)._network.preprocessing

    assert said(channels="bgr").mean == (103.53, 116.28, 123.675)  # the means go with their channels
    assert said(mean=(127.0,), std=(128.0,)).std == (128.0,) * 3
    assert said(preprocess="caffe", interpolation="nearest").interpolation == "nearest"
    assert said(resize=40).shorter_side == 40
    assert said().shorter_side == 37  # 32 / 0.875
    assert said(fit="stretch").fit == "stretch"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": ""}, "model is empty"),
        ({"model": "resnet50.pth"}, "is a checkpoint; give it as checkpoint"),
        ({"model": "a.onnx", "checkpoint": "b.pth"}, "leave checkpoint out"),
        ({"size": 3}, "size=3 must be from 8"),
        ({"size": 64, "resize": 40}, "resize=40 must be from size=64"),
        ({"resize": 64, "fit": "stretch"}, "resize goes with fit='crop'"),
        ({"mean": (0.485, 0.456)}, "mean=.* must be one number for all channels, or three"),
        ({"std": (0.229, 0.224, 0.225)}, "scale 0..255 .* multiply numbers for 0..1 by 255"),
        ({"mean": (float("nan"),)}, "'mean' must be a finite number"),
        ({"device": "gpu"}, "device='gpu' must be auto, cpu"),
        ({"threads": 0}, "threads=0"),
        ({"max_pixels": 0}, "max_pixels=0"),
        ({"preprocess": "vgg"}, "'auto', 'imagenet', 'caffe'"),
        ({"proprocess": "caffe"}, "did you mean 'preprocess'"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(vecdb.InvalidInputError, match=words):
        INFO.configure({"model": "a.onnx", **options})


def test_a_crop_that_the_resize_does_not_cover(tmp_path):
    path = saved(classifier(size=64), tmp_path / "model.onnx")
    with pytest.raises(vecdb.InvalidInputError, match="resize=40 is less than the network's input of 64 pixels"):
        embedder(path, resize=40)


# --- loading ------------------------------------------------------------------------------------


def test_loading_and_closing(small):
    fresh = type(small)(small.config)
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"call load\(\) first"):
        fresh.prepare(item(scene()))
    fresh.load()
    before = vector(fresh, file_bytes(scene()))
    fresh.close()
    fresh.close()
    fresh.load()
    assert vector(fresh, file_bytes(scene())).tobytes() == before.tobytes()


@pytest.mark.parametrize("library", ["PIL.Image", "onnx", "onnxruntime"])
def test_a_missing_library_is_named(library, monkeypatch, small):
    monkeypatch.setitem(sys.modules, library, None)
    if library == "PIL.Image":
        monkeypatch.delattr(sys.modules["PIL"], "Image")
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"pip install 'vecdb-engine\[image\]'"):
        type(small)(small.config).load()


def test_a_model_is_kept_as_a_path_or_as_a_name(tmp_path):
    from pathlib import Path

    assert INFO.configure({"model": "folder/model"}).model == Path("folder/model")
    assert INFO.configure({"model": "model.onnx"}).model == Path("model.onnx")
    assert INFO.configure({"model": "resnet50"}).model == "resnet50"


def test_the_whole_way_through_a_database(tmp_path, small):
    files = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, file in enumerate(files):
        scene(seed).save(file)
    (tmp_path / "broken.jpg").write_bytes(file_bytes(scene(), "JPEG")[:600])
    with vecdb.open(tmp_path / "pictures.vecdb") as database:
        pictures = database.create_collection("pictures", embedder=f"cnn:{small.config.model}")
        records = [vecdb.Record(file.stem, file) for file in [*files, tmp_path / "broken.jpg"]]
        report = pictures.ingest(records, on_error="quarantine")
        assert (report.added, report.failed) == (6, 1)
        assert [failure.id for failure in pictures.failures()] == ["broken"]
        assert [pictures.search(item(scene(s), "JPEG", quality=80), k=1)[0].id for s in range(6)] == list("012345")
