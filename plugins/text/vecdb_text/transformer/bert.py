"""`bert`: a plain encoder of the BERT family, its token vectors pooled."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vecdb import Embedder, EmbedderUnavailableError, InvalidInputError, Windows
from vecdb_text.transformer.config import BertConfig
from vecdb_text.transformer.model_files import model_folder, weight_files
from vecdb_text.transformer.onnx_graph import OnnxGraph, find_graph, graph_files
from vecdb_text.transformer.runtime import choose_device, import_library, loading, unusable
from vecdb_text.transformer.windows import Tokeniser, Tokens, padded, stretches

_UNLIMITED = 1_000_000


class HiddenStates(Protocol):
    """What runs the encoder: torch or onnxruntime."""

    def __call__(self, numbers: Tokens, kinds: Tokens, mask: Tokens, layers: Sequence[int]) -> Any:
        """The mean of the layers' hidden states, a torch tensor of shape (texts, tokens, dimension)."""


class BertEmbedder(Embedder):
    """Hidden states of an encoder (Devlin et al. 2018), pooled over the tokens of a text, special ones among them."""

    config: BertConfig
    _encoder: HiddenStates | None = None

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self._torch: Any = None
        self._tokenizer: Any = None
        self._tokeniser: Tokeniser | None = None
        self._dimension = 0

    def weights(self) -> Sequence[Path]:
        """The files that decide the vectors; a name on the hub is fetched for it.

        Raises:
            EmbedderUnavailableError: there is no such folder, or the model cannot be fetched.
        """
        folder, graph = self._files()
        return weight_files(folder) if graph is None else graph_files(graph, folder)

    def load(self) -> None:
        """Load encoder and tokenizer; nothing in the folder is run, and nothing is fetched for it.

        Raises:
            EmbedderUnavailableError: a library or a file is missing, damaged or not safe to read; or
                the device is not there.
            InvalidInputError: the model has no such layers.
        """
        if self._encoder is not None:
            return
        config = self.config
        folder, graph = self._files()
        torch = import_library("torch")
        transformers = import_library("transformers")
        device = choose_device(torch, config.device) if graph is None else "cpu"
        try:
            with loading(config, torch):
                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
                self._torch, self._tokenizer = torch, tokenizer
                if graph is None:
                    model = transformers.AutoModel.from_pretrained(
                        str(folder),
                        local_files_only=True,
                        trust_remote_code=False,
                        dtype=getattr(torch, config.dtype),
                    )
                    model.eval().to(device)
                    self._encoder = _TorchEncoder(
                        torch, model, device, takes_kinds="token_type_ids" in tokenizer.model_input_names
                    )
                    positions = _positions(model)
                    self._check_layers(model.config.num_hidden_layers)
                else:
                    self._encoder = OnnxGraph(torch, graph, config)
                    positions = self._encoder.positions(folder)
                    self._check_layers(None)
                self._tokeniser = self._make_tokeniser(tokenizer, positions)
                self._dimension = int(self._hidden([self._tokeniser("a").first])[0].shape[-1])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the model."""
        self._encoder = self._torch = self._tokenizer = self._tokeniser = None

    @property
    def dimension(self) -> int:
        """Width of the encoder's hidden states."""
        return self._dimension

    def prepare(self, item: str) -> Tokens | Windows:
        """The tokens of a text; of a longer one than the model takes, in windows."""
        tokeniser = self._tokeniser
        if tokeniser is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        cut = tokeniser(item)
        if not cut.rest.shape[1]:
            return cut.first
        rest = stretches(cut.rest, tokeniser.room or len(item))
        return Windows([cut.first, *map(tokeniser.framed, rest)])

    def encode(
        self,
        batch: Sequence[Tokens],
        role: Literal["document", "query"],  # noqa: ARG002  (queries are texts as well)
    ) -> NDArray[np.float32]:
        """The pooled vectors, shape (len(batch), dimension)."""
        hidden, mask = self._hidden(batch)
        torch = self._torch
        if self.config.pooling == "max":
            pooled = hidden.masked_fill(mask == 0, -torch.inf).max(dim=1).values
        elif self.config.pooling == "mean":
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        else:  # the first token of each text, which is not in the first column where padding goes to the left
            first = mask.squeeze(-1).argmax(dim=1)
            pooled = hidden[torch.arange(len(batch), device=hidden.device), first]
        vectors: NDArray[np.float32] = pooled.cpu().numpy()
        return vectors

    def cost(self, prepared: Tokens) -> int:
        """Number of tokens."""
        return int(prepared.shape[1])

    def _files(self) -> tuple[Path, Path | None]:
        """The model's folder, and the ONNX graph if it is one."""
        model = self.config.model
        if isinstance(model, Path) and model.is_file():
            return model.parent, model
        folder = model_folder(model, self.config.revision)
        return folder, find_graph(folder)

    def _hidden(self, batch: Sequence[Tokens]) -> tuple[Any, Any]:
        """Hidden states in float32, (texts, tokens, dimension), and the mask, (texts, tokens, 1)."""
        if self._encoder is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        tokenizer = self._tokenizer
        numbers, kinds, mask = padded(
            batch,
            number=tokenizer.pad_token_id or 0,
            kind=tokenizer.pad_token_type_id,
            side=tokenizer.padding_side,
        )
        hidden = self._encoder(numbers, kinds, mask, self.config.layers)
        return hidden.float(), self._torch.from_numpy(mask).unsqueeze(-1).to(hidden.device)

    def _make_tokeniser(self, tokenizer: Any, positions: int | None) -> Tokeniser:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise unusable(self.config.model, "its tokenizer cannot be made from its files; it needs a tokenizer.json")
        known = [length for length in (tokenizer.model_max_length, positions) if length and 0 < length < _UNLIMITED]
        limit = min(known, default=None)
        if self.config.max_length is not None:
            if limit is not None and self.config.max_length > limit:
                raise EmbedderUnavailableError(
                    f"the model {self.config.model} cannot take max_length={self.config.max_length}: it takes {limit} "
                    "tokens, fewer than max_length; lower that option"
                )
            limit = self.config.max_length
        return Tokeniser(backend, limit, side=tokenizer.truncation_side)

    def _check_layers(self, count: int | None) -> None:
        layers = self.config.layers
        if count is None:
            if layers != (-1,):
                raise InvalidInputError(f"option layers={layers}: an ONNX model gives its last layer; leave it out")
        elif not all(-count - 1 <= layer <= count for layer in layers):
            raise InvalidInputError(
                f"option layers={layers}: the model {self.config.model} has the layers 0 (embeddings) to {count}, "
                f"or -1 to {-count - 1} from the last; choose among these"
            )


class _TorchEncoder:
    """A transformers model."""

    def __init__(self, torch: Any, model: Any, device: str, *, takes_kinds: bool) -> None:
        self._torch = torch
        self._model = model
        self._device = device
        self._takes_kinds = takes_kinds and "token_type_ids" in inspect.signature(model.forward).parameters

    def __call__(self, numbers: Tokens, kinds: Tokens, mask: Tokens, layers: Sequence[int]) -> Any:
        torch = self._torch
        inputs = {"input_ids": numbers, "attention_mask": mask}
        if self._takes_kinds:
            inputs["token_type_ids"] = kinds
        with torch.inference_mode():
            there = {name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()}
            if tuple(layers) == (-1,):
                return self._model(**there).last_hidden_state
            states = self._model(**there, output_hidden_states=True).hidden_states
            return torch.stack([states[layer] for layer in layers]).mean(dim=0)


def _positions(model: Any) -> int | None:
    """Tokens that the model has positions for; in RoBERTa and its kin those up to the padding's are not used."""
    count = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    unused = getattr(table, "padding_idx", None)
    return count if count is None or unused is None else count - unused - 1
