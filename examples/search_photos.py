"""Search your photos by example: give a picture, find the pictures that show the like.

    python examples/search_photos.py [FOLDER] [QUERY.jpg] [--model cnn:MODEL.onnx] [--db photos.vecdb]

MODEL is any image classifier as an ONNX file (ResNet, VGG, MobileNet, EfficientNet, …), or the name of a torchvision
model where torchvision is installed (`--model cnn:resnet50`). Pictures are looked for in FOLDER and all folders in it.
With --db the vectors are kept, and the next run embeds new pictures only.

Without arguments: a ResNet50 and photos of ten kinds of things from the test data, where that lies beside this clone. A
clone alone has no weights, and no network that is of use fits into an example: then this says what to give.
"""

from __future__ import annotations

import argparse
import zipfile
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import vecdb

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESNET50 = DATA / "cnn" / "resnet50_imagenet_int8w.onnx"
CALTECH = DATA / "images-caltech25" / "images.zip"
PREPROCESSING = {"preprocess": "caffe"}  # that network was trained on colours in the order of Caffe
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
KINDS, OF_EACH = 10, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where your photos are")
    parser.add_argument("query", nargs="?", type=Path, help="the photo to find the like of; default: five by chance")
    parser.add_argument("--model", help="cnn:MODEL.onnx, or another embedder of images")
    parser.add_argument("--db", type=Path, help="keep the vectors in this database")
    options = parser.parse_args()
    if options.model is None and not RESNET50.exists():
        print("Searching photos needs a pretrained network, and there is none beside this clone. Give one:")
        print("  --model cnn:MODEL.onnx   an image classifier as ONNX (many are published, ResNet50 is a good start)")
        print("  --model cnn:resnet50     by name, where torchvision and its weights are installed")
        return
    if options.folder is None and not CALTECH.exists():
        print("Give the folder with your photos: there are none beside this clone.")
        return
    if options.model:
        embedder = vecdb.EmbedderRef.parse(options.model)
    else:
        embedder = vecdb.EmbedderRef("cnn", {"model": RESNET50, **PREPROCESSING})
    print(f"Network: {options.model or RESNET50.name}")
    with (
        TemporaryDirectory() as scratch,
        vecdb.open(options.db or Path(scratch) / "photos.vecdb") as db,
    ):
        try:
            collection = db.get_or_create_collection("photos", embedder=embedder)
            search(collection, photos(options.folder, Path(scratch)), options.query)
        except vecdb.EmbedderUnavailableError as error:
            print(error)  # what is missing, and what to do


def search(collection: vecdb.Collection, folder: Path, query: Path | None) -> None:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    report = collection.ingest(
        (vecdb.Record(path.relative_to(folder).as_posix(), path.resolve()) for path in files), on_error="quarantine"
    )
    print(f"{len(collection)} photos in {folder.name}/; {report.embedded} embedded now, {report.failed} cannot be read")
    for failure in list(collection.failures())[:3]:
        print(f"  {failure.id}: {failure.error}")
    chosen = [query] if query else files[2 :: max(1, len(files) // 5)]
    for photo in chosen:
        itself = None if query else photo.relative_to(folder).as_posix()
        print(f"\n{itself or photo}")
        for hit in [hit for hit in collection.search(photo, k=5) if hit.id != itself][:4]:
            print(f"  {hit.score:.2f}  {hit.id}")


def photos(folder: Path | None, scratch: Path) -> Path:
    """Your folder; or a few photos of some kinds in the test data, unpacked."""
    if folder is not None:
        return folder
    kinds: dict[str, list[str]] = defaultdict(list)
    with zipfile.ZipFile(CALTECH) as archive:
        for name in archive.namelist():
            kinds[name.partition("/")[0]].append(name)
        some = [name for kind in sorted(kinds)[-KINDS:] for name in kinds[kind][:OF_EACH]]
        archive.extractall(scratch / "caltech", some)
    print(f"Photos: {OF_EACH} each of {KINDS} kinds from Caltech-101 (Fei-Fei, Fergus, Perona; CC BY 4.0)")
    return scratch / "caltech"


if __name__ == "__main__":
    main()
