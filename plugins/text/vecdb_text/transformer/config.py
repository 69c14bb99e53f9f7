"""The options."""

from __future__ import annotations

from dataclasses import dataclass

from vecdb import option


@dataclass(frozen=True)
class SentenceTransformersConfig:
    """Where the model is."""

    model: str = option(affects="location", help="a folder, or a name on the model hub")


@dataclass(frozen=True)
class BertConfig:
    """Where the model is."""

    model: str = option(affects="location", help="a folder, or a name on the model hub")
