"""Opening a table: the format by the file's content, and the one tensor that is meant."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from vecdb_tables import numpy_file, safetensors_file, torch_file
from vecdb_tables.table import Entry, Table, unusable

_FORMATS = "give a .safetensors, .npy or .npz file, or a torch state dict (.pt, .pth)"
_LISTED = 12

# What the table of tokens is called, by the last part before ".weight": in PyTorch's own examples, BERT,
# GPT-2, Llama, and their kin. A model has other tables too, of positions for example.
_NAMES = (
    *("emb", "embed", "embed_tokens", "embedding", "embeddings", "tok_embeddings", "token_embedding"),
    *("token_embeddings", "word_embedding", "word_embeddings", "wte"),
)


def open_table(path: Path, tensor: str | None) -> Table:
    """The table in a file, mapped into memory where the format allows it.

    Args:
        path: told by its content, never by its name.
        tensor: its name in the file; None: the only 2-d tensor, or the only one called like a table of tokens.

    Raises:
        EmbedderUnavailableError: the file is missing, damaged, of another kind, or refused because it
            could run code; or it is not clear which tensor is meant.
    """
    with errors_named(path):
        entries = _entries(path)
    name = _chosen(path, entries, tensor)
    entry = entries[name]
    if len(entry.shape) != 2 or 0 in entry.shape:
        raise unusable(path, f"{_called(name)} is {entry}, not a table with rows", _advice(entries))
    if entry.open is None:
        raise unusable(
            path,
            f"{_called(name)} is of type {entry.dtype}",
            "save the table as float32, float16, bfloat16 or float64",
        )
    with errors_named(path):
        return entry.open()


@contextlib.contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn the errors of the file system into `EmbedderUnavailableError`."""
    if path.exists() and not path.is_file() and not path.is_dir():  # it would be waited on, or read, for ever
        raise unusable(path, "is a pipe or a device", "give a file")
    try:
        yield
    except FileNotFoundError as error:
        raise unusable(path, "there is no such file", "put it there or give another path") from error
    except IsADirectoryError as error:
        raise unusable(path, "is a folder", "give the file in it") from error
    except PermissionError as error:
        raise unusable(path, "may not be read", "change its permissions") from error
    except OSError as error:
        raise unusable(path, f"cannot be read ({error})", "check the disk and the path") from error


def _entries(path: Path) -> Mapping[str, Entry]:
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise unusable(path, "the file is empty", "fetch it again")
    if start.startswith(b"\x93NUMPY"):
        return numpy_file.read_npy(path)
    if start.startswith(b"PK"):
        return _archive(path)
    if start[:1] == b"\x80":  # a pickle: what torch wrote before 1.6, or anything
        return torch_file.read_state_dict(path)
    if start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] < 2**32:
        return safetensors_file.read_safetensors(path)
    raise unusable(path, "is not a table in a format that is known", _FORMATS)


def _archive(path: Path) -> Mapping[str, Entry]:
    """A zip: of numpy arrays, or of torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise unusable(path, f"is damaged or cut off ({error})", "fetch it again") from error
    if any(name.endswith(".pkl") for name in names):
        return torch_file.read_state_dict(path)
    if names and all(name.endswith(".npy") for name in names):
        return numpy_file.read_npz(path)
    listed = ", ".join(names[:_LISTED]) or "nothing"
    raise unusable(path, f"is an archive of {listed}", _FORMATS)


def _chosen(path: Path, entries: Mapping[str, Entry], tensor: str | None) -> str:
    if tensor is not None:
        if tensor not in entries:
            raise unusable(path, f"holds no tensor {tensor!r}", _advice(entries))
        return tensor
    if len(entries) == 1:
        return next(iter(entries))
    tables = [name for name, entry in entries.items() if entry.open and len(entry.shape) == 2]
    named = [name for name in tables if name.removesuffix(".weight").rpartition(".")[2] in _NAMES]
    for candidates in (tables, named):
        if len(candidates) == 1:
            return candidates[0]
    problem = f"holds {len(tables)} tables" if tables else "holds no 2-d tensor of floats"
    raise unusable(path, problem, _advice(entries))


def _called(name: str) -> str:
    return f"the tensor {name!r}" if name else "the array"


def _advice(entries: Mapping[str, Entry]) -> str:
    """Which tensors could be named: the tables, or everything where there is none."""
    listed = {name: entry for name, entry in entries.items() if entry.open and len(entry.shape) == 2}
    if not listed:
        found = ", ".join(f"{_called(name)}: {entry}" for name, entry in list(entries.items())[:_LISTED])
        return f"give a file with a table of shape (num_embeddings, embedding_dim); this one holds {found or 'nothing'}"
    choice = ", ".join(f"{name} ({entry})" for name, entry in list(listed.items())[:_LISTED])
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"name one with the option tensor: {choice}{more}"
