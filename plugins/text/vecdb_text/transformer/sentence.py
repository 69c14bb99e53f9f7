"""`sentence-transformers`: any model that the library of this name loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecdb import Embedder, EmbedderUnavailableError, ItemError
from vecdb_text.transformer.config import SentenceTransformersConfig
from vecdb_text.transformer.images import read_image
from vecdb_text.transformer.model_files import model_folder, weight_files
from vecdb_text.transformer.runtime import choose_device, import_library, loading
from vecdb_text.transformer.texts import ROLES, RawText, RawTexts, Role, TokenisedTexts, model_inputs
from vecdb_text.transformer.windows import TokenisedText

_STORED_PROMPTS: dict[Role, tuple[str, ...]] = {"document": ("document", "passage", "corpus"), "query": ("query",)}


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """An image as the model's tensors, each for a batch of one."""

    tensors: dict[str, Any]
    cost = 1  # all are of one size


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """A decoded image, for a model that prepares images together with texts."""

    image: Any
    cost = 1


class SentenceTransformersEmbedder(Embedder):
    """Sentence encoders, and CLIP-like models that take texts and images in one space.

    Vectors are those of `SentenceTransformer.encode_document` and `encode_query` (Reimers and Gurevych
    2019). Texts are tokenised in `prepare` where that is proved, in `load`, to give what the library's
    own tokenising gives; other models get them as they are.
    """

    config: SentenceTransformersConfig

    def __init__(self, config: SentenceTransformersConfig) -> None:
        super().__init__(config)
        self._torch: Any = None
        self._model: Any = None
        self._texts: TokenisedTexts | RawTexts | None = None
        self._dimension = 0

    def weights(self) -> Sequence[Path]:
        """The files of the model's folder that decide the vectors; a name on the hub is fetched for it.

        Raises:
            EmbedderUnavailableError: there is no such folder, or the model cannot be fetched.
        """
        return weight_files(model_folder(self.config.model, self.config.revision))

    def load(self) -> None:
        """Load the model from its folder; no code in it is run, and nothing else is fetched.

        Raises:
            EmbedderUnavailableError: a library or a file is missing, damaged or not safe to read; or
                the device is not there.
            InvalidInputError: a prompt leaves no room for a text.
        """
        if self._model is not None:
            return
        config = self.config
        folder = model_folder(config.model, config.revision)
        torch = import_library("torch")
        library = import_library("sentence_transformers")
        device = choose_device(torch, config.device)
        try:
            with loading(config, torch):
                model = library.SentenceTransformer(
                    str(folder),
                    device=device,
                    trust_remote_code=False,
                    local_files_only=True,
                    model_kwargs={"dtype": getattr(torch, config.dtype)},
                )
                model.eval()
                self._set_length(model)
                self._torch, self._model = torch, model
                if "text" in model.modalities:
                    prompts = {role: self._prompt(model, role) for role in ROLES}
                    self._texts = TokenisedTexts.of(model, prompts) or RawTexts(model, prompts)
                self._measure(model)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the model."""
        self._model = self._torch = self._texts = None

    @property
    def dimension(self) -> int:
        """Length of the vectors: the model's, or the option `dimension`."""
        return self.config.dimension or self._dimension

    def prepare(self, item: Any) -> Any:
        """A text as tokens, or an image as the model's tensors.

        Raises:
            ItemError: an image for a model that takes texts only, or the other way round.
            DecodeError, LimitError: the image cannot be decoded.
        """
        model = self._opened()
        wanted = "text" if isinstance(item, str) else "image"
        if wanted not in model.modalities:
            takes = " and ".join(map(str, model.modalities))
            raise ItemError(
                f"the model {self.config.model} takes {takes} only, not {wanted}; use a model that takes {wanted}"
            )
        if isinstance(item, str) and self._texts is not None:
            return self._texts.prepare(item)
        image = read_image(item)
        if isinstance(self._texts, RawTexts) or "message" in model.modalities:
            return RawImage(image)
        return PreparedImage(dict(model.preprocess([{"image": image}])))

    def encode(self, batch: Sequence[Any], role: Role) -> NDArray[np.float32]:
        """The vectors, shape (len(batch), dimension); texts and images may stand in one batch."""
        groups: dict[Any, list[int]] = {}
        for row, item in enumerate(batch):
            groups.setdefault(_group(item), []).append(row)
        vectors = np.empty((len(batch), self._dimension), np.float32)
        for rows in groups.values():
            vectors[rows] = self._encode_alike([batch[row] for row in rows], role)
        if self.config.dimension is None:
            return vectors
        kept = vectors[:, : self.config.dimension]
        kept /= np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return kept

    def cost(self, prepared: Any) -> int:
        """Tokens of a text; 1 for an image."""
        return int(prepared.cost)

    def _encode_alike(self, items: list[Any], role: Role) -> NDArray[np.float32]:
        """The vectors of items of one kind and shape, with all their numbers."""
        model, torch = self._opened(), self._torch
        if isinstance(items[0], RawText | RawImage):
            found = self._encode_raw(model, items, role)
        else:
            if isinstance(items[0], TokenisedText) and isinstance(self._texts, TokenisedTexts):
                features = self._texts.features(items, role)
            else:
                features = {
                    name: torch.cat([item.tensors[name] for item in items]) if torch.is_tensor(value) else value
                    for name, value in items[0].tensors.items()
                }
            features = {key: part.to(model.device) if torch.is_tensor(part) else part for key, part in features.items()}
            with torch.inference_mode():
                found = model(features, task=role)["sentence_embedding"]
        vectors: NDArray[np.float32] = found.float().cpu().numpy()
        return vectors

    def _encode_raw(self, model: Any, items: list[Any], role: Role) -> Any:
        if isinstance(items[0], RawImage):
            inputs: list[Any] = [{"image": item.image} for item in items]
        else:
            inputs = model_inputs(model, [item.text for item in items])
        encode = model.encode_query if role == "query" else model.encode_document
        return encode(
            inputs,
            prompt=self._given_prompt(role),
            batch_size=len(inputs),
            show_progress_bar=False,
            convert_to_tensor=True,
        )

    # --- loading ---

    def _set_length(self, model: Any) -> None:
        wanted, own = self.config.max_length, model.max_seq_length
        if wanted is None:
            return
        model.max_seq_length = wanted
        if own is not None and wanted <= own:
            return
        try:  # how long a text a model can take stands in no one place: try
            model.encode(model_inputs(model, ["a " * wanted]), show_progress_bar=False)
        except (IndexError, RuntimeError) as error:
            raise EmbedderUnavailableError(
                f"the model {self.config.model} cannot take max_length={wanted}; its own is {own}: lower that option"
            ) from error

    def _given_prompt(self, role: Role) -> str | None:
        return self.config.query_prompt if role == "query" else self.config.document_prompt

    def _prompt(self, model: Any, role: Role) -> str:
        given = self._given_prompt(role)
        if given is not None:
            return given
        name = next((name for name in _STORED_PROMPTS[role] if name in model.prompts), model.default_prompt_name)
        return model.prompts.get(name) or ""

    def _measure(self, model: Any) -> None:
        """Find the dimension by embedding something, which also shows early that the model works."""
        if self._texts is not None:
            self._dimension = int(self._encode_alike([self._texts.prepare("text")], "document").shape[1])
        else:
            self._dimension = int(model.get_embedding_dimension() or 0)
        if self.config.dimension is not None and self.config.dimension > self._dimension:
            raise EmbedderUnavailableError(
                f"the model {self.config.model} has vectors of {self._dimension} numbers, fewer than "
                f"dimension={self.config.dimension}; lower that option"
            )

    def _opened(self) -> Any:
        if self._model is None:
            raise EmbedderUnavailableError("the embedder is not loaded; call load() first")
        return self._model


def _group(item: Any) -> Any:
    """What items of one call of the model share; images of some models differ in shape."""
    if not isinstance(item, PreparedImage):
        return type(item)
    return tuple(
        (name, tuple(value.shape[1:]) if hasattr(value, "shape") else value) for name, value in item.tensors.items()
    )
