"""The matrix of a quantised fastText model (.ftz), unpacked to float32.

Jégou, Douze, Schmid: "Product quantization for nearest neighbor search" (2011), as used in Joulin et
al.: "FastText.zip" (2016): a row is cut into parts, each part is one of 256 centroids, and the norms
may be quantised in the same way.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

import numpy as np

from vecdb_words.vectors import FloatArray

_HEADER = struct.Struct("<?2qi")  # norms quantised, rows, columns, bytes of codes
_QUANTISER = struct.Struct("<4i")  # columns, parts, width of a part, width of the last part
_CENTROIDS = 256


class _Fields(Protocol):
    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]: ...
    def array(self, kind: str, count: int) -> Any: ...
    def damaged(self, problem: str) -> Exception: ...


def read_quantised(fields: _Fields) -> FloatArray:
    """The matrix that begins at the position of `fields`, shape (rows, columns)."""
    has_norms, rows, columns, code_count = fields.unpack(_HEADER)
    if rows <= 0 or columns <= 0 or code_count < 0 or code_count % rows:
        raise fields.damaged(f"its quantised matrix has the shape {(rows, columns)} and {code_count} codes")
    codes = fields.array("u1", code_count).reshape(rows, -1)
    matrix = _decode(fields, codes, columns)
    if has_norms:
        matrix *= _decode(fields, fields.array("u1", rows).reshape(rows, 1), 1)
    return matrix


def _decode(fields: _Fields, codes: Any, columns: int) -> FloatArray:
    found, parts, width, last_width = fields.unpack(_QUANTISER)
    if found != columns or parts != codes.shape[1] or parts < 1 or (parts - 1) * width + last_width != columns:
        raise fields.damaged("its quantiser does not fit its matrix")
    if not 0 < last_width <= width:
        raise fields.damaged("its quantiser has parts of no width")
    centroids = fields.array("<f4", columns * _CENTROIDS)
    matrix = np.empty((len(codes), columns), np.float32)
    for part in range(parts):
        size = last_width if part == parts - 1 else width
        start = part * _CENTROIDS * width
        matrix[:, part * width : part * width + size] = centroids[start : start + _CENTROIDS * size].reshape(-1, size)[
            codes[:, part]
        ]
    return matrix
