"""Records on their way in: everything the caller gave is checked here, before any work."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vecdb.definition import DEFAULT_SPACE
from vecdb.embedding import modality_of
from vecdb.errors import DuplicateIdError, InvalidInputError, ItemError, UnsupportedContentError, shown
from vecdb.space import Space
from vecdb.storage.contents import EncodedContent, check_id, encode_content, encode_metadata
from vecdb.storage.writes import NewRecord, NewVector
from vecdb.types import Audio, Image, Record, Vector
from vecdb.vectors import to_blobs


@dataclass(slots=True)
class Draft:
    """A record on its way in.

    Attributes:
        brought, embedded: the bytes to store, by space id.
        truncated: the spaces in which only the content's beginning was embedded.
        error: why it cannot be embedded.
    """

    id: str
    content: EncodedContent
    metadata: str
    brought: dict[int, bytes]
    embedded: dict[int, bytes] = field(default_factory=dict)
    truncated: set[int] = field(default_factory=set)
    error: ItemError | None = None

    def vectors(self, spaces: Sequence[Space]) -> tuple[NewVector, ...]:
        """The vectors to store, each with the hash of its source if it was embedded."""
        found = []
        for space in spaces:
            key = space.row.id
            if key in self.brought:
                found.append(NewVector(key, self.brought[key], None))
            elif key in self.embedded:
                source_hash = self.content.sources[space.row.source][1]
                found.append(NewVector(key, self.embedded[key], source_hash, key in self.truncated))
        return tuple(found)

    def record(self, spaces: Sequence[Space]) -> NewRecord:
        """The record as columns."""
        content = self.content
        return NewRecord(
            self.id, content.kind, content.text, content.hash, self.metadata, content.blobs, self.vectors(spaces)
        )


def make_drafts(
    spaces: Sequence[Space],
    contents: Sequence[Any],
    ids: Sequence[Any] | None,
    metadata: Sequence[Any] | None,
    vectors: Any,
    *,
    copy: bool,
) -> list[Draft]:
    """Check the arguments of `add` whole, before any work."""
    count = len(contents)
    ids, metadata = _one_for_each("ids", ids, count), _one_for_each("metadata", metadata, count)
    brought = _brought_vectors(spaces, vectors, count)
    seen: dict[str, int] = {}
    drafts = []
    for index in range(count):
        key = str(uuid.uuid4()) if ids is None else check_id(ids[index], index)
        if seen.setdefault(key, index) != index:
            raise DuplicateIdError(
                f"the id {key!r:.60} stands twice in this call, at {seen[key]} and {index}; give each record its own",
                name=key,
                index=index,
            )
        mine = {space_id: blobs[index] for space_id, blobs in brought.items()}
        described = None if metadata is None else metadata[index]
        drafts.append(_draft(spaces, index, key, contents[index], described, mine, copy=copy))
    return drafts


def _one_for_each(name: str, given: Any, count: int) -> list[Any] | None:
    if given is None:
        return None
    if isinstance(given, str | bytes | Mapping | Set) or not isinstance(given, Iterable):
        raise InvalidInputError(f"{name} must be a list with one for each content, not {shown(given)}; give a list")
    listed = list(given)
    if len(listed) != count:
        raise InvalidInputError(
            f"there are {count} contents but {len(listed)} in {name}; give a list with one for each"
        )
    return listed


@contextmanager
def _at(index: int) -> Iterator[None]:
    """Names the position of the record in whatever is wrong with it."""
    try:
        yield
    except InvalidInputError as error:
        error.index = index
        raise


def record_draft(spaces: Sequence[Space], record: Any, index: int, *, copy: bool) -> Draft:
    """Check one `Record` of `ingest`."""
    if not isinstance(record, Record):
        raise InvalidInputError(f"ingest takes vecdb.Record items, not {type(record).__name__}", index=index)
    check_id(record.id, index)
    mine: dict[int, bytes] = {}
    if record.vectors is not None:
        by_name = record.vectors if isinstance(record.vectors, Mapping) else {DEFAULT_SPACE: record.vectors}
        with _at(index):
            for space, vector in _bringing(spaces, by_name):
                row = space.one_as_stored(vector, what=f"the vector of record {record.id!r:.40} for {space.what}")
                mine[space.row.id] = to_blobs(row[None, :])[0]
    return _draft(spaces, index, record.id, record.content, record.metadata, mine, copy=copy)


def _draft(  # noqa: PLR0917  (a record's parts, without the cost of making one)
    spaces: Sequence[Space],
    index: int,
    id: str,
    content: Any,
    metadata: Any,
    brought: dict[int, bytes],
    *,
    copy: bool,
) -> Draft:
    encoded = encode_content(_copied(content, index) if copy else content, index)
    fed = bool(brought)
    for space in spaces:
        if space.embeds and space.row.source in encoded.sources:
            item, _ = encoded.sources[space.row.source]
            with _at(index):
                space.host().check_content(item, what=f"the content at {index}")
            fed = True
    if not fed:
        raise InvalidInputError(_starving(spaces, encoded, index), index=index)
    return Draft(id, encoded, encode_metadata(metadata, index), brought)


def _starving(spaces: Sequence[Space], content: EncodedContent, index: int) -> str:
    wanted = [space for space in spaces if space.embeds]
    if not wanted:
        return f"the record at {index} brings no vector, and {spaces[0].what} has no embedder; give vectors="
    sources = ", ".join("the content itself" if s.row.source is None else f"field {s.row.source!r}" for s in wanted)
    has = ", ".join(repr(name) for name in content.sources if name is not None) or "none of it"
    return f"the record at {index} has nothing to embed: wanted is {sources}, given is {has}; add it"


def _brought_vectors(spaces: Sequence[Space], vectors: Any, count: int) -> dict[int, list[bytes]]:
    if vectors is None:
        return {}
    by_name = vectors if isinstance(vectors, Mapping) else {DEFAULT_SPACE: vectors}
    found = {}
    for space, given in _bringing(spaces, by_name):
        rows: Vector = space.as_stored(given, what=f"vectors for {space.what}")
        if len(rows) != count:
            raise InvalidInputError(f"there are {count} contents but {len(rows)} vectors; give one for each")
        found[space.row.id] = to_blobs(rows)
    return found


def _bringing(spaces: Sequence[Space], by_name: Mapping[str, Any]) -> list[tuple[Space, Any]]:
    known = {space.row.name: space for space in spaces}
    pairs = []
    for name, given in by_name.items():
        if name not in known:
            raise InvalidInputError(f"there is no space {shown(name)}; the spaces are {', '.join(known)}")
        if known[name].embeds:
            raise InvalidInputError(
                f"space {name!r} is embedded by {known[name].row.embedder!r}; vectors from elsewhere are not "
                "comparable: leave them out, or make a collection with dimension="
            )
        pairs.append((known[name], given))
    return pairs


def _copied(content: Any, index: int) -> Any:
    """Files replaced by what they hold, to be stored in the database."""
    if isinstance(content, Mapping):
        return {name: _copied(item, index) for name, item in content.items()}
    if not isinstance(content, Path):
        return content
    modality = modality_of(content)
    try:
        if modality == "text":
            return content.read_text("utf-8")
        if modality in ("image", "audio"):
            return (Image if modality == "image" else Audio)(content.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read {content}: {error}; check the file", index=index) from error
    raise UnsupportedContentError(
        f"{content} is neither text, an image nor a sound by its name; store it by reference (copy=False)", index=index
    )


def as_list(contents: Any, *, what: str = "contents") -> list[Any]:
    """What was given to one call as a list; a single content is refused, because it is a common slip."""
    if isinstance(contents, str | Path | Image | Audio | Mapping | bytes) or not isinstance(contents, Iterable):
        raise InvalidInputError(f"{what} must be a list, not one {type(contents).__name__}; put it into [ ]")
    return list(contents)
