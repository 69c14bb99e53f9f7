"""A Universal Sentence Encoder in ONNX: a graph from strings to vectors, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb import EmbedderUnavailableError, ItemError, Windows
from vecdb_text.onnx_providers import choose_providers, require_started
from vecdb_text.universal.files import unusable

MAX_CHARACTERS = 10_000
_CUSTOM_OPERATORS = b"ai.onnx.contrib"  # the domain of onnxruntime-extensions, among them SentencePiece
_ADVICE = "give a graph that takes strings, as exported from the Universal Sentence Encoder"

FloatArray: TypeAlias = NDArray[np.float32]


class OnnxEncoder:
    """Texts to vectors by an ONNX graph with one string input, its tokeniser within.

    The model is read into memory, so that a graph that points to other files is refused.

    Raises:
        EmbedderUnavailableError: a library is missing, the device is not there, or the file is
            damaged or is another kind of graph.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        self._path = path
        try:
            model = path.read_bytes()
        except OSError as error:
            raise unusable(path, f"cannot be read ({error})", "check the path and its permissions") from error
        self._session = _session(path, model, device, threads)
        self._input, self._output, self.dimension = self._find_ends()

    def prepare(self, text: str) -> str | Windows:
        """The text; more than 10,000 characters in windows, cut at white space where there is some.

        The network itself takes any length, but its memory grows with it (30 KB a word).

        Raises:
            ItemError: the text is only white space.
        """
        if not text.strip():
            raise ItemError("the text is only white space; give one with words in it")
        windows: list[str] = []
        start = 0
        while start < len(text):
            end = start + MAX_CHARACTERS
            if end < len(text):
                cut = max(text.rfind(space, start + 1, end) for space in " \n\t")
                end = end if cut < 0 else cut
            windows.append(text[start:end])
            start = end
        windows = [window for window in windows if window.strip()]
        return windows[0] if len(windows) == 1 else Windows(windows)

    def encode(self, batch: Sequence[str]) -> FloatArray:
        """One vector a text.

        Each text runs by itself: a quantised graph scales its numbers by the largest of all texts
        that it is given, so that a vector would depend on its batch (measured: cosine 0.9985).
        """
        rows = [self._session.run([self._output], {self._input: np.array([text], object)})[0] for text in batch]
        return np.concatenate(rows).astype(np.float32, copy=False)

    def cost(self, prepared: str) -> int:
        """Number of characters."""
        return len(prepared)

    def _find_ends(self) -> tuple[str, str, int]:
        """The names of input and output, and the length of the vectors."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(string)" or len(inputs[0].shape) != 1:
            found = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs) or "nothing"
            raise unusable(self._path, f"the graph takes {found}, not one list of strings", _ADVICE)
        for output in self._session.get_outputs():
            match output.shape:
                case [_, int(length)] if output.type == "tensor(float)" and length > 0:
                    return inputs[0].name, output.name, length
        raise unusable(self._path, "the graph returns no float32 vectors of a fixed length", _ADVICE)


def _session(path: Path, model: bytes, device: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EmbedderUnavailableError(
            f"running {path} needs onnxruntime: pip install onnxruntime", missing=["onnxruntime"]
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: a graph's unused initialisers are nobody's business
    options.intra_op_num_threads = threads
    try:
        if _CUSTOM_OPERATORS in model:
            options.register_custom_ops_library(_operators_library(path))
        providers = choose_providers(onnxruntime, device)
        session = onnxruntime.InferenceSession(model, options, providers=providers)
        require_started(onnxruntime, session, providers, device)
        return session
    except EmbedderUnavailableError:
        raise
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise unusable(path, f"onnxruntime cannot open it ({str(error)[:300]})", "fetch or export it again") from error


def _operators_library(path: Path) -> str:
    try:
        from onnxruntime_extensions import get_library_path
    except (ImportError, OSError) as error:
        raise EmbedderUnavailableError(
            f"the tokeniser in {path} needs onnxruntime-extensions: pip install onnxruntime-extensions "
            "(Python 3.11 to 3.13)",
            missing=["onnxruntime_extensions"],
        ) from error
    return str(get_library_path())
