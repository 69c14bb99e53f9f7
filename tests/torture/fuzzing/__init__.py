"""What is fuzzed: each reader of what comes from outside, with small real inputs to begin with.

`python -m tests.torture.fuzzing TARGET …` is the child in which one target runs; see `tests/torture/fuzz.py`.
"""

from __future__ import annotations

from pathlib import Path

REGRESSIONS = Path(__file__).with_name("regressions")

# Target: the module here that holds it, and the packages whose branches guide the fuzzer.
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "filters": ("filters", ("vecdb.storage.filters",)),
    "records": ("importers", ("vecdb.cli.records_in", "vecdb.cli.where", "vecdb.storage.contents")),
    "conditions": ("importers", ("vecdb.cli.where", "vecdb.storage.filters")),
    "passages": ("importers", ("vecdb.cli.passages",)),
    "stored": ("stored", ("vecdb.storage.contents", "vecdb.embedding.probe")),
    "graphs": ("graphs", ("vecdb.index",)),
    "pictures": ("media", ("vecdb_image", "PIL")),
    "sounds": ("media", ("vecdb_audio",)),
    "word vectors": ("words", ("vecdb_words",)),
    "gensim": ("words", ("vecdb_words",)),
    "fasttext": ("words", ("vecdb_words",)),
    "tables": ("tables", ("vecdb_tables",)),
    "vocabularies": ("tables", ("vecdb_tables",)),
    "torch tables": ("tables", ("vecdb_tables",)),
    "static tables": ("text_models", ("vecdb_text",)),
    "encoder settings": ("text_models", ("vecdb_text", "vecdb_image.stored_preprocessing")),
    "elmo": ("text_models", ("vecdb_text",)),
    "sentence encoder": ("text_models", ("vecdb_text",)),
}
