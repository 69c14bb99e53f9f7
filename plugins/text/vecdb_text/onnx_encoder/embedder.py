"""`onnx`: a sentence encoder as an ONNX graph, with its tokenizer, through onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vecdb import Embedder, EmbedderUnavailableError, InvalidInputError, ItemError, Windows
from vecdb_text.onnx_encoder.config import OnnxConfig
from vecdb_text.onnx_encoder.external_data import external_files
from vecdb_text.onnx_encoder.pooling import pool
from vecdb_text.onnx_encoder.session import Session
from vecdb_text.onnx_encoder.settings import Settings, read_settings, settings_files, tokenizer_file
from vecdb_text.onnx_encoder.tokenizer_file import read_tokenizer, tokenising
from vecdb_text.transformer.windows import TokenisedText, Tokeniser, Tokens, padded, tokenised

Role = Literal["document", "query"]

_GRAPHS = ("model.onnx", "onnx/model.onnx")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_SENTENCE = "sentence_embedding"
_TOKENS = ("token_embeddings", "last_hidden_state")


class OnnxEmbedder(Embedder):
    """Sentence encoders without torch; vectors are those of sentence-transformers on the same weights.

    The graph gives `sentence_embedding` (pooled already), or one vector a token, which is pooled as
    `1_Pooling/config.json` says.
    """

    config: OnnxConfig

    def __init__(self, config: OnnxConfig) -> None:
        super().__init__(config)
        self._session: Session | None = None
        self._tokenisers: dict[str, Tokeniser] = {}
        self._padding = 0
        self._output = ""
        self._pooled = False
        self._poolings: tuple[str, ...] = ()
        self._normalise = False
        self._dimension = 0

    def weights(self) -> Sequence[Path]:
        """The graph, the files that it keeps weights in, the tokenizer, and the settings beside them.

        Raises:
            EmbedderUnavailableError: the folder has no graph, or several and none of them is chosen.
        """
        folder, graph = _find(self.config)
        return [graph, *external_files(graph), tokenizer_file(folder), *settings_files(folder)]

    def load(self) -> None:
        """Open the graph and the tokenizer.

        Raises:
            EmbedderUnavailableError: a file is missing, damaged or asks for what is not known here; or
                the device is not there.
        """
        if self._session is not None:
            return
        config = self.config
        folder, graph = _find(config)
        if missing := [path for path in external_files(graph) if not path.is_file()]:
            raise EmbedderUnavailableError(
                f"the graph {graph} keeps weights in {missing[0]}, which does not exist; put it beside the graph",
                missing=[str(missing[0])],
            )
        settings = read_settings(folder)
        self._set_tokenisers(read_tokenizer(tokenizer_file(folder)), settings)
        session = Session(graph, device=config.device, threads=config.threads)
        session.require_inputs(_INPUTS)
        self._set_output(session, graph, settings)
        self._session = session

    def close(self) -> None:
        """Let go of the graph and the tokenizer."""
        self._session = None
        self._tokenisers = {}

    @property
    def dimension(self) -> int:
        """Length of the vectors: the model's, or the option `dimension`."""
        return self.config.dimension or self._dimension

    def prepare(self, item: Any) -> TokenisedText | Windows:
        """The text as token numbers.

        Raises:
            ItemError: the tokenizer fails.
        """
        with tokenising():
            return tokenised(item, self._tokenisers["document"], self._tokenisers["query"])

    def encode(self, batch: Sequence[TokenisedText], role: Role) -> NDArray[np.float32]:
        """The vectors, shape (len(batch), dimension)."""
        if self._session is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        texts = [item.query if role == "query" else item.document for item in batch]
        vectors: NDArray[np.floating] = self._vectors(self._session, texts)
        if self.config.dimension is not None:
            vectors = vectors[:, : self.config.dimension]
        if self._normalise or self.config.dimension is not None:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.asarray(vectors, np.float32)

    def cost(self, prepared: TokenisedText) -> int:
        """Tokens."""
        return prepared.cost

    # --- what `load` finds out ---

    def _set_tokenisers(self, tokenizer: Any, settings: Settings) -> None:
        config = self.config
        if settings.lower_case:
            from tokenizers.normalizers import Lowercase
            from tokenizers.normalizers import Sequence as Normalizers

            steps = [Lowercase(), tokenizer.normalizer] if tokenizer.normalizer is not None else [Lowercase()]
            tokenizer.normalizer = Normalizers(steps)
        length = config.max_length or settings.max_length
        prompts = dict(settings.prompts)
        prompts |= {"query": config.query_prompt} if config.query_prompt is not None else {}
        prompts |= {"document": config.document_prompt} if config.document_prompt is not None else {}
        try:
            made = {text: Tokeniser(tokenizer, length, prompt=text) for text in set(prompts.values())}
        except InvalidInputError as error:
            raise EmbedderUnavailableError(str(error)) from error
        self._tokenisers = {role: made[text] for role, text in prompts.items()}
        self._padding = settings.padding

    def _set_output(self, session: Session, graph: Path, settings: Settings) -> None:
        """Choose the output and what is still to be done with it, by embedding something."""
        config = self.config
        names = (*_TOKENS, _SENTENCE) if config.pooling != "auto" else (_SENTENCE, *_TOKENS)
        self._output = next((name for name in names if name in session.outputs), session.outputs[0])
        self._poolings = settings.poolings if config.pooling == "auto" else (config.pooling,)
        self._normalise = settings.normalise if config.normalise is None else config.normalise
        sample = self.prepare("a")
        text = sample if isinstance(sample, TokenisedText) else sample.parts[0]
        try:
            found = session.run(self._inputs([text.document]), self._output)
        except ItemError as error:
            raise _unfit(graph, f"it fails for the text 'a' ({error})") from error
        if found.ndim not in (2, 3):
            raise _unfit(graph, f"its output {self._output} has {found.ndim} dimensions, not 2 or 3")
        self._pooled = found.ndim == 2
        if self._pooled and config.pooling != "auto":
            raise _unfit(graph, f"it gives pooled vectors only, so that pooling={config.pooling!r} is not possible")
        if settings.others and not self._pooled:
            raise _unfit(graph, f"the model goes on with {', '.join(settings.others)} after pooling")
        self._dimension = int(self._vectors(session, [text.document]).shape[1])
        if config.dimension is not None and config.dimension > self._dimension:
            raise EmbedderUnavailableError(
                f"the model {config.model} gives {self._dimension} numbers, not dimension={config.dimension}; "
                "give a smaller one"
            )

    def _vectors(self, session: Session, texts: Sequence[Tokens]) -> NDArray[np.float32]:
        inputs = self._inputs(texts)
        found = session.run(inputs, self._output)
        return found if self._pooled else pool(found, inputs["attention_mask"], self._poolings)

    def _inputs(self, texts: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        numbers, kinds, mask = padded(texts, number=self._padding)
        positions = np.broadcast_to(np.arange(numbers.shape[1]), numbers.shape)
        return {"input_ids": numbers, "token_type_ids": kinds, "attention_mask": mask, "position_ids": positions}


def _find(config: OnnxConfig) -> tuple[Path, Path]:
    """The folder of the model, and its graph."""
    model = config.model
    if not model.exists():
        raise EmbedderUnavailableError(
            f"there is no {model}; make it from a sentence-transformers model with `vecdb embedders export`",
            missing=[str(model)],
        )
    if model.is_file():
        inside = model.parent.name == "onnx" and not (model.parent / "tokenizer.json").is_file()
        return (model.parent.parent if inside else model.parent), model
    if config.file:
        if not (model / config.file).is_file():
            raise EmbedderUnavailableError(
                f"there is no {model / config.file}; there is {_listed(_graphs(model))}: choose with the option file",
                missing=[str(model / config.file)],
            )
        return model, model / config.file
    for name in _GRAPHS:
        if (model / name).is_file():
            return model, model / name
    graphs = _graphs(model)
    if len(graphs) != 1:
        raise EmbedderUnavailableError(
            f"the folder {model} has no model.onnx; there is {_listed(graphs)}: choose with the option file, or make "
            "the folder with `vecdb embedders export`",
            missing=[str(model / _GRAPHS[0])],
        )
    return model, model / graphs[0]


def _graphs(folder: Path) -> list[str]:
    found = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no graph"


def _unfit(graph: Path, problem: str) -> EmbedderUnavailableError:
    return EmbedderUnavailableError(
        f"the graph {graph} cannot be used so: {problem}; export the model with `vecdb embedders export`",
        missing=[str(graph)],
    )
