"""`elmo` with files that are missing, damaged, or made to do harm."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.text import elmo_models
from vecdb import Embedder, EmbedderUnavailableError
from vecdb_text import vecdb_register_embedders
from vecdb_text.elmo.embedder import ElmoEmbedder

h5py = pytest.importorskip("h5py")

INFO = next(info for info in vecdb_register_embedders() if info.name == "elmo")
CELL = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_0"


def embedder(model: Path, **options: Any) -> Embedder:
    made = INFO.create(INFO.configure({"model": model, **options}))
    made.load()
    return made


def in_file(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change the weights file of a good model."""

    def apply(folder: Path) -> None:
        with h5py.File(folder / "small_weights.hdf5", "r+") as file:
            change(file)

    return apply


def replaced(name: str, **how: Any) -> Callable[[Path], None]:
    """Write one dataset in another way."""

    def change(file: Any) -> None:
        values = file[name][...]
        del file[name]
        file.create_dataset(name, **{"data": values, **how})

    return in_file(change)


def linked(link: Callable[[], Any], name: str = CELL) -> Callable[[Path], None]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = link()

    return in_file(change)


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(6,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "secret", shape=(6,))
    del file["CNN_proj/b_proj"]
    file.create_virtual_dataset("CNN_proj/b_proj", layout)


def external(file: Any) -> None:
    del file["CNN_proj/b_proj"]
    file.create_dataset("CNN_proj/b_proj", (6,), "f4", external=[("secret.bin", 0, 24)])


def in_options(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "small_options.json").write_text(json.dumps(elmo_models.options(**changes)))

    return apply


def text(content: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "small_options.json").write_text(content)

    return apply


PLAINLY = "is a link, which is not followed; write it plainly"
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "huge layers": (in_options(n_layers=10**9), "n_layers is 1000000000, not from 1 to 9"),
    "huge cells": (in_options(dim=10**12), "dim is 1000000000000, not from 1 to 65536"),
    "large cells": (in_options(dim=65_536), r"W_0 is float32 of shape \(12, 40\), not float32 of \(12, 262144\)"),
    "no layers": (in_options(n_layers=0), "n_layers is 0"),
    "true layers": (in_options(n_layers=True), "n_layers is True"),
    "more layers": (in_options(n_layers=3), "Cell2/LSTMCell/W_0 is missing"),
    "wider": (in_options(projection_dim=7), r"CNN_proj/W_proj is float32 of shape \(16, 6\), not float32 of \(16, 7\)"),
    "wide filter": (in_options(filters=[[30, 4]]), "a filter is .*, not .width, number."),
    "filters": (in_options(filters=[]), "filters must be a list"),
    "many filters": (in_options(filters=[[1, 4]] * 65), "filters must be a list"),
    "activation": (in_options(activation="gelu"), "activation is 'gelu'"),
    "characters": (in_options(n_characters=500), "n_characters is 500"),
    "clip": (in_options(cell_clip="3"), "cell_clip is 3, not a positive number"),
    "negative clip": (in_options(proj_clip=-1), "proj_clip is -1, not a positive number"),
    "no lstm": (text('{"char_cnn": {}}'), "has no part 'lstm'"),
    "list": (text("[]"), "has no part 'char_cnn'"),
    "not json": (text("{"), "is not JSON"),
    "deep json": (text("[" * 200_000), "is not JSON"),
    "large json": (text(" " * (1 << 20) + "{}"), "far too large for an options file"),
    "missing": (in_file(lambda file: file.__delitem__(CELL)), "the dataset .*Cell0/LSTMCell/W_0 is missing"),
    "group": (linked(lambda: np.zeros(3), "CNN_proj"), "the dataset CNN_proj/W_proj is missing"),
    "dataset": (
        in_file(lambda file: (file.__delitem__(CELL), file.create_group(CELL))),
        "W_0 is not a dataset",
    ),
    "shape": (replaced("CNN/b_cnn_1", data=np.zeros(6, "f4")), r"b_cnn_1 is float32 of shape \(6,\), not"),
    "integers": (replaced("CNN/b_cnn_1", data=np.zeros(5, "i4")), "b_cnn_1 is int32"),
    "nan": (replaced("char_embed", data=np.full((261, 4), np.nan, "f4")), "char_embed holds NaN"),
    "overflow": (replaced("char_embed", data=np.full((261, 4), 1e300)), "char_embed .*(NaN|overflow)"),
    "strings": (replaced("CNN/b_cnn_1", data=[b"a"] * 5), "b_cnn_1 is .* of shape"),
    "compressed": (replaced("char_embed", compression="gzip"), "is compressed, or its values are not in this file"),
    "unwritten": (replaced("char_embed", data=None, shape=(261, 4), dtype="f4"), "is compressed, or its values"),
    "external link": (linked(lambda: h5py.ExternalLink("other.hdf5", "secret")), PLAINLY),
    "soft link": (linked(lambda: h5py.SoftLink("/char_embed")), PLAINLY),
    "group link": (linked(lambda: h5py.ExternalLink("other.hdf5", "/"), "CNN_proj"), PLAINLY),
    "external values": (in_file(external), "its values are not in this file; write it plainly"),
    "virtual": (in_file(virtual), "its values are not in this file; write it plainly"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_named_with_what_to_do(tmp_path: Path, case: str) -> None:
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["secret"] = np.zeros(6, "f4")
        other["W_proj"] = np.zeros((16, 6), "f4")
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    folder = elmo_models.write_model(tmp_path / "model")
    embedder(folder).close()
    change, message = BROKEN[case]
    change(folder)
    with pytest.raises(EmbedderUnavailableError, match=message) as caught:
        embedder(folder)
    assert str(folder) in str(caught.value)
    assert "; " in str(caught.value)


def test_files_that_are_not_there_or_not_one(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailableError, match=r"one file \*options.json is needed, found nothing; name"):
        embedder(tmp_path)
    with pytest.raises(EmbedderUnavailableError, match="there is no such file or folder"):
        embedder(tmp_path / "absent_options.json")
    elmo_models.write_model(tmp_path)
    (tmp_path / "other_weights.hdf5").write_bytes(b"")
    with pytest.raises(EmbedderUnavailableError, match=r"found other_weights.hdf5, small_weights.hdf5; name the"):
        embedder(tmp_path / "small_options.json")
    made = embedder(tmp_path / "small_options.json", weights=tmp_path / "small_weights.hdf5")
    assert made.weights() == (tmp_path / "small_options.json", tmp_path / "small_weights.hdf5")
    with pytest.raises(EmbedderUnavailableError, match="there is no such file"):
        embedder(tmp_path, weights=tmp_path / "absent.hdf5")


def test_a_pickle_in_disguise_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "trapped",)

    folder = elmo_models.write_model(tmp_path)
    for name in ("small_weights.hdf5", "small_options.json"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(EmbedderUnavailableError):
            embedder(folder)
    assert not (tmp_path / "trapped").exists()


def test_no_cut_crashes(tmp_path: Path) -> None:
    folder = elmo_models.write_model(tmp_path)
    for name, step in (("small_weights.hdf5", 997), ("small_options.json", 13)):
        path = folder / name
        whole = path.read_bytes()
        for length in range(0, len(whole), step):
            path.write_bytes(whole[:length])
            with pytest.raises(EmbedderUnavailableError):
                embedder(folder)
        path.write_bytes(whole)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = elmo_models.write_model(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    made = ElmoEmbedder(INFO.configure({"model": folder}))
    with pytest.raises(EmbedderUnavailableError, match=r"need h5py: pip install 'vecdb-engine\[elmo\]'$") as caught:
        made.load()
    assert caught.value.missing == ("h5py",)


def test_devices_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = elmo_models.write_model(tmp_path)
    torch = pytest.importorskip("torch")
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(EmbedderUnavailableError, match=f"device='{absent}' is not there; use one of cpu"):
        embedder(folder, device=absent)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EmbedderUnavailableError, match="device='cuda' needs torch: pip install torch, or use"):
        embedder(folder, device="cuda")
