"""Models of texts: one file of a sound model is replaced by the input, and the model is loaded and used."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vecdb
from tests.plugins.text import elmo_models, onnx_models, use_models
from tests.torture.fuzzing.target import NotHere, Target
from vecdb_image.stored_preprocessing import from_processor_file
from vecdb_text import vecdb_register_embedders
from vecdb_text.onnx_encoder.external_data import external_files
from vecdb_text.onnx_encoder.settings import read_settings, settings_files, tokenizer_file

_INFOS = {info.name: info for info in vecdb_register_embedders()}
_TEXTS = ("the dog sleeps", "cat king", "unheard-of")
_JSON_WORDS = (b"null", b"true", b"[]", b"{}", b"-1", b"1e999", b'""')
_DEEP = b'{"a":' * 20_000


class _Replaced:
    """A sound model, one file of which is the input: the first byte says which."""

    def __init__(self, embedder: str, files: Sequence[str], needs: Sequence[str] = ()) -> None:
        self._embedder = embedder
        self._files = files
        self._needs = needs
        self._sound: dict[str, bytes] = {}

    def check(self) -> None:
        missing = [name for name in self._needs if importlib.util.find_spec(name) is None]
        if missing:
            raise NotHere(f"{missing[0]} is not installed")

    def make(self, folder: Path) -> Path:
        """The sound model, made in the folder."""
        made = folder / "sound"
        shutil.rmtree(made, ignore_errors=True)
        if self._embedder == "static":
            onnx_models.static_folder(made, normalize=True, max_length=100)
        elif self._embedder == "elmo":
            elmo_models.write_model(made)
        else:
            use_models.write_tfjs(made)
        return made

    def seeds(self, folder: Path) -> list[bytes]:
        self.check()
        made = self.make(folder)
        found = [
            bytes([number]) + (made / name).read_bytes()
            for number, name in enumerate(self._files)
            if (made / name).exists()
        ]
        deep = [bytes([number]) + _DEEP for number, name in enumerate(self._files) if name.endswith(".json")]
        return found + deep

    def run(self, data: bytes, folder: Path) -> None:
        model = folder / "model"
        if not self._sound:
            made = self.make(folder)
            self._sound = {path.name: path.read_bytes() for path in made.iterdir()}
            model.mkdir(exist_ok=True)
            for name, content in self._sound.items():
                (model / name).write_bytes(content)
        name = self._files[(data[0] if data else 0) % len(self._files)]
        (model / name).write_bytes(data[1:])
        try:
            self._use(model)
        finally:
            if name in self._sound:
                (model / name).write_bytes(self._sound[name])
            else:
                (model / name).unlink()

    def _use(self, model: Path) -> None:
        info = _INFOS[self._embedder]
        embedder = info.create(info.configure({"model": model}))
        try:
            embedder.weights()
            embedder.load()
        except vecdb.EmbedderUnavailableError:
            return
        try:
            for text in _TEXTS:
                try:
                    prepared = embedder.prepare(text)
                    parts = prepared.parts if isinstance(prepared, vecdb.Windows) else [prepared]
                    embedder.encode(parts, "document")
                except vecdb.ItemError:
                    continue
        finally:
            embedder.close()


_STATIC = _Replaced("static", ("model.safetensors", "config.json", "modules.json"), ("safetensors", "tokenizers"))
_ELMO = _Replaced("elmo", ("small_options.json", "small_weights.hdf5"), ("h5py",))
_USE = _Replaced("use", ("model.json", "vocab.json", *(f"group1-shard{n}of3" for n in (1, 2, 3))))

_SETTINGS = ("modules.json", "config_sentence_transformers.json", "config.json", "sentence_bert_config.json",
             "tokenizer_config.json", "1_Pooling/config.json", "preprocessor_config.json", "model.onnx")  # fmt: skip


def _settings(data: bytes, folder: Path) -> None:
    """The first byte says which of the files beside an encoder it is; the others are sound, or absent."""
    name = _SETTINGS[(data[0] if data else 0) % len(_SETTINGS)]
    model = folder / "encoder"
    path = model / name
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: Any = {"modules.json": [{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"}]}
    for other, value in kept.items():
        (model / other).write_text(json.dumps(value))
    path.write_bytes(data[1:])
    try:
        for read in (settings_files, tokenizer_file, read_settings):
            try:
                read(model)
            except vecdb.EmbedderUnavailableError:
                continue
        try:
            if name == "preprocessor_config.json":
                from_processor_file(path)
            if name == "model.onnx":
                external_files(path)
        except vecdb.EmbedderUnavailableError:
            return
    finally:
        path.unlink()


def _settings_seeds(folder: Path) -> list[bytes]:
    values: list[Any] = [
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"type": "x.Normalize", "path": "2"},
        ],
        {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"},
        {"max_position_embeddings": 512, "pad_token_id": 0},
        {"max_seq_length": 256, "do_lower_case": False},
        {"model_max_length": 1e30, "truncation_side": "right"},
        {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode": "mean"},
        {
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": 0.5,
            "size": {"shortest_edge": 224},
            "crop_size": 224,
            "crop_pct": 0.9,
            "resample": 3,
        },
    ]
    seeds = [bytes([number]) + json.dumps(value).encode() for number, value in enumerate(values)]
    odd = (
        "{}",
        "[]",
        "1",
        "null",
        "[[]]",
        '[{"type": 1, "path": "../x"}]',
        '{"size": 1e999, "image_mean": "ab"}',
        '{"max_seq_length": NaN}',
    )
    seeds += [bytes([number]) + text.encode() for number in range(len(values)) for text in odd]
    seeds += [bytes([number]) + _DEEP for number in range(len(values))]
    return [*seeds, b"\7" + _graph("weights.bin"), b"\7" + _graph("../../outside")]


def _graph(location: str) -> bytes:
    """The few fields of an ONNX graph that say where a tensor is kept."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    entry = field(1, b"location") + field(2, location.encode())
    return b"\x08\x08" + field(7, field(5, field(13, entry)))


TARGETS = [
    Target("static tables", _STATIC.seeds, _STATIC.run, words=(*_JSON_WORDS, b'"dtype"', b'"shape"', b'"normalize"')),
    Target("elmo", _ELMO.seeds, _ELMO.run, longest=40_000, words=(*_JSON_WORDS, b'"filters"', b'"n_layers"')),
    Target(
        "sentence encoder",
        _USE.seeds,
        _USE.run,
        longest=20_000,
        words=(*_JSON_WORDS, b'"paths"', b'"weights"', b'"shape"'),
    ),
    Target("encoder settings", _settings_seeds, _settings, longest=2000, words=(*_JSON_WORDS, b'"path"', b'"type"')),
]
