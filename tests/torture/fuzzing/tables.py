"""Tables of vectors: safetensors, npy, npz, torch's archives; and vocabularies."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

import vecdb
from tests.plugins.tables.tables import INFO, described, matrix, safetensors_bytes
from tests.torture.fuzzing.target import NotHere, Target
from vecdb_tables.vocabulary import read_vocabulary

_ITEMS = ("0", "3 1 2", "[0, 6]", "-1", "99999999999")


def _embed(model: Path) -> None:
    embedder = INFO.create(INFO.configure({"model": model}))
    try:
        embedder.load()
    except vecdb.EmbedderUnavailableError:
        return
    try:
        for item in _ITEMS:
            try:
                embedder.encode([embedder.prepare(item)], "document")
            except vecdb.ItemError:
                continue
    finally:
        embedder.close()


def _tables(data: bytes, folder: Path) -> None:
    if _is_torch(data):
        return
    path = folder / "table"
    path.write_bytes(data)
    _embed(path)


def _is_torch(data: bytes) -> bool:
    """Those have a target of their own: torch is slow to import, and reads them itself."""
    return data[:1] == b"\x80" or (data[:2] == b"PK" and b".pkl" in data)


def _torch_tables(data: bytes, folder: Path) -> None:
    path = folder / "table.pt"
    path.write_bytes(data)
    _embed(path)


def _vocabularies(data: bytes, folder: Path) -> None:
    """The first byte is the number of rows of the table."""
    rows = data[0] if data else 1
    for name in ("vocabulary.txt", "vocabulary.json"):
        path = folder / name
        path.write_bytes(data[1:])
        try:
            read_vocabulary(path, rows)
        except vecdb.EmbedderUnavailableError:
            continue


def _seeds(folder: Path) -> list[bytes]:
    table = matrix()
    seeds = [safetensors_bytes({"table": described(table)}, table.tobytes())]
    halves = table.astype(np.float16)
    both = {"a.weight": described(halves, "F16"), "wte": described(halves, "BF16"), "__metadata__": {"x": "y"}}
    seeds.append(safetensors_bytes(both, halves.tobytes()))
    lies = (
        {"shape": [2**40, 4]},
        {"data_offsets": [0, 2**50]},
        {"shape": [-1, 4]},
        {"dtype": 7},
        {"shape": "ab"},
        {"shape": [0, 0]},
    )
    seeds += [safetensors_bytes({"t": described(table, **lie)}, table.tobytes()) for lie in lies]
    seeds.append(safetensors_bytes(b'{"a":' * 20_000))
    for save, values in (
        (np.save, table),
        (np.save, np.asfortranarray(table.astype(np.float64))),
        (np.save, np.arange(9)),
    ):
        out = io.BytesIO()
        save(out, values)
        seeds.append(out.getvalue())
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, table=table, other=np.arange(3))
        seeds.append(out.getvalue())
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 12 + b", 4), }\n"
    seeds.append(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    seeds.append(b"\x93NUMPY\x01\x00\x40\x1f" + b"(" * 8000)
    return seeds


def _torch_seeds(folder: Path) -> list[bytes]:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise NotHere("torch is not installed") from error
    values = torch.from_numpy(matrix())
    seeds = []
    for saved in (
        {"embed.weight": values},
        values,
        {"state_dict": {"wte": values.half()}},
        {"a": values.bfloat16(), "n": 1},
    ):
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            out = io.BytesIO()
            torch.save(saved, out, **options)
            seeds.append(out.getvalue())
    return seeds


def _vocabulary_seeds(folder: Path) -> list[bytes]:
    tokens = ["<pad>", "<unk>", "cat", "kätzchen", "dog"]
    listed = [
        "\n".join(tokens),
        "\r\n".join(tokens) + "\n",
        json.dumps(tokens),
        json.dumps({t: i for i, t in enumerate(tokens)}),
    ]
    odd = [
        '{"a": 1, "a": 2}',
        "[PAD]\n[UNK]\nx\ny\nz",
        "[" * 20_000,
        '{"a":' * 20_000,
        '{"a": true}',
        "[1, 2]",
        "\ufeffa\nb\nc\nd\ne",
        "[" + "9" * 5000,
    ]
    return [b"\5" + text.encode() for text in (*listed, *odd)]


TARGETS = [
    Target(
        "tables", _seeds, _tables, words=[b'"dtype"', b'"shape"', b'"data_offsets"', b'"F32"', b"'descr'", b"PK\1\2"]
    ),
    Target("vocabularies", _vocabulary_seeds, _vocabularies, longest=2000, words=[b'"', b"\n", b"\\u0000", b": 1"]),
    Target("torch tables", _torch_seeds, _torch_tables, longest=6000),
]
