"""Word vectors as gensim 4 saves them: `KeyedVectors.save` (.kv) and `Word2Vec.save` (.model).

The file is a pickle, which is read as data (see `vecdb_words.opcodes`). Large arrays lie beside it:
FILE.vectors.npy, and for a model FILE.wv.vectors.npy.
"""

from __future__ import annotations

import io
import math
import mmap
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from vecdb_words.files import CONVERT, errors_named, signature, unusable
from vecdb_words.opcodes import Call, Name, Pairs, PickleError, read_pickle
from vecdb_words.vectors import FloatArray, WordVectors

_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_SIDE_FILES = (".vectors.npy", ".wv.vectors.npy")
_BLOCK_ROWS = 1 << 14
_MOST_HEADER = 1 << 16  # bytes of a .npy file; numpy refuses headers of more than 10,000
_CONVERT_FASTTEXT = (
    "save the model where it was made, with gensim: "
    "gensim.models.fasttext.save_facebook_model(FastText.load('FILE'), 'model.bin'), and use the embedder 'fasttext'"
)


def is_pickle(path: Path) -> bool:
    """Whether the file begins as a pickle of protocol 2 to 5 does."""
    return signature(path, 2) in _PROTOCOLS


def side_files(path: Path) -> list[Path]:
    """The arrays that lie beside a file of gensim, if it is one."""
    if not path.is_file() or not is_pickle(path):
        return []
    return [side for side in (path.with_name(path.name + suffix) for suffix in _SIDE_FILES) if side.is_file()]


def read_gensim(path: Path, max_words: int = 0) -> WordVectors:
    """Read words and vectors; a side file stays on disk, mapped into memory, if it holds float32.

    Raises:
        EmbedderUnavailableError: the file is damaged, its side file is missing, or it is another pickle.
    """
    with errors_named(path), path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found = read_pickle(data)
        except PickleError as error:
            raise unusable(path, f"is a pickle that cannot be read as data: {error}", CONVERT) from error
    state, suffix = _keyed_vectors(path, found)
    words = state.get("index_to_key")
    if type(words) is not list or not all(type(word) is str for word in words):
        raise unusable(path, "its words are not a list of texts, as gensim 4 saves them", CONVERT)
    matrix = _matrix(path, state, suffix)
    if matrix.ndim != 2 or len(matrix) != len(words) or not matrix.size:
        raise unusable(path, f"it has {len(words)} words and vectors of the shape {matrix.shape}", CONVERT)
    if max_words:
        words, matrix = words[:max_words], matrix[:max_words]
    with np.errstate(over="ignore"):  # what is too large for float32 is found below
        matrix = np.asarray(matrix, np.float32)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        finite = np.isfinite(matrix[start : start + _BLOCK_ROWS]).all(axis=1)
        if not finite.all():
            word = words[start + int(np.argmin(finite))]
            raise unusable(path, f"the vector of {word!r} holds a number that is not finite", CONVERT)
    index: dict[str, int] = {}
    for row, word in enumerate(words):
        index.setdefault(word, row)
    return WordVectors(index, matrix)


def _keyed_vectors(path: Path, found: Any) -> tuple[Pairs, str]:
    """The attributes of the word vectors, and how the name of their side file ends."""
    suffix = _SIDE_FILES[0]
    if isinstance(found, Call) and isinstance(found.state, Pairs):
        inner = found.state.get("wv")
        if isinstance(inner, Call):
            found, suffix = inner, _SIDE_FILES[1]
    if not (isinstance(found, Call) and isinstance(found.function, Name) and isinstance(found.state, Pairs)):
        raise unusable(path, "is a pickle, but not one of gensim's word vectors", CONVERT)
    if "FastText" in str(found.function.name):
        raise unusable(path, "is a fastText model of gensim, whose parts of words are not read", _CONVERT_FASTTEXT)
    if not str(found.function.module).startswith("gensim."):
        raise unusable(path, "is a pickle, but not one of gensim's word vectors", CONVERT)
    return found.state, suffix


def _matrix(path: Path, state: Pairs, suffix: str) -> Any:
    held = state.get("vectors")
    if held is not None:
        return _inline(path, held)
    side = path.with_name(path.name + suffix)
    if not side.is_file():
        raise unusable(path, f"its vectors are in {side.name}, which is not beside it", "put both files there")
    with errors_named(side):
        try:
            matrix = _mapped(side)
        except (ValueError, TypeError, OverflowError, SyntaxError, tokenize.TokenError) as error:  # of numpy's parser
            raise unusable(side, f"is no array of numbers ({error})", "fetch it again") from error
    if matrix.dtype.kind != "f":
        raise unusable(side, "is no array of numbers with a decimal point", "fetch it again")
    return matrix.view(np.ndarray)


def _mapped(path: Path) -> Any:
    """The array in a `.npy` file, mapped into memory."""
    with path.open("rb") as file:
        start = io.BytesIO(file.read(_MOST_HEADER))  # or numpy would make room for as many bytes as the header claims
    version = npy.read_magic(start)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    read(start)
    return npy.open_memmap(path, "r")


def _inline(path: Path, call: Any) -> FloatArray:
    """The array that a noted call of numpy would make.

    Up to protocol 4 it is `_reconstruct` with the state (version, shape, dtype, Fortran order, bytes), in
    protocol 5 `_frombuffer` (bytes, dtype, shape, order).
    """
    try:
        if call.function.name == "_reconstruct":
            _, shape, kind, fortran, content = call.state
        elif call.function.name == "_frombuffer":
            content, kind, shape, order = call.arguments
            fortran = order == "F"
        else:
            raise ValueError(f"made by {call.function.name}")
        [name, *_] = kind.arguments
        order_of_bytes = kind.state[1]
        if name not in ("f2", "f4", "f8") or order_of_bytes not in ("<", ">"):
            raise ValueError(f"of the kind {name!r}")
        if type(shape) is not tuple or not all(type(count) is int and count >= 0 for count in shape):
            raise ValueError("of no shape")
        array = np.frombuffer(_content(content), np.dtype(order_of_bytes + name))
        if array.size != math.prod(shape):
            raise ValueError(f"of {array.size} numbers for the shape {shape}")
        return array.reshape(shape, order="F" if fortran else "C")
    except (AttributeError, IndexError, TypeError, ValueError, UnicodeError) as error:
        raise unusable(path, f"its vectors are no array of numbers ({error})", CONVERT) from error


def _content(noted: Any) -> bytes:
    """Bytes as they are, or as protocol 2 writes them: a text to be encoded as Latin-1."""
    if isinstance(noted, Call) and noted.function == Name("_codecs", "encode"):
        text, encoding = noted.arguments
        if encoding == "latin1":
            return bytes(text.encode("latin-1"))
    if not isinstance(noted, bytes):
        raise TypeError("without bytes")
    return noted
