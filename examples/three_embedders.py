"""The same texts under three embedders, side by side: what each of them takes for near.

    python examples/three_embedders.py [TEXTS] [QUERY] [--embedder NAME:MODEL …]

TEXTS is a file with one text a line; by default sentences from the docstrings of Python's standard library. The
embedders are: a table of random vectors for words (it knows equal words and nothing else), fastText trained here on
these very texts (parts of words), and the Universal Sentence Encoder (meaning) where the test data lies beside this
clone; without it word2vec, trained here too. Give up to three of your own with --embedder.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import vecdb

UNIVERSAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "use-lite-en"
MODULES = """
    base64 bisect calendar csv datetime difflib email.message fractions getpass gzip hashlib heapq html http.client json
    logging math os os.path pathlib random re secrets shutil smtplib socket sqlite3 statistics string subprocess
    tempfile textwrap threading time urllib.parse urllib.request uuid wave webbrowser xml.dom.minidom zipfile
"""
QUERIES = ["remove a directory", "squre root", "is this year longer than others?"]
SPACES = ("default", "second", "third")
WIDTH = 38


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="?", type=Path, help="a file with one text a line")
    parser.add_argument("query", nargs="?", help="what to look for")
    parser.add_argument("--embedder", action="append", help="NAME:MODEL; up to three")
    options = parser.parse_args()
    if options.texts is None:
        texts, source = sorted(set(docstrings())), "sentences from the docstrings of the standard library"
    else:
        texts, source = options.texts.read_text("utf-8").splitlines(), f"lines of {options.texts}"
    texts = [text for text in dict.fromkeys(texts) if text.strip()]
    print(f"{len(texts):,} {source}")
    with TemporaryDirectory() as folder:
        chosen = (options.embedder or [])[:3]
        spaces = {name: vecdb.EmbedderRef.parse(name) for name in chosen} or three(texts, Path(folder))
        with vecdb.open(Path(folder) / "texts.vecdb") as db:
            definitions = {name: {"embedder": one} for name, one in zip(SPACES, spaces.values(), strict=False)}
            collection = db.create_collection("texts", spaces=definitions)
            collection.ingest((vecdb.Record(str(i), text) for i, text in enumerate(texts)), on_error="quarantine")
            for query in [options.query] if options.query else QUERIES:
                print(f"\n=== {query}")
                side_by_side(list(spaces), [nearest(collection, query, space) for space in definitions])


def three(texts: list[str], folder: Path) -> dict[str, vecdb.EmbedderRef]:
    """A heading and an embedder each, from one that knows little to one that knows much."""
    words = sorted({word for text in texts for word in text.lower().split()})
    (folder / "words.txt").write_text("\n".join(words), "utf-8")
    table = {"num_embeddings": len(words), "embedding_dim": 256, "vocabulary": folder / "words.txt", "lowercase": True}
    found = {
        "random table: equal words": vecdb.EmbedderRef("embedding-table", table),
        "fastText trained here": trained("fasttext", texts, folder / "fasttext.bin", {"dimension": 64}),
    }
    if UNIVERSAL.is_dir():
        found["Universal Sentence Encoder"] = vecdb.EmbedderRef("use", {"model": UNIVERSAL})
    else:
        found["word2vec trained here"] = trained("word2vec", texts, folder / "word2vec.bin", {"dimension": 64})
    return found


def trained(name: str, texts: list[str], model: Path, options: dict[str, int]) -> vecdb.EmbedderRef:
    vecdb.Plugins().embedder(name).create_trainer({"min_count": 1, **options}).train(texts, model)
    return vecdb.EmbedderRef(name, {"model": model, "sif_a": 1e-3})


def nearest(collection: vecdb.Collection, query: str, space: str) -> list[str]:
    """Lines: the nearest texts with their score; or why there is none."""
    try:
        hits = collection.search(query, k=2, space=space)
    except vecdb.EmbeddingError as error:
        return textwrap.wrap(str(error.errors[0]), WIDTH)[:4]
    texts = [f"{hit.score:.2f} {hit.content}" for hit in hits]
    return [line for text in texts for line in textwrap.wrap(text, WIDTH, subsequent_indent=" " * 5)]


def side_by_side(headings: list[str], columns: list[list[str]]) -> None:
    print("  ".join(heading[:WIDTH].ljust(WIDTH) for heading in headings).rstrip())
    print("  ".join("-" * WIDTH for _ in headings))
    for row in range(max(map(len, columns))):
        print("  ".join((column[row] if row < len(column) else "").ljust(WIDTH) for column in columns).rstrip())


def docstrings() -> Iterator[str]:
    """The first sentence of what the public functions, classes and methods of these modules say of themselves."""
    for module in map(importlib.import_module, MODULES.split()):
        public = [found for name, found in vars(module).items() if not name.startswith("_")]
        classes = [found for found in public if inspect.isclass(found)]
        for found in public + [member for owner in classes for name, member in vars(owner).items() if name[0] != "_"]:
            if callable(found) and (text := inspect.getdoc(found)):
                sentence = " ".join(text.split("\n\n")[0].split()).partition(". ")[0]
                if 20 <= len(sentence) <= 120 and sentence[0].isupper():
                    yield sentence


if __name__ == "__main__":
    main()
