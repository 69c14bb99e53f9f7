"""Files that torch wrote, agreement with torch, and pickles that may not run."""

from __future__ import annotations

import os
import pickle
import sys

import numpy as np
import pytest

from tests.plugins.tables.tables import embed, loaded, npy
from vecdb import EmbedderUnavailableError

torch = pytest.importorskip("torch")

IDS = [3, 17, 42, 42, 0]
TEXT = str(IDS)


class Model(torch.nn.Module):
    """A table among other layers."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 8, padding_idx=0)
        self.output = torch.nn.Linear(8, 50)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model()


def rows_of_torch(table, ids=IDS):
    with torch.no_grad():
        return table(torch.tensor(ids)).float().numpy()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_rows_are_exactly_those_of_torch(tmp_path, model, dtype, new):
    path = tmp_path / "model.pt"
    converted = Model().to(dtype)
    converted.load_state_dict(model.state_dict())
    torch.save(converted.state_dict(), path, _use_new_zipfile_serialization=new)
    embedder = loaded(model=path)
    found = embedder.encode([embedder.prepare(str(row)) for row in IDS], "document")
    assert (found == rows_of_torch(converted.embedding)).all()


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
@pytest.mark.parametrize("padding", [None, 0])
def test_pooling_is_that_of_embedding_bag(tmp_path, model, pooling, padding):
    weight = model.embedding.weight.detach()
    bag = torch.nn.EmbeddingBag.from_pretrained(weight, mode=pooling, padding_idx=padding)
    expected = bag(torch.tensor([IDS])).numpy()[0]
    options = {} if padding is None else {"padding_idx": padding}
    found = embed(TEXT, model=npy(tmp_path, weight.numpy()), pooling=pooling, **options)
    assert np.abs(found - expected).max() < 1e-6


def test_safetensors_that_the_library_wrote(tmp_path, model):
    library = pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    library.save_file({name: value.bfloat16() for name, value in model.state_dict().items()}, path)
    expected = model.embedding.weight.detach().bfloat16().float().numpy()
    assert (embed("17", model=path) == expected[17]).all()


@pytest.mark.parametrize("wrap", [{"epoch": 3}, None], ids=["checkpoint", "tensor alone"])
def test_checkpoints_and_lone_tensors(tmp_path, model, wrap):
    weight = model.embedding.weight
    torch.save(weight if wrap is None else {**wrap, "state_dict": {"emb.weight": weight}}, tmp_path / "c.pt")
    assert (embed("17", model=tmp_path / "c.pt") == weight.detach().numpy()[17]).all()


def refused(path, message):
    with pytest.raises(EmbedderUnavailableError, match=message) as caught:
        embed("1", model=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("whole", [torch.nn.Embedding(3, 2), Model()], ids=["torch's own", "own class"])
def test_a_whole_model_is_refused_with_advice(tmp_path, whole, new):
    torch.save(whole, tmp_path / "model.pt", _use_new_zipfile_serialization=new)
    refused(tmp_path / "model.pt", r"was refused.*torch\.save\(model\.state_dict\(\), FILE\)$")


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("how", ["torch.save", "torch.save before 1.6", "bare pickle"])
def test_a_hostile_pickle_does_not_run(tmp_path, how, protocol):
    path, trap = tmp_path / "weights.pt", tmp_path / "it ran"
    payload = {"emb.weight": Hostile(trap)}
    if how == "bare pickle":
        path.write_bytes(pickle.dumps(payload, protocol))
    else:
        torch.save(payload, path, pickle_protocol=protocol, _use_new_zipfile_serialization=how == "torch.save")
    refused(path, "was refused; nothing of it was run; do not trust the file")
    assert not trap.exists()
    pickle.loads(pickle.dumps(payload))
    assert trap.exists(), "the trap works"


def test_files_of_torch_that_are_cut_off(tmp_path, model):
    for new in (True, False):
        path = tmp_path / "model.pt"
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=new)
        path.write_bytes(path.read_bytes()[:-200])
        refused(path, "is damaged or cut off")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "holds no tensors"),
        ([1, 2], "holds no tensors"),
        (torch.zeros(3), "is 3 float32, not a table"),
        (torch.zeros(3, 2).to_sparse(), "sparse_coo"),
        (torch.zeros(3, 2, dtype=torch.int32), "of type int32"),
        (torch.zeros(3, 2, device="meta"), "meta"),
    ],
    ids=["no tensor", "list", "1-d", "sparse", "integers", "meta"],
)
def test_contents_without_a_table(tmp_path, content, message):
    torch.save(content, tmp_path / "c.pt")
    refused(tmp_path / "c.pt", message)


def test_without_torch_the_error_says_what_to_do(tmp_path, model, monkeypatch):
    torch.save(model.state_dict(), tmp_path / "model.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(tmp_path / "model.pt", r"pip install torch, or store the table as safetensors or \.npy")


def test_an_old_torch_is_not_trusted(tmp_path, model, monkeypatch):
    torch.save(model.state_dict(), tmp_path / "model.pt")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    refused(tmp_path / "model.pt", r"pip install 'torch>=2\.6'")
