"""Search text in two languages: ask in one, find in the other.

    python examples/two_languages.py [PAIRS.tsv] [QUERY] [--embedder NAME:MODEL]

With --embedder any multilingual model does it (for example `sentence-transformers:FOLDER` or `use:MODEL.onnx`).
Without one, word vectors for both languages at once are learned here, from sentences and their translations: the words
of a pair are interleaved into one text, so that words which translate one another stand together, and come to lie near
one another (I. Vulić, M.-F. Moens: "Monolingual and Cross-Lingual Information Retrieval Models Based on (Bilingual)
Word Embeddings", SIGIR 2015).

PAIRS.tsv: a sentence, a tab, its translation on each line. Default: manual pages of tldr in English and Korean where
the test data lies beside this clone, else forty sentences in English and German that are written below.
"""

from __future__ import annotations

import argparse
import gzip
import json
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import vecdb

TLDR = Path(__file__).resolve().parents[2] / "shared" / "data" / "retrieval-tldr"
TRAINED_ON = 3000
HELD_OUT = 200

GERMAN = """
the dog sleeps in the house|der Hund schläft im Haus
the cat sleeps on the bed|die Katze schläft auf dem Bett
a dog runs through the garden|ein Hund läuft durch den Garten
the cat drinks milk in the kitchen|die Katze trinkt Milch in der Küche
the children play in the garden|die Kinder spielen im Garten
the children eat bread and cheese|die Kinder essen Brot und Käse
she bakes bread in the kitchen|sie backt Brot in der Küche
he drinks coffee in the morning|er trinkt Kaffee am Morgen
we drink water and milk|wir trinken Wasser und Milch
the cheese and the bread are fresh|der Käse und das Brot sind frisch
the train arrives in the morning|der Zug kommt am Morgen an
the train to the city is late|der Zug in die Stadt ist verspätet
she buys a ticket at the station|sie kauft eine Fahrkarte am Bahnhof
a ticket for the train is cheap|eine Fahrkarte für den Zug ist billig
the station is in the city|der Bahnhof ist in der Stadt
he drives his car to the city|er fährt mit dem Auto in die Stadt
the car stands in front of the house|das Auto steht vor dem Haus
the red car is fast|das rote Auto ist schnell
she reads a book in bed|sie liest ein Buch im Bett
the book is on the table|das Buch liegt auf dem Tisch
he writes a letter at the table|er schreibt einen Brief am Tisch
the letter arrives tomorrow|der Brief kommt morgen an
the teacher reads the letter|der Lehrer liest den Brief
the teacher gives the pupils a book|der Lehrer gibt den Schülern ein Buch
the pupils learn in the school|die Schüler lernen in der Schule
the school is closed today|die Schule ist heute geschlossen
it rains in the city today|es regnet heute in der Stadt
tomorrow the sun shines again|morgen scheint die Sonne wieder
the sun shines in the garden|die Sonne scheint im Garten
in winter it snows in the mountains|im Winter schneit es in den Bergen
the mountains are high and cold|die Berge sind hoch und kalt
we climb the mountains in summer|wir steigen im Sommer auf die Berge
in summer we swim in the lake|im Sommer schwimmen wir im See
the water of the lake is cold|das Wasser des Sees ist kalt
the doctor works in the hospital|die Ärztin arbeitet im Krankenhaus
the sick child is in the hospital|das kranke Kind ist im Krankenhaus
the doctor gives the child medicine|die Ärztin gibt dem Kind Medizin
she plays the piano every evening|sie spielt jeden Abend Klavier
the music in the evening was loud|die Musik am Abend war laut
we listen to music and dance|wir hören Musik und tanzen
"""
QUERIES = ["Fahrkarte kaufen", "schwimmen in kaltem Wasser", "krankes Kind", "der Schüler liest", "Klaviermusik"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pairs", nargs="?", type=Path, help="a file: sentence, tab, translation on each line")
    parser.add_argument("query", nargs="?", help="what to look for, in the second language")
    parser.add_argument("--embedder", help="a multilingual embedder, NAME:MODEL")
    options = parser.parse_args()
    pairs, asked, source = read_pairs(options.pairs)
    queries = [(options.query, "")] if options.query else asked
    print(f"Sentences: {source}")
    with TemporaryDirectory() as folder:
        embedder = options.embedder or learned(pairs, Path(folder) / "both.bin")
        print(f"Embedder: {embedder if options.embedder else 'fastText, trained here on pairs of sentences'}\n")
        with vecdb.open(Path(folder) / "sentences.vecdb") as db:
            sentences = db.create_collection("sentences", embedder=embedder)
            known = [(query, answer) for query, answer in queries if answer]
            sentences.add(list(dict.fromkeys(sentence for sentence, _ in pairs + [pair[::-1] for pair in known])))
            hits = sentences.search_batch([query for query, _ in queries], k=3)
            for (query, _), best in list(zip(queries, hits, strict=True))[:5]:
                print(query)
                for hit in best:
                    print(f"  {hit.score:.2f}  {hit.content}")
            if known:
                found = [{hit.content for hit in best} for best in hits]
                right = sum(answer in contents for (_, answer), contents in zip(known, found, strict=True))
                print(f"\n{right} of {len(known)} questions, none of them learned from, found their own translation")
                print(f"among the first three of {len(sentences):,} sentences.")


def read_pairs(file: Path | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]], str]:
    """Pairs to learn from and search in; queries, with the answer where it is known; and where all this comes from."""
    if file is not None:
        pairs = [cut(line, "\t") for line in file.read_text("utf-8").splitlines() if "\t" in line]
        return pairs, [(translation, "") for _, translation in pairs[:5]], f"{len(pairs):,} pairs of {file}"
    if not TLDR.is_dir():
        pairs = [cut(line, "|") for line in GERMAN.strip().splitlines()]
        return pairs, [(query, "") for query in QUERIES], f"{len(pairs)} in English and German, written in this example"
    english, korean = (tldr_sentences(language) for language in ("en", "ko"))
    names = sorted(english.keys() & korean.keys(), key=lambda name: zlib.crc32(name.encode()))  # as if by chance
    learned_from = {english[name] for name in names[HELD_OUT:]}
    held_out = [(korean[name], english[name]) for name in names[:HELD_OUT] if english[name] not in learned_from]
    pairs = [(english[name], korean[name]) for name in names[HELD_OUT : HELD_OUT + TRAINED_ON]]
    source = "from the tldr manual pages, in English and Korean (CC BY 4.0, tldr-pages team and contributors)"
    return pairs, held_out, f"{len(pairs):,} {source}"


def cut(line: str, mark: str) -> tuple[str, str]:
    sentence, _, translation = line.partition(mark)
    return sentence.strip(), translation.strip()


def tldr_sentences(language: str) -> dict[str, str]:
    with gzip.open(TLDR / f"passages_{language}.jsonl.gz", "rt", encoding="utf-8") as file:
        return {row["id"].partition(":")[2]: row["text"] for row in map(json.loads, file)}


def learned(pairs: list[tuple[str, str]], model: Path) -> vecdb.EmbedderRef:
    """Word vectors for both languages at once."""
    options = {"dimension": 100 if len(pairs) > 1000 else 32, "epochs": 0, "initial_window": 20, "min_count": 1}
    trainer = vecdb.Plugins().embedder("fasttext").create_trainer(options)
    trainer.train((interleaved(*pair) for pair in pairs), model)
    return vecdb.EmbedderRef("fasttext", {"model": model, "sif_a": 1e-3})


def interleaved(sentence: str, translation: str) -> str:
    """The words of both, each about where its translation stands."""
    both = [(i / len(words), word) for words in (sentence.split(), translation.split()) for i, word in enumerate(words)]
    return " ".join(word for _, word in sorted(both, key=lambda placed: placed[0]))


if __name__ == "__main__":
    main()
