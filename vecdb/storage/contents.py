"""How ids, contents and metadata become columns, and back. All checks of them are here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vecdb.errors import CorruptDatabaseError, InvalidInputError, LimitError, UnsupportedContentError, shown
from vecdb.storage.stored_values import as_integer, as_json_object, as_text, json_object
from vecdb.types import Audio, Content, Image, Metadata, Scalar

KIND_NOTHING, KIND_TEXT, KIND_JSON = 0, 1, 2

MAX_ID_BYTES = 4 * 2**20
MAX_TEXT_BYTES = 64 * 2**20
MAX_METADATA_BYTES = 16 * 2**20
MAX_DATA_BYTES = 512 * 2**20
MAX_DEPTH = 100
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1
_HASH_BYTES = 16
_HASH = re.compile(f"[0-9a-f]{{{2 * _HASH_BYTES}}}")
_MAX_DESCRIPTION = 10**9  # characters: each field may have MAX_TEXT_BYTES, and SQLite keeps no longer text
_BLOCK = 1 << 20
_HARMLESS = {str, bool, type(None)}  # of JSON, whatever their value

# Made once: `json.dumps` makes one for each call that has options.
_describe_as_json = json.JSONEncoder(ensure_ascii=False).encode
_metadata_as_json = json.JSONEncoder(  # circles do not pass the limit of depth
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


class EncodedContent(NamedTuple):
    """Content as columns.

    Attributes:
        kind, text: the columns `kind` and `content`.
        hash: equal for equal content.
        blobs: (hash, bytes) to be stored beside it.
        sources: what can be embedded, with a hash each: by field name, or under None the whole content.
    """

    kind: int
    text: str | None
    hash: bytes
    blobs: tuple[tuple[bytes, bytes], ...]
    sources: Mapping[str | None, tuple[Scalar, bytes]]


def _digest(tag: bytes, data: bytes) -> bytes:
    if len(data) < _BLOCK:  # in one call, which takes half as long
        return hashlib.blake2b(tag + data, digest_size=_HASH_BYTES).digest()
    digest = hashlib.blake2b(tag, digest_size=_HASH_BYTES)
    digest.update(data)
    return digest.digest()


def content_hash(kind: int, text: str | None) -> bytes:
    """The hash that `encode_content` gave to content with these columns."""
    if kind == KIND_NOTHING or text is None:
        return _digest(b"nothing", b"")
    return _digest(b"text" if kind == KIND_TEXT else b"json", text.encode())


def source_hashes(kind: int, text: str | None) -> dict[str | None, bytes]:
    """The hash of each thing that can be embedded, as in `EncodedContent.sources`; reads no file."""
    if kind == KIND_TEXT and text is not None:
        return {None: _digest(b"text", text.encode())}
    return {name: _source_hash(item) for name, item in _described(kind, text).items()}


def blob_hashes(kind: int, text: str | None) -> set[bytes]:
    """The stored bytes that content needs."""
    items = _described(kind, text).values()
    return {bytes.fromhex(item[name]) for item in items for name in ("image", "audio") if name in item}


def _described(kind: int, text: str | None) -> dict[str | None, dict[str, Any]]:
    if kind != KIND_JSON or text is None:
        return {}
    described = json.loads(text)
    return dict(described["fields"]) if "fields" in described else {None: described}


def _source_hash(item: Mapping[str, Any]) -> bytes:
    if "text" in item:
        return _digest(b"text", item["text"].encode())
    if "file" in item:
        return _digest(b"file", item["sha256"].encode())
    return bytes.fromhex(item["image"] if "image" in item else item["audio"])


def blob_fits(digest: bytes, data: Any) -> bool:
    """Whether these are the bytes of an image or a sound that were stored under this hash."""
    return isinstance(data, bytes) and any(_digest(tag, data) == digest for tag in (b"image", b"audio"))


# --- text and ids -------------------------------------------------------------------------------


def utf8(text: str, *, what: str, limit: int, index: int | None = None) -> bytes:
    """`text` as UTF-8. Refuses NUL and lone surrogates, naming the position."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} holds a lone surrogate (\\u{ord(text[error.start]):04x}) at position {error.start}, "
            "which is no character; decode it rightly or remove it",
            index=index,
        ) from error
    if b"\0" in data:
        position = text.index("\0")
        raise InvalidInputError(f"{what} holds a NUL character at position {position}; remove it", index=index)
    if len(data) > limit:
        raise LimitError(
            f"{what} has {len(data):,} bytes of UTF-8, more than the limit of {limit:,}; shorten or split it",
            limit=limit,
            got=len(data),
            index=index,
        )
    return data


def check_id(value: Any, index: int | None = None) -> str:
    """A record id: non-empty text."""
    if type(value) is not str:
        raise InvalidInputError(f"a record id must be a string, not {shown(value)}; use str(...)", index=index)
    if not value:
        raise InvalidInputError("a record id must not be empty; leave ids out to have them made", index=index)
    if not value.isascii() or "\0" in value or len(value) > MAX_ID_BYTES:
        utf8(value, what=f"the record id {value[:40]!r}", limit=MAX_ID_BYTES, index=index)
    return value


# --- metadata -----------------------------------------------------------------------------------


def encode_metadata(metadata: Any, index: int | None = None) -> str:
    """A JSON object as text. Types never coerce: what comes back equals what went in."""
    if metadata is None:
        return "{}"
    if type(metadata) is not dict:
        raise InvalidInputError(f"metadata must be a dict, not {type(metadata).__name__}", index=index)
    _check_json(metadata, "metadata", 1, index)
    text = _metadata_as_json(metadata)
    if "\\u0000" in text and _holds_nul(metadata):
        raise InvalidInputError("metadata holds a NUL character; remove it", index=index)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            "metadata holds a lone surrogate, which is no character; decode it rightly or remove it", index=index
        ) from error
    if size > MAX_METADATA_BYTES:
        raise LimitError(
            f"metadata has {size:,} bytes of JSON, more than the limit of {MAX_METADATA_BYTES:,}; shorten it",
            limit=MAX_METADATA_BYTES,
            got=size,
            index=index,
        )
    return text


def _check_json(value: Any, place: str, depth: int, index: int | None) -> None:
    kind = type(value)
    if kind in _HARMLESS:
        return
    if kind is int:
        if not _LEAST_INTEGER <= value <= _MOST_INTEGER:
            raise InvalidInputError(f"{place}: the integer does not fit 64 bits; store it as a string", index=index)
    elif kind is float:
        if not math.isfinite(value):
            raise InvalidInputError(f"{place}: {value} is not JSON; leave it out or use None", index=index)
    elif kind is dict or kind is list:
        if depth > MAX_DEPTH:
            raise LimitError(f"metadata is nested deeper than {MAX_DEPTH}; flatten it", limit=MAX_DEPTH, index=index)
        if kind is dict:
            _check_fields(value, place, depth, index)
            return
        for position, item in enumerate(value):
            if type(item) not in _HARMLESS:
                _check_json(item, f"{place}[{position}]", depth + 1, index)
    else:
        raise InvalidInputError(
            f"{place}: {shown(value)} ({kind.__name__}) is not JSON; use str, int, float, bool, None, list or dict",
            index=index,
        )


def _check_fields(fields: Mapping[Any, Any], place: str, depth: int, index: int | None) -> None:
    for key, item in fields.items():
        if type(key) is not str:
            raise InvalidInputError(f"{place}: the key {shown(key)} is not a string; use str(...)", index=index)
        kind = type(item)
        # The usual, without a call.
        if kind in _HARMLESS or (kind is int and _LEAST_INTEGER <= item <= _MOST_INTEGER):
            continue
        _check_json(item, f"{place}[{key[:40]!r}]" if kind is dict or kind is list else place, depth + 1, index)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def decode_metadata(stored: Any, owner: str | int = "a record") -> Metadata:
    """What `encode_metadata` wrote.

    Args:
        stored: the column.
        owner: how an error calls the record, or its key.

    Raises:
        CorruptDatabaseError: it is something else.
    """
    found = json_object(stored)
    return found if found is not None else as_json_object(stored, what=f"the metadata of {_called(owner)}")


def _called(owner: str | int) -> str:
    return owner if isinstance(owner, str) else f"record {owner}"


# --- contents -----------------------------------------------------------------------------------

_NOTHING = EncodedContent(KIND_NOTHING, None, _digest(b"nothing", b""), (), {})


def encode_content(content: Any, index: int | None = None) -> EncodedContent:
    """Content as columns, checked.

    Raises:
        InvalidInputError: empty text, NUL, lone surrogates, a file that cannot be read.
        UnsupportedContentError: content of a type that vecdb does not know.
        LimitError: larger than a limit.
    """
    if type(content) is str:
        digest = _text_hash(content, "the text", index)
        return EncodedContent(KIND_TEXT, content, digest, (), {None: (content, digest)})
    if content is None:
        return _NOTHING
    if isinstance(content, Mapping):
        return _encode_fields(content, index)
    description, source_hash, blobs = _describe(content, "the content", index)
    text = _describe_as_json(description)
    return EncodedContent(KIND_JSON, text, _digest(b"json", text.encode()), blobs, {None: (content, source_hash)})


def _encode_fields(content: Mapping[Any, Any], index: int | None) -> EncodedContent:
    if not content:
        raise InvalidInputError("content without any field; give at least one, or None", index=index)
    described: dict[str, Any] = {}
    sources: dict[str | None, tuple[Scalar, bytes]] = {}
    blobs: tuple[tuple[bytes, bytes], ...] = ()
    for name, item in content.items():
        if type(name) is not str or not name:
            raise InvalidInputError(f"a field of content is named by a string, not {shown(name)}", index=index)
        utf8(name, what=f"the field name {shown(name)}", limit=MAX_ID_BYTES, index=index)
        if item is None:
            continue
        described[name], source_hash, more = _describe(item, f"the field {name[:40]!r}", index)
        sources[name] = (item, source_hash)
        blobs += more
    text = _describe_as_json({"fields": described})
    return EncodedContent(KIND_JSON, text, _digest(b"json", text.encode()), blobs, sources)


def _describe(item: Any, what: str, index: int | None) -> tuple[Any, bytes, tuple[tuple[bytes, bytes], ...]]:
    """A JSON description of one item, the hash of what would be embedded, and the blobs it needs."""
    if type(item) is str:
        return {"text": item}, _text_hash(item, what, index), ()
    if isinstance(item, Path):
        path, size, sha256 = _file_facts(item, what, index)
        return {"file": str(path), "size": size, "sha256": sha256}, _digest(b"file", sha256.encode()), ()
    if isinstance(item, Image | Audio):
        name = "image" if isinstance(item, Image) else "audio"
        if not item.data or len(item.data) > MAX_DATA_BYTES:
            raise LimitError(
                f"{what}: {len(item.data):,} bytes; a stored {name} has 1 to {MAX_DATA_BYTES:,}: give the file's path",
                limit=MAX_DATA_BYTES,
                got=len(item.data),
                index=index,
            )
        digest = _digest(name.encode(), item.data)
        return {name: digest.hex()}, digest, ((digest, item.data),)
    raise UnsupportedContentError(
        f"{what} is a {type(item).__name__}; give a str, pathlib.Path, vecdb.Image, vecdb.Audio, or a dict of these",
        index=index,
    )


def _text_hash(text: str, what: str, index: int | None) -> bytes:
    if not text or text.isspace():
        raise InvalidInputError(f"{what} is empty; leave the record out, or give None and a vector", index=index)
    return _digest(b"text", utf8(text, what=what, limit=MAX_TEXT_BYTES, index=index))


def _file_facts(path: Path, what: str, index: int | None) -> tuple[Path, int, str]:
    """Absolute path, size and SHA-256 of a regular file."""
    absolute = path.absolute()
    utf8(str(absolute), what=f"{what}: the path {shown(str(path))}", limit=MAX_ID_BYTES, index=index)
    try:
        if not absolute.is_file():
            raise InvalidInputError(f"{what}: {path} is not a file; check the path", index=index)
        digest = hashlib.sha256()
        with absolute.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
            return absolute, file.tell(), digest.hexdigest()
    except OSError as error:
        raise InvalidInputError(f"{what}: cannot read {path}: {error.strerror}; check it", index=index) from error


def decode_content(
    kind: Any, stored: Any, read_blob: Callable[[bytes], bytes], owner: str | int = "a record"
) -> Content:
    """What `encode_content` was given.

    Args:
        kind, stored: the columns.
        read_blob: finds stored bytes by hash.
        owner: how an error calls the record, or its key.

    Raises:
        CorruptDatabaseError: they are something else.
    """
    if kind == KIND_TEXT and type(stored) is str:
        return stored
    what = f"the content of {_called(owner)}"
    if kind == KIND_TEXT:
        return as_text(stored, what=what)
    if kind == KIND_NOTHING and stored is None:
        return None
    as_integer(kind, KIND_JSON, KIND_JSON, what=f"the kind of {what}")
    described = as_json_object(stored, what=what, longest=_MAX_DESCRIPTION)
    if set(described) != {"fields"}:
        return _item(described, read_blob, what)
    if type(described["fields"]) is not dict:
        raise CorruptDatabaseError(f"{what} has no fields; run `vecdb check`, or restore a backup")
    return {name: _item(item, read_blob, f"{what}, field {name[:40]!r},") for name, item in described["fields"].items()}


def is_readable(kind: Any, stored: Any) -> bool:
    """Whether `decode_content` can read these columns; the stored bytes that they name are not asked for."""
    try:
        decode_content(kind, stored, lambda digest: digest)
    except CorruptDatabaseError:
        return False
    return True


def _item(described: Any, read_blob: Callable[[bytes], bytes], what: str) -> Scalar:
    kinds = set(described) if type(described) is dict else set()
    if kinds == {"text"}:
        return as_text(described["text"], what=what)
    if kinds == {"file", "size", "sha256"}:
        path = as_text(described["file"], what=f"the path in {what}")
        if path and "\0" not in path:
            return Path(path)
    for name, media in (("image", Image), ("audio", Audio)):
        if kinds == {name} and type(described[name]) is str and _HASH.fullmatch(described[name]):
            return media(read_blob(bytes.fromhex(described[name])))
    raise CorruptDatabaseError(
        f"{what} is neither text, a file, an image nor a sound; run `vecdb check`, or restore a backup"
    )
