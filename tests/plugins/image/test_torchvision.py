"""Architectures of torchvision by name, against torchvision itself; and what is said where it does not import."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import vecdb
from tests.plugins.image.networks import INFO, cosine, embedder
from tests.plugins.image.pictures import item, scene

try:
    import torch
    from torchvision import models
except Exception as error:  # missing, or built for another torch
    _WHY = str(error)
else:
    _WHY = ""
needs_torchvision = pytest.mark.skipif(bool(_WHY), reason=f"torchvision cannot be imported: {_WHY}")

NAMES = ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "efficientnet_b0", "googlenet")
PICTURES = [scene(1, 300, 200), scene(2, 210, 333)]


def network(name: str, labels: int = 1000):
    """A random network of torchvision, with statistics of the batch norms that are not the defaults."""
    torch.manual_seed(0)
    options = {"transform_input": True, "init_weights": False} if name == "googlenet" else {}
    made = models.get_model(name, weights=None, num_classes=labels, **options).eval()
    for key, value in made.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
    return made


def checkpoint(name: str, folder, wrap=lambda state: state, labels: int = 1000):
    path = folder / f"{name}.pth"
    torch.save(wrap(network(name, labels).state_dict()), path)
    return path


def torchvisions_own(made, name: str) -> np.ndarray:
    """What goes into the last weighted layer, prepared and run by torchvision."""
    seen = []
    layers = [layer for layer in made.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)]
    last = made.fc if name == "googlenet" else layers[-1]
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    prepared = models.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        made(torch.stack([prepared(picture) for picture in PICTURES]))
    [values] = seen
    return (values.mean(dim=(2, 3)) if values.ndim == 4 else values).numpy()


def features(made) -> np.ndarray:
    return made.encode([made.prepare(item(picture)) for picture in PICTURES], "document")


@needs_torchvision
@pytest.mark.parametrize("name", NAMES)
def test_the_features_are_torchvisions_own(name, tmp_path):
    state = torch.random.get_rng_state()
    path = checkpoint(name, tmp_path)
    torch.random.set_rng_state(state)
    made = embedder(name, checkpoint=path)
    assert torch.equal(torch.random.get_rng_state(), state)
    expected = torchvisions_own(network(name), name)
    found = features(made)
    assert found.shape == (2, made.dimension) == expected.shape
    assert min(map(cosine, found, expected)) > 0.9999
    assert list(made.weights()) == [path]


@needs_torchvision
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if not name.startswith("fc.")},
        lambda state: {**{n: v for n, v in state.items() if n[:3] != "fc."}, "fc.1.weight": torch.zeros(7, 512)},
        lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    ],
    ids=["wrapped", "parallel", "headless", "other-head", "old"],
)
def test_checkpoints_as_training_scripts_save_them(wrap, tmp_path):
    plain = features(embedder("resnet18", checkpoint=checkpoint("resnet18", tmp_path)))
    found = features(embedder("resnet18", checkpoint=checkpoint("resnet18", tmp_path, wrap)))
    assert found == pytest.approx(plain, abs=1e-5)


@needs_torchvision
def test_another_number_of_classes_and_safetensors(tmp_path):
    from safetensors.torch import save_file

    found = features(embedder("resnet18", checkpoint=checkpoint("resnet18", tmp_path, labels=7)))
    save_file(network("resnet18", 7).state_dict(), tmp_path / "tuned.safetensors")
    assert features(embedder("resnet18", checkpoint=tmp_path / "tuned.safetensors")) == pytest.approx(found, abs=1e-6)


@needs_torchvision
@pytest.mark.parametrize(("layer", "width"), [("layer3", 256), ("avgpool", 512), ("layer4.1.bn2", 512)])
def test_another_layer(layer, width, tmp_path):
    assert embedder("resnet18", checkpoint=checkpoint("resnet18", tmp_path), layer=layer).dimension == width


@needs_torchvision
def test_an_unknown_layer(tmp_path):
    with pytest.raises(vecdb.InvalidInputError, match=r"no layer 'layer9'; name one of .*layer4"):
        embedder("resnet18", checkpoint=checkpoint("resnet18", tmp_path), layer="layer9")


@needs_torchvision
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "resnet19"}, "neither a file nor an image model of torchvision; did you mean .*resnet18"),
        ({"model": "resnet18", "weights": "IMAGENET9"}, "no weights 'IMAGENET9' .* one of IMAGENET1K_V1, DEFAULT"),
        ({"model": "resnet18", "checkpoint": "none.pth"}, "there is no file none.pth"),
        ({"model": "resnet18", "device": "cuda:63"}, "torch finds only cpu"),
    ],
)
def test_what_does_not_exist(options, words):
    with pytest.raises(vecdb.EmbedderUnavailableError, match=words):
        embedder(**options)


@needs_torchvision
def test_a_checkpoint_of_another_architecture(tmp_path):
    path = checkpoint("resnet18", tmp_path)
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"fit torchvision's resnet34 \(no layer1.2.conv1"):
        embedder("resnet34", checkpoint=path)
    other = checkpoint("resnet18", tmp_path, lambda state: {**state, "conv1.weight": torch.zeros(64, 1, 7, 7)})
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"conv1.weight of \[64, 1, 7, 7\], not \[64, 3, 7, 7\]"):
        embedder("resnet18", checkpoint=other)


@needs_torchvision
def test_a_pickle_in_disguise_is_not_run(tmp_path):
    ran = tmp_path / "ran"
    path = tmp_path / "evil.pth"
    path.write_bytes(b"cposix\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR.")
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"not a state dict of tensors.*nothing in it was run"):
        embedder("resnet18", checkpoint=path)
    assert not ran.exists()
    whole = checkpoint("resnet18", tmp_path)
    whole.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(vecdb.EmbedderUnavailableError, match="or is damaged"):
        embedder("resnet18", checkpoint=whole)
    torch.save({"epoch": 3}, path)
    with pytest.raises(vecdb.EmbedderUnavailableError, match="other things than tensors by name"):
        embedder("resnet18", checkpoint=path)


@needs_torchvision
def test_weights_by_name_without_a_network(tmp_path, monkeypatch):
    import urllib.error

    def no_network(*args, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    words = r"the weights DEFAULT of resnet18 are not at .*resnet18-\w+.pth .*put the file resnet18-\w+.pth there"
    with pytest.raises(vecdb.EmbedderUnavailableError, match=words):
        embedder("resnet18")
    [file] = [models.get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]]
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    checkpoint("resnet18", tmp_path).rename(tmp_path / "checkpoints" / file)
    assert embedder("resnet18").dimension == 512
    assert list(INFO.create(INFO.configure({"model": "resnet18"})).weights()) == [tmp_path / "checkpoints" / file]


def test_without_torchvision_an_onnx_file_is_advised(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(vecdb.EmbedderUnavailableError, match="or give an ONNX file as model"):
        embedder("resnet18", checkpoint="resnet18.pth")


def test_a_torchvision_for_another_torch_is_told(monkeypatch):
    pytest.importorskip("torch")

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(vecdb.EmbedderUnavailableError, match=r"fit the installed torch .*nms.*one package index"):
        embedder("resnet18", checkpoint="resnet18.pth")
