"""The values that go in and come out: contents, records, hits and reports. All immutable."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb.errors import InvalidInputError, UnsupportedContentError

Metric: TypeAlias = Literal["cosine", "l2", "ip"]
Modality: TypeAlias = Literal["text", "image", "audio", "ids"]
Role: TypeAlias = Literal["document", "query"]
FilteredBy: TypeAlias = Literal["columns", "sql"]
IndexKind: TypeAlias = Literal["auto", "exact", "hnsw"]
Metadata: TypeAlias = dict[str, Any]
Vector: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]

METRICS: tuple[Metric, ...] = ("cosine", "l2", "ip")
INDEX_KINDS: tuple[IndexKind, ...] = ("auto", "exact", "hnsw")

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called as `progress(done, total)`; `total` is None where the length is not known."""


class Image:
    """An image as bytes of an image file (PNG, JPEG, …).

    Args:
        data: the bytes of an image file; or a uint8 array of shape (height, width) or
            (height, width, 3 or 4); or a PIL image. Arrays and PIL images are kept as PNG, without
            loss; an array needs Pillow (`pip install pillow`).

    Raises:
        UnsupportedContentError: the data is none of these.
    """

    __slots__ = ("data",)
    data: bytes

    def __init__(self, data: Any) -> None:
        object.__setattr__(self, "data", _image_bytes(data))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Image cannot be changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.data == self.data

    def __hash__(self) -> int:
        return hash((Image, self.data))

    def __repr__(self) -> str:
        return f"Image({len(self.data)} bytes)"


class Audio:
    """A sound as bytes of a sound file (WAV, FLAC, Ogg, MP3), or as samples.

    Args:
        data: the bytes of a sound file; or float samples in -1..1 of shape (frames,) or
            (frames, channels), kept as 32-bit float WAV, without loss.
        sample_rate: frames per second; needed with samples, refused with bytes (the file says it).

    Raises:
        UnsupportedContentError: the data is neither, or the sample rate is missing or misplaced.
    """

    __slots__ = ("data",)
    data: bytes

    def __init__(self, data: Any, *, sample_rate: int | None = None) -> None:
        object.__setattr__(self, "data", _audio_bytes(data, sample_rate))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Audio cannot be changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audio) and other.data == self.data

    def __hash__(self) -> int:
        return hash((Audio, self.data))

    def __repr__(self) -> str:
        return f"Audio({len(self.data)} bytes)"


Scalar: TypeAlias = str | Path | Image | Audio
Content: TypeAlias = Scalar | Mapping[str, Scalar] | None
"""Text, a file, an image, a sound, a mapping of named fields of these; None where only a vector is stored."""


def _image_bytes(data: Any) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8:
            raise UnsupportedContentError(
                f"an image array must be uint8, not {data.dtype}; scale it to 0..255 first"
            )
        try:
            from PIL import Image as PillowImage  # noqa: PLC0415  (optional, and slow to import)
        except ImportError as error:
            raise UnsupportedContentError(
                "an image array needs Pillow: pip install pillow (or pass the bytes of an image file)"
            ) from error
        try:
            data = PillowImage.fromarray(data)
        except (TypeError, ValueError) as error:
            raise UnsupportedContentError(
                f"an image array must have shape (height, width[, 3 or 4]), not {data.shape}"
            ) from error
    if hasattr(data, "save") and hasattr(data, "mode"):  # a PIL image, recognised without importing PIL
        buffer = io.BytesIO()
        data.save(buffer, "PNG")
        return buffer.getvalue()
    raise UnsupportedContentError(
        f"Image takes the bytes of an image file, a uint8 array or a PIL image, not {type(data).__name__}; "
        "a file is given as pathlib.Path"
    )


def _audio_bytes(data: Any, sample_rate: int | None) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        if sample_rate is not None:
            raise UnsupportedContentError("sample_rate goes with samples; the bytes of a sound file say their own")
        return bytes(data)
    if not isinstance(data, np.ndarray | list | tuple):
        raise UnsupportedContentError(
            f"Audio takes the bytes of a sound file, or samples with sample_rate=, not {type(data).__name__}; "
            "a file is given as pathlib.Path"
        )
    try:
        samples = np.asarray(data)
    except (ValueError, RecursionError) as error:  # rows of different lengths
        raise UnsupportedContentError("samples must be floats of one shape; give an array") from error
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise UnsupportedContentError(
            f"samples must be floats of shape (frames,) or (frames, channels), not {samples.dtype} of shape "
            f"{samples.shape}; divide 16-bit integers by 32768"
        )
    if not isinstance(sample_rate, int | float | np.integer | np.floating) or not 1 <= sample_rate < 2**31:
        raise UnsupportedContentError("samples need sample_rate=, a positive number of frames per second")
    frames = np.ascontiguousarray(samples, dtype="<f4")
    return _float_wav(frames, int(sample_rate))


def _float_wav(frames: NDArray[Any], sample_rate: int) -> bytes:
    """A WAV file of 32-bit floats (format 3), which the standard library's `wave` cannot write."""
    channels = frames.shape[1] if frames.ndim == 2 else 1
    body = frames.tobytes()
    if len(body) >= 2**32 - 64:
        raise InvalidInputError("a sound of 4 GiB or more does not fit a WAV file; pass a path to a file instead")
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(body),
        b"WAVE",
        b"fmt ",
        16,
        3,
        channels,
        sample_rate,
        sample_rate * channels * 4,
        channels * 4,
        32,
        b"data",
        len(body),
    )
    return head + body


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored under one id.

    Attributes:
        id: any non-empty Unicode text, unique in its collection.
        content: text, a `Path`, an `Image`, an `Audio`, a dict of named fields of these, or None.
        metadata: a JSON object.
        vectors: None, or one vector (for the space `default`), or a dict of space name to vector.
            `get` fills it in; when a record is added it may bring vectors only for spaces that have
            no embedder. Two records are equal whatever their vectors.
        truncated: the spaces in which the content was longer than the model takes, so that only its
            beginning was embedded. `get` fills it in.
    """

    id: str
    content: Content = None
    metadata: Metadata = field(default_factory=dict)
    vectors: Any = field(default=None, compare=False, repr=False)
    truncated: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id, content, metadata: as in the record.
        distance: smaller is nearer; in the metric's units (cosine: 1 - cos; l2: squared Euclidean;
            ip: 1 - dot).
        score: larger is better: cosine: 1 - distance, the cosine itself; ip: 1 - distance, the dot
            product; l2: 1 / (1 + distance).
    """

    id: str
    distance: float
    score: float
    content: Content
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """What a collection remembers of one of its spaces.

    Attributes:
        name: `default`, or the name given at creation.
        source: the content field that is embedded; None: the whole content.
        embedder: name of the embedder, or None where the caller brings the vectors.
        options: the embedder's options, as stored (no secrets).
        fingerprint: what makes two vectors of this space comparable.
        dimension, metric, index: as at creation.
        index_options: `M` and `ef_construction` of HNSW, and `ef` of a search, if it was given.
        vectors: number of distinct vectors.
    """

    name: str
    source: str | None
    embedder: str | None
    options: Mapping[str, Any]
    fingerprint: str | None
    dimension: int
    metric: Metric
    index: IndexKind
    index_options: Mapping[str, int]
    vectors: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that `ingest(on_error="quarantine")` set aside.

    Attributes:
        id: the record's id, or "" where it had no usable one.
        content: what was to be embedded, or None where it could not be kept.
        metadata: as given, or {} where it could not be kept.
        error: what went wrong, in words.
        retryable: whether `retry_failures` can try again.
    """

    id: str
    content: Content
    metadata: Metadata
    error: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What `ingest` did.

    Attributes:
        added, updated, unchanged, failed: records that are new, were changed, were left alone, could
            not be embedded.
        embedded: contents that went through a model.
        cached: contents that needed no model, because equal content had been embedded before.
        truncated: contents that are longer than the model takes, so that only their beginning counts.
        seconds: how long it took.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    embedded: int = 0
    cached: int = 0
    truncated: int = 0
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """Records read."""
        return self.added + self.updated + self.unchanged + self.failed


@dataclass(frozen=True, slots=True)
class Problem:
    """One inconsistency that `check` found. `fixed`: it was mended; otherwise `advice` says what to do."""

    where: str
    what: str
    fixed: bool = False
    advice: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of `Database.check`. True when nothing is wrong or everything was mended."""

    problems: tuple[Problem, ...]
    collections: int
    records: int
    vectors: int

    def __bool__(self) -> bool:
        return all(problem.fixed for problem in self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What `Database.vacuum` did.

    Attributes:
        before, after: bytes of all files of the database.
        copies: what `upgrade` kept from before: they still hold what was deleted since, and are yours to remove.
    """

    before: int
    after: int
    copies: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How a search is done, and why (see `Collection.explain`).

    Attributes:
        strategy: "exact" (every allowed vector is compared) or "graph" (HNSW, then the exact tail).
        reason: why this one, in words.
        vectors: distinct vectors in the space.
        indexed: how many of them the graph holds; the rest is the exact tail.
        allowed: how many distinct vectors the filter admits; None without a filter.
        k: hits asked for.
        ef: size of the graph search's candidate list; None for exact.
        hits: hits found.
        seconds: time of each step: "embed", "filter", "search", "fetch".
        filtered_by: what found the records that the filter admits: "columns" in memory, or "sql"; None without one.
        estimates: the seconds that the step "search" was expected to take by each strategy, where there was a choice.
    """

    strategy: Literal["exact", "graph"]
    reason: str
    vectors: int
    indexed: int
    allowed: int | None
    k: int
    ef: int | None
    hits: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    filtered_by: FilteredBy | None = None
    estimates: Mapping[str, float] = field(default_factory=dict)
