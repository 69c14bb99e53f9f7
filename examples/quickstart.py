"""The shortest useful program: train word vectors on your own texts, store, search. Run it anywhere."""

from pathlib import Path
from tempfile import TemporaryDirectory

import vecdb

TEXTS = {
    "gzip": "Compress or decompress files in the gzip format.",
    "json": "Parse JSON text into Python objects, and write objects as JSON text.",
    "random": "Generate pseudo-random numbers and choose random elements.",
    "threading": "Start and join threads, and guard shared data with locks.",
    "zipfile": "Read and write ZIP archives, which hold compressed files.",
}


def main() -> None:
    with TemporaryDirectory() as folder:
        model = Path(folder) / "texts.bin"
        info = vecdb.Plugins().embedder("fasttext")
        info.create_trainer({"dimension": 16, "min_count": 1}).train(TEXTS.values(), model)
        with vecdb.open(Path(folder) / "quickstart.vecdb") as db:
            texts = db.create_collection("texts", embedder=f"fasttext:{model}")
            texts.add(list(TEXTS.values()), ids=list(TEXTS), metadata=[{"length": len(t)} for t in TEXTS.values()])
            for hit in texts.search("comprss a fiel", k=2):
                print(f"{hit.score:.2f}  {hit.id}: {hit.content}")


if __name__ == "__main__":
    main()
