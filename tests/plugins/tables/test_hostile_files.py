"""Tables that nobody wrote by mistake: refused, without the memory that they ask for."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.plugins.tables.tables import embed, matrix
from vecdb import EmbedderUnavailableError

CLAIM = struct.pack("<I", 2**31 - 1)  # bytes of a header


@pytest.mark.parametrize("start", [b"\x93NUMPY\x02\x00", b"\x93NUMPY\x41\x76"])
def test_a_header_that_claims_to_be_long_gets_no_room(tmp_path, start):
    path = tmp_path / "table.npy"
    path.write_bytes(start + CLAIM + b"{'descr': '<f4', 'fortran_order': False, 'shape': (7, 4), }\n")
    tracemalloc.start()
    try:
        with pytest.raises(EmbedderUnavailableError, match="the array has a damaged header"):
            embed("1", model=path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, 99])
def test_an_archive_that_is_packed_in_a_rare_way(tmp_path, kind):
    out = io.BytesIO()
    np.save(out, matrix())
    path = tmp_path / "table.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2 if kind == 99 else kind) as archive:
        archive.writestr("table.npy", out.getvalue())
    if kind == 99:
        path.write_bytes(path.read_bytes().replace(struct.pack("<H", zipfile.ZIP_BZIP2), struct.pack("<H", 99)))
    with pytest.raises(EmbedderUnavailableError, match="the array 'table' is packed in a rare way"):
        embed("1", model=path)


def test_an_archive_whose_names_are_no_text(tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, table=matrix())
    data = bytearray(path.read_bytes())
    data[6:8] = struct.pack("<H", 0x800)  # the name before the member is said to be UTF-8
    data[30] = 0x84
    path.write_bytes(data)
    with pytest.raises(EmbedderUnavailableError, match="the array 'table' is damaged"):
        embed("1", model=path)
