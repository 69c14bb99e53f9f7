"""Text embedders beyond word vectors: the hooks. Each embedder lives in a package of its own beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vecdb import EmbedderInfo, hookimpl
from vecdb_text.elmo.config import ElmoConfig
from vecdb_text.onnx_encoder.config import OnnxConfig
from vecdb_text.static_table.config import StaticConfig
from vecdb_text.transformer.config import BertConfig, SentenceTransformersConfig
from vecdb_text.universal.config import UniversalConfig

if TYPE_CHECKING:
    import click


@hookimpl
def vecdb_register_embedders() -> list[EmbedderInfo]:
    """Sentence encoders, BERT-like encoders, static tables, ELMo and the Universal Sentence Encoder."""
    return [
        EmbedderInfo(
            name="sentence-transformers",
            summary="sentence encoders (any sentence-transformers model); CLIP-like ones take images too",
            modalities=frozenset({"text", "image"}),
            config=SentenceTransformersConfig,
            factory="vecdb_text.transformer.sentence:SentenceTransformersEmbedder",
            requires=("torch", "sentence_transformers"),
            optional=("transformers", "tokenizers", "PIL"),
            extra="text",
        ),
        EmbedderInfo(
            name="bert",
            summary="a plain BERT-like encoder: its hidden states, pooled (cls, mean, max)",
            modalities=frozenset({"text"}),
            config=BertConfig,
            factory="vecdb_text.transformer.bert:BertEmbedder",
            requires=("torch", "transformers"),
            optional=("tokenizers", "onnxruntime"),
            extra="text",
        ),
        EmbedderInfo(
            name="onnx",
            summary="sentence encoders through onnxruntime, without torch: fp32 and int8",
            modalities=frozenset({"text"}),
            config=OnnxConfig,
            factory="vecdb_text.onnx_encoder.embedder:OnnxEmbedder",
            requires=("onnxruntime", "tokenizers"),
            extra="onnx",
        ),
        EmbedderInfo(
            name="static",
            summary="static sentence tables (model2vec, StaticEmbedding, WordLlama): thousands of texts a second",
            modalities=frozenset({"text"}),
            config=StaticConfig,
            factory="vecdb_text.static_table.embedder:StaticEmbedder",
            requires=("tokenizers", "safetensors"),
            extra="static",
            batch_size=256,
        ),
        EmbedderInfo(
            name="elmo",
            summary="contextual vectors of the ELMo biLM (options.json and hdf5 weights), pooled",
            modalities=frozenset({"text"}),
            config=ElmoConfig,
            factory="vecdb_text.elmo.embedder:ElmoEmbedder",
            requires=("h5py",),
            optional=("torch",),
            extra="elmo",
        ),
        EmbedderInfo(
            name="use",
            summary="the Universal Sentence Encoder: USE-lite (TF.js, safetensors) in numpy, and ONNX",
            modalities=frozenset({"text"}),
            config=UniversalConfig,
            factory="vecdb_text.universal.embedder:UniversalEmbedder",
            optional=("onnxruntime", "onnxruntime_extensions", "safetensors"),
            extra="use",
            batch_size=64,
        ),
    ]


@hookimpl
def vecdb_register_commands(cli: click.Group) -> None:
    """`vecdb embedders export`."""
    from vecdb_text.export.command import NAME, export

    cli.add_command(export, NAME)
