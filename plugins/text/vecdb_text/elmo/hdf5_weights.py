"""Reading the weights: an hdf5 file of float32 datasets, of which nothing is believed."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb import EmbedderUnavailableError
from vecdb_text.elmo.files import unusable

FloatArray: TypeAlias = NDArray[np.float32]

_ADVICE = "fetch the weights again, and give the options.json that belongs to them"
_FLOATS = ("float16", "float32", "float64")


class WeightsFile:
    """An open weights file; `take` reads a dataset of a known shape.

    Only what lies plainly in the file itself is read: links, external and virtual datasets lead to
    other files, and compressed ones may grow without bound. Published weights have none of these.

    Raises:
        EmbedderUnavailableError: h5py is not installed, or this is no readable hdf5 file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise EmbedderUnavailableError(
                "ELMo weights need h5py: pip install 'vecdb-engine[elmo]'", missing=["h5py"]
            ) from error
        self._path = path
        self._h5py: Any = h5py
        try:
            self._file = h5py.File(path, "r")
        except Exception as error:  # what a damaged file raises is h5py's matter
            raise unusable(path, f"is not an hdf5 file, or is damaged or cut off ({error})", _ADVICE) from error

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def take(self, name: str, *shape: int) -> FloatArray:
        """The float32 values of a dataset.

        Raises:
            EmbedderUnavailableError: it is missing, lies elsewhere, has another shape, or holds NaN.
        """
        try:
            dataset = self._dataset(name)
            if dataset.shape != shape or dataset.dtype.name not in _FLOATS:
                raise unusable(
                    self._path, f"{name} is {dataset.dtype} of shape {dataset.shape}, not float32 of {shape}", _ADVICE
                )
            plain = dataset.chunks is None and not dataset.is_virtual and not dataset.external
            if not plain or dataset.id.get_storage_size() != dataset.nbytes:
                raise unusable(
                    self._path, f"{name} is compressed, or its values are not in this file", "write it plainly"
                )
            values = np.ascontiguousarray(dataset[()], np.float32)
        except EmbedderUnavailableError:
            raise
        except Exception as error:  # what a damaged file raises is h5py's matter
            raise unusable(self._path, f"{name} cannot be read ({error})", _ADVICE) from error
        if not np.isfinite(values).all():
            raise unusable(self._path, f"{name} holds NaN or infinity", _ADVICE)
        return values

    def _dataset(self, name: str) -> Any:
        place = self._file
        for step in name.split("/"):
            if not isinstance(place, self._h5py.Group) or step not in place:
                raise unusable(self._path, f"the dataset {name} is missing", _ADVICE)
            if type(place.get(step, getlink=True)) is not self._h5py.HardLink:
                raise unusable(self._path, f"{name} is a link, which is not followed", "write it plainly")
            place = place[step]
        if not isinstance(place, self._h5py.Dataset):
            raise unusable(self._path, f"{name} is not a dataset", _ADVICE)
        return place
