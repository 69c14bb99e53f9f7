"""The options of `onnx`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option, truncation_option

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""What sentence-transformers calls them; see `vecdb_text.onnx_encoder.pooling`."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_FEWEST_TOKENS = 4


@dataclass(frozen=True)
class OnnxConfig:
    """Where the model is, and what to do otherwise than its own files say.

    Raises:
        InvalidInputError: an option that is out of range or malformed.
    """

    model: Path = option(
        affects="location",
        help="a folder with an ONNX graph and tokenizer.json, as `vecdb embedders export` makes; or the graph itself",
    )
    file: str | None = option(
        None,
        affects="location",
        help="the graph within the folder, such as model_int8.onnx; default: model.onnx, or the only one there is",
    )
    pooling: str = option(
        "auto",
        choices=("auto", *POOLINGS),
        help="how token vectors become one; auto: as the model's files say",
    )
    normalise: bool | None = option(None, help="scale vectors to length 1; none: as the model's files say")
    dimension: int | None = option(
        None, help="keep only the first numbers of each vector, scaled to length 1; for Matryoshka models"
    )
    max_length: int | None = option(
        None, help="tokens of a text that the model sees; default: what the model's own files say"
    )
    query_prompt: str | None = option(
        None, help="text put before each query; default: the one in the model's files; '' for none"
    )
    document_prompt: str | None = option(None, help="the same for documents")
    on_truncate: str = truncation_option()
    device: str = option("auto", affects="runtime", help="auto, cpu, cuda, cuda:N or mps; auto takes CUDA if there is")
    threads: int = option(0, affects="runtime", help="CPU threads; 0: as many as onnxruntime takes, one a core")

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.model.expanduser())
        file = Path(self.file or "model.onnx")
        if file.is_absolute() or ".." in file.parts:
            raise InvalidInputError(f"option file={self.file!r} must name a file within the folder of the model")
        if self.dimension is not None and self.dimension < 1:
            raise InvalidInputError(f"option dimension={self.dimension} must be 1 or more")
        if self.max_length is not None and self.max_length < _FEWEST_TOKENS:
            raise InvalidInputError(f"option max_length={self.max_length} must be {_FEWEST_TOKENS} or more")
        if not _DEVICE.fullmatch(self.device):
            raise InvalidInputError(f"option device={self.device!r} must be auto, cpu, cuda, cuda:N or mps")
        if self.threads < 0:
            raise InvalidInputError(f"option threads={self.threads} must be 0 (one a core) or more")
