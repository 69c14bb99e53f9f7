"""Small models with made-up weights, in the folders that transformers and sentence-transformers write."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vecdb import Embedder, EmbedderInfo
from vecdb.embedding import EmbedderHost
from vecdb_text import vecdb_register_embedders

INFOS: dict[str, EmbedderInfo] = {info.name: info for info in vecdb_register_embedders()}
WORDS = str.split(
    "the a dog cat sleeps runs in house garden red blue small river tree query document : , . ! one two three four "
    "five six seven eight nine ten and of text short long"
)
TEXTS = [
    "The dog sleeps in the house.",
    "A small cat runs",
    "the river and the tree, the garden and the red house!",
    "blue",
    "one two three four five six seven eight nine ten one two",
]
LONG = "the dog runs in the garden and the cat sleeps in a small red house of the river tree one two three four five"
MAX_LENGTH = 16


def host(name: str, model: Path | str, **options: Any) -> EmbedderHost:
    """A host of an embedder of this plugin; close it, or use it with `with`."""
    info = INFOS[name]
    return EmbedderHost(info, info.configure({"model": model, "device": "cpu", **options}))


def embedder(name: str, model: Path | str, **options: Any) -> Embedder:
    """The bare embedder, not loaded."""
    info = INFOS[name]
    return info.create(info.configure({"model": model, "device": "cpu", **options}))


def bert_folder(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """A BERT of width 16 with a vocabulary of words and letters, as safetensors."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*special, *WORDS, *letters, *("##" + letter for letter in letters)]))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        initializer_range=0.5,  # so large that texts differ
    )
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), silent():
        torch.manual_seed(seed)
        transformers.BertModel(config).save_pretrained(folder)
        tokenizer = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})
        tokenizer.save_pretrained(folder)
    return folder


def sentence_folder(
    folder: Path, *, prompts: Mapping[str, str] | None = None, include_prompt: bool = True, normalise: bool = True
) -> Path:
    """A sentence-transformers model around `bert_folder` that reads 16 tokens."""
    library = pytest.importorskip("sentence_transformers")
    modules = library.sentence_transformer.modules
    encoder = bert_folder(folder.with_name(folder.name + "-encoder"))
    with silent():
        transformer = library.base.modules.Transformer(str(encoder), max_seq_length=MAX_LENGTH)
        parts = [transformer, modules.Pooling(16, "mean", include_prompt=include_prompt)]
        if normalise:
            parts.append(library.base.modules.Normalize())
        library.SentenceTransformer(modules=parts, device="cpu", prompts=dict(prompts or {})).save_pretrained(
            str(folder), create_model_card=False
        )
    return folder


def clip_folder(folder: Path) -> Path:
    """A CLIP of width 8 for images of 32 x 32 pixels, whose texts are letters; reads 20 tokens."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    library = pytest.importorskip("sentence_transformers")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.:/,_-!?'")
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={
            **shape,
            "vocab_size": len(words),
            "max_position_embeddings": 20,
            "bos_token_id": vocabulary["<|startoftext|>"],
            "eos_token_id": vocabulary["<|endoftext|>"],
            "pad_token_id": vocabulary["<|endoftext|>"],
        },
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=8,
        initializer_factor=8.0,
    )
    plain = folder.with_name(folder.name + "-plain")
    with torch.random.fork_rng(devices=[]), silent():
        torch.manual_seed(0)
        transformers.CLIPModel(config).save_pretrained(plain)
        size = {"height": 32, "width": 32}
        transformers.CLIPProcessor(
            image_processor=transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size),
            tokenizer=transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=20),
        ).save_pretrained(plain)
        library.SentenceTransformer(str(plain), device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def static_folder(folder: Path) -> Path:
    """A model without a transformer: a table of token vectors."""
    library = pytest.importorskip("sentence_transformers")
    tokenizers = pytest.importorskip("tokenizers")
    encoder = bert_folder(folder.with_name(folder.name + "-encoder"))
    tokenizer = tokenizers.Tokenizer.from_file(str(encoder / "tokenizer.json"))
    with silent():
        table = library.sentence_transformer.modules.StaticEmbedding(tokenizer, embedding_dim=12)
        library.SentenceTransformer(modules=[table], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def asymmetric_folder(folder: Path) -> Path:
    """A model with another encoder for queries (a table) than for documents (a transformer)."""
    library = pytest.importorskip("sentence_transformers")
    encoder = bert_folder(folder.with_name(folder.name + "-encoder"))
    tokenizer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(encoder / "tokenizer.json"))
    with silent():
        parts = library.sentence_transformer.modules
        router = library.base.modules.Router.for_query_document(
            query_modules=[parts.StaticEmbedding(tokenizer, embedding_dim=16)],
            document_modules=[
                library.base.modules.Transformer(str(encoder), max_seq_length=MAX_LENGTH),
                parts.Pooling(16, "mean"),
            ],
        )
        library.SentenceTransformer(modules=[router], device="cpu").save_pretrained(
            str(folder), create_model_card=False
        )
    return folder


def reference(folder: Path) -> Any:
    """The model as the library itself opens it."""
    library = pytest.importorskip("sentence_transformers")
    with silent():
        return library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def edit_json(path: Path, **changes: Any) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without the libraries' progress bars and warnings."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        transformers.utils.logging.enable_progress_bar()
