"""What a content is, whether an embedder takes it, and reading text from files."""

from __future__ import annotations

import functools
import mimetypes
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from vecdb.embedder import EmbedderInfo
from vecdb.errors import DecodeError, InvalidInputError, LimitError, UnsupportedContentError
from vecdb.types import Audio, Image, Modality

MAX_TEXT_BYTES = 10_000_000

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMES: dict[Modality, str] = {"text": "text", "image": "images", "audio": "sounds", "ids": "ids"}

# What Python's table of media types lacks in some version, calls "application", or takes for a video.
_SUFFIXES: dict[Modality, str] = {
    "text": (
        ".adoc .bib .c .cfg .conf .cpp .go .h .ini .ipynb .java .jl .js .json .jsonl .log .lua .markdown .md .mjs .org"
        " .php .po .pl .rb .rs .rst .rtx .sh .sql .srt .tex .toml .ts .vtt .xml .yaml .yml"
    ),
    "image": ".avif .bmp .gif .heic .jpeg .jpg .pbm .pgm .png .ppm .svg .tif .tiff .webp",
    "audio": ".aac .aif .aiff .au .caf .flac .m4a .mp3 .oga .ogg .opus .w64 .wav .weba .wma",
}
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def modality_of(item: Any) -> Modality | None:
    """The kind of a content: text for `str`, image, audio; a `Path` by its suffix; None where unknown."""
    if isinstance(item, str):
        return "text"
    if isinstance(item, Image):
        return "image"
    if isinstance(item, Audio):
        return "audio"
    return _modality_of_suffix(item.suffix.lower()) if isinstance(item, Path) else None


@functools.lru_cache(1024)
def _modality_of_suffix(suffix: str) -> Modality | None:
    if suffix in _KIND_OF_SUFFIX:
        return _KIND_OF_SUFFIX[suffix]
    # An instance of its own knows Python's table only: what a machine's mime.types adds must not
    # decide what a database holds.
    kind = (_media_types().guess_type("file" + suffix)[0] or "").partition("/")[0]
    known: dict[str, Modality] = {"text": "text", "image": "image", "audio": "audio"}
    return known.get(kind)


@functools.cache
def _media_types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()


def check_text(text: str, *, what: str = "the text") -> None:
    """Refuse text that no embedder can do anything with.

    Raises:
        InvalidInputError: it is empty or only whitespace, or holds NUL or a lone surrogate; the
            message tells the position.
    """
    if not text or text.isspace():
        raise InvalidInputError(f"{what} is {'only whitespace' if text else 'empty'}; leave it out or give it words")
    nul = text.find("\0")
    if nul >= 0:
        raise InvalidInputError(f"{what} holds a NUL character at position {nul}; remove it")
    if not text.isascii() and (surrogate := _LONE_SURROGATE.search(text)):
        raise InvalidInputError(
            f"{what} holds half a character (lone surrogate) at position {surrogate.start()}; "
            "decode its bytes with errors='replace'"
        )


def check_content(item: Any, info: EmbedderInfo, *, what: str = "content") -> Modality:
    """As what the embedder takes this item, or an error; see `EmbedderHost.check_content`."""
    takes = info.modalities
    if isinstance(item, str):
        if "text" not in takes and "ids" not in takes:
            raise _unsupported(f"{what} is text", info, "; a file is given as pathlib.Path")
        check_text(item, what=what)
        return "text" if "text" in takes else "ids"
    kind = modality_of(item)
    if kind is None and isinstance(item, Path):
        media: Collection[Modality] = takes & {"image", "audio"}
        if len(media) == 1:
            return next(iter(media))
        raise _unsupported(
            f"{what} is a file of unknown kind, {item.name!r}", info, "; give it a suffix, or pass what it holds"
        )
    if kind is None:
        raise _unsupported(
            f"{what} is a {type(item).__name__}", info, "; pass a str, a pathlib.Path, vecdb.Image or vecdb.Audio"
        )
    if kind not in takes:
        name = f" ({item.name})" if isinstance(item, Path) else ""
        raise _unsupported(f"{what} is of the kind {kind}{name}", info, "; use an embedder for it")
    return kind


def _unsupported(found: str, info: EmbedderInfo, advice: str) -> UnsupportedContentError:
    takes = " and ".join(_NAMES[kind] for kind in sorted(info.modalities))
    return UnsupportedContentError(f"{found}, but embedder {info.name!r} takes {takes}{advice}")


def read_content(item: Any, info: EmbedderInfo, *, what: str = "the item") -> Any:
    """The item as `Embedder.prepare` gets it: checked, and a text file read.

    Raises:
        UnsupportedContentError, InvalidInputError: as `check_content`.
        DecodeError: the file does not exist, is not a regular file, or its text is not UTF-8.
        LimitError: a text file of more than 10 MB.
    """
    kind = check_content(item, info, what=what)
    if not isinstance(item, Path):
        return item
    if not item.is_file():  # also a pipe or a device, which would be read for ever
        state = "is not a regular file" if item.exists() else "does not exist"
        raise DecodeError(f"the file {item} {state}; check the path")
    if kind != "text":
        return item
    text = _read_text(item)
    check_text(text, what=f"the file {item}")
    return text


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise DecodeError(f"the file {path} cannot be read: {error.strerror}; check its permissions") from error
    if len(data) > MAX_TEXT_BYTES:
        raise LimitError(
            f"the file {path} holds more than {MAX_TEXT_BYTES // 1_000_000} MB of text; split it",
            limit=MAX_TEXT_BYTES,
            got=path.stat().st_size,
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"the file {path} is not UTF-8 (byte {error.start}); convert it, for example with iconv"
        ) from error
