"""The options of the embedders that run transformers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option, truncation_option

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_FEWEST_TOKENS = 4


@dataclass(frozen=True)
class TransformerConfig:
    """What both embedders share: where the model is, how much of a text it reads, and on what it runs.

    `model` is a `Path` for a folder (or a file), and a `str` only for a name on the model hub.

    Raises:
        InvalidInputError: an option that is out of range or malformed.
    """

    model: str | Path = option(
        affects="location",
        help="a folder, or a name on the model hub: fetched once, and read from the hub's local cache from then on",
    )
    revision: str | None = option(
        None, affects="location", help="branch, tag or commit of a name on the hub; a commit pins the weights"
    )
    max_length: int | None = option(
        None, help="tokens of a text that the model sees; default: what the model's own files say"
    )
    on_truncate: str = truncation_option()
    device: str = option("auto", affects="runtime", help="auto, cpu, cuda, cuda:N or mps; auto takes a GPU if there is")
    dtype: str = option(
        "float32",
        affects="runtime",
        choices=("float32", "bfloat16", "float16"),
        help="numbers to compute with; bfloat16 is faster where the hardware has it",
    )
    threads: int = option(
        0, affects="runtime", help="CPU threads of torch, for the whole process; 0 leaves them as they are"
    )

    def __post_init__(self) -> None:
        if not str(self.model):
            raise InvalidInputError("option model is empty; give a folder or a name on the model hub")
        is_hub_name = isinstance(self.model, str) and _HUB_NAME.fullmatch(self.model) and not Path(self.model).exists()
        if not is_hub_name:
            object.__setattr__(self, "model", Path(self.model).expanduser())
        if self.max_length is not None and self.max_length < _FEWEST_TOKENS:
            raise InvalidInputError(f"option max_length={self.max_length} must be {_FEWEST_TOKENS} or more")
        if not _DEVICE.fullmatch(self.device):
            raise InvalidInputError(f"option device={self.device!r} must be auto, cpu, cuda, cuda:N or mps")
        if self.threads < 0:
            raise InvalidInputError(f"option threads={self.threads} must be 0 (as they are) or more")


@dataclass(frozen=True)
class SentenceTransformersConfig(TransformerConfig):
    """Options of `sentence-transformers`."""

    query_prompt: str | None = option(
        None, help="text put before each query; default: the one in the model's files; '' for none"
    )
    document_prompt: str | None = option(None, help="the same for documents")
    dimension: int | None = option(
        None, help="keep only the first numbers of each vector, scaled to length 1; for Matryoshka models"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dimension is not None and self.dimension < 1:
            raise InvalidInputError(f"option dimension={self.dimension} must be 1 or more")


@dataclass(frozen=True)
class BertConfig(TransformerConfig):
    """Options of `bert`."""

    pooling: str = option(
        "mean",
        choices=("cls", "mean", "max"),
        help="how token vectors become one: that of the first token, or the mean or the maximum of all",
    )
    layers: tuple[int, ...] = option(
        (-1,),
        help="the layers whose mean is taken: 0 is the embeddings, 1 the first layer, -1 the last (ONNX: only -1)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise InvalidInputError("option layers is empty; -1 is the last layer")
        if len(set(self.layers)) < len(self.layers):
            raise InvalidInputError(f"option layers={self.layers} names a layer twice; name each once")
