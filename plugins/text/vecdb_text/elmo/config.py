"""The options of `elmo`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from vecdb import InvalidInputError, option, truncation_option

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_LAYERS = re.compile(r"average|concat|mix|\d")


@dataclass(frozen=True)
class ElmoConfig:
    """Where the model is, and how the vectors of its layers and words become one."""

    model: Path = option(
        affects="location", help="the folder with *options.json and *weights.hdf5, or the options file itself"
    )
    weights: Path | None = option(
        None, affects="location", help="the hdf5 file, where it is not the only *weights.hdf5 beside the options file"
    )
    layers: str = option(
        "average",
        help="average, concat, mix (by layer_weights), or one layer: 0 (words without context), 1, 2 …",
    )
    layer_weights: tuple[float, ...] = option(
        (), help="for layers='mix' one number a layer, as a task learned them; their softmax weighs the layers"
    )
    gamma: float = option(1.0, help="for layers='mix': the scale of the mix")
    pooling: str = option("mean", choices=("mean", "max"), help="how the words of a text become one vector")
    tokenizer: str = option(
        "words",
        choices=("words", "whitespace"),
        help="words: also punctuation and clitics become words, as in the training text; whitespace: already done",
    )
    max_tokens: int = option(512, help="words read in one go; a longer text is cut into windows of so many")
    on_truncate: str = truncation_option()
    device: str = option(
        "cpu",
        affects="runtime",
        help="cpu (numpy), or through torch cuda, cuda:N, mps; auto: cuda where torch sees a GPU",
    )

    def __post_init__(self) -> None:
        if not _LAYERS.fullmatch(self.layers):
            raise InvalidInputError(f"option layers={self.layers!r} must be average, concat, mix, or a layer's number")
        if (self.layers == "mix") != bool(self.layer_weights):
            raise InvalidInputError("options layers='mix' and layer_weights go together; give both or neither")
        if not all(map(math.isfinite, (*self.layer_weights, self.gamma))) or self.gamma == 0:
            raise InvalidInputError("options layer_weights and gamma must be finite numbers, and gamma not 0")
        if not 1 <= self.max_tokens <= 10_000:
            raise InvalidInputError(f"option max_tokens={self.max_tokens!r} must be from 1 to 10000")
        if not _DEVICE.fullmatch(self.device):
            raise InvalidInputError(f"option device={self.device!r} must be auto, cpu, cuda, cuda:N or mps")
