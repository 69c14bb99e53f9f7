"""The file that says which token has which row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecdb_tables.opening import errors_named
from vecdb_tables.table import unusable


class _RepeatedKeyError(ValueError):
    """A JSON object has one key twice, of which the json module would keep the last."""


def read_vocabulary(path: Path, num_embeddings: int) -> Mapping[str, int]:
    """The id of each token.

    Args:
        path: UTF-8. One token a line, line 1 for id 0; or a JSON list in the same order; or a JSON
            object {token: id}, which need not name every row. Told by the first character and by
            whether it is JSON: a list of tokens that begins with "[" is read as lines.
        num_embeddings: rows of the table; lines, or the list, must be as many.

    Raises:
        EmbedderUnavailableError: the file is missing, is not as described, holds a token twice, or
            does not fit the table.
    """
    with errors_named(path):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unusable(path, f"is not UTF-8 (byte {error.start})", "convert it, for example with iconv") from error
    if not text.strip():
        raise unusable(path, "the vocabulary is empty", "give a file with one token a line")
    found = _json(path, text)
    if isinstance(found, dict):
        return _by_id(path, found, num_embeddings)
    if isinstance(found, list):
        return _in_order(path, found, num_embeddings, "entry")
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]  # tokens may hold U+2028
    return _in_order(path, lines, num_embeddings, "line")


def _json(path: Path, text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _RepeatedKeyError as error:
        raise unusable(path, f"holds the token {error} twice", "remove one of them") from error
    except (ValueError, RecursionError) as error:
        if path.suffix.lower() == ".json":
            raise unusable(path, f"is not JSON ({error})", "correct it, or give one token a line") from error
        return None  # a first token such as "[PAD]" or "{"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(repr(key))
            seen.add(key)
    return found


def _by_id(path: Path, found: dict[str, Any], num_embeddings: int) -> dict[str, int]:
    for token, row in found.items():
        if type(row) is not int:
            raise unusable(
                path,
                f"{token!r} has no id but {type(row).__name__}",
                "give {token: id} (of a tokenizer.json that is the part model.vocab)",
            )
        if not 0 <= row < num_embeddings:
            raise unusable(
                path,
                f"the token {token!r} has id {row}, but the table has {num_embeddings} rows",
                "give the vocabulary that belongs to the table",
            )
    return found


def _in_order(path: Path, tokens: list[Any], num_embeddings: int, place: str) -> dict[str, int]:
    found: dict[str, int] = {}
    first = 1 if place == "line" else 0
    for row, token in enumerate(tokens):
        if not isinstance(token, str):
            raise unusable(path, f"{place} {row + first} is {token!r}, not a token", "give a list of texts")
        if token in found and token:  # an empty line is a row without a token
            raise unusable(
                path,
                f"the token {token!r} is {place} {found[token] + first} and {row + first}",
                "remove one of them, or give JSON {token: id} if the table has such rows",
            )
        found[token] = row
    found.pop("", None)
    if len(tokens) != num_embeddings:
        raise unusable(
            path,
            f"holds {len(tokens)} tokens, but the table has {num_embeddings} rows",
            "give the vocabulary that belongs to the table, or JSON {token: id} if some rows have no token",
        )
    if all(token.split() != [token] for token in found):
        raise unusable(
            path, f"every {place} has white space in it, as {tokens[0]!r}", "give the tokens alone, one a line"
        )
    return found
