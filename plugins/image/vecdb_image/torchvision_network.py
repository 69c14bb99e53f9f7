"""Networks of torchvision by name: the only code that touches torch and torchvision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vecdb import EmbedderUnavailableError, InvalidInputError, VecdbError
from vecdb_image.config import CnnConfig
from vecdb_image.devices import torch_device
from vecdb_image.network import pooled
from vecdb_image.preprocessing import Floats, Preprocessing

_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, of torch.compile, of training frameworks
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_AUXILIARY = ("aux", "AuxLogits")  # side classifiers of GoogLeNet and Inception, used in training only
_SCALES_ITS_INPUT = {"googlenet", "inception_v3"}  # with the weights of torchvision, which came from TensorFlow
_FEW = 3


def torchvision_files(name: str, checkpoint: Path | None, weights: str) -> list[Path]:
    """The one file whose content decides the vectors: the checkpoint, or torchvision's, fetched if it is not there yet.

    Raises:
        EmbedderUnavailableError: no torchvision, no such model or weights, or they cannot be fetched.
    """
    return [checkpoint] if checkpoint is not None else [_fetched(name, weights)]


class TorchvisionNetwork:
    """An architecture of torchvision with its classifier taken off; see `Network`.

    Raises:
        EmbedderUnavailableError: torch or torchvision is missing or they do not fit each other; no such
            model; the checkpoint is missing, damaged, not a state dict, or of another architecture.
        InvalidInputError: no such layer.
    """

    def __init__(self, name: str, config: CnnConfig) -> None:
        torch, models = _libraries()
        self._torch = torch
        self.preprocessing = _preprocessing(_weights(models, name, config.weights)).with_options(config)
        self._device = torch_device(config.device, torch)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        [path] = torchvision_files(name, config.checkpoint, config.weights)
        model = _empty(torch, models, name)
        head = _classifier(torch, model)
        _fill(model, _state(torch, path), head, f"{path} does not fit torchvision's {name}")
        model.eval().requires_grad_(False)
        if config.layer is None:
            model.set_submodule(head, torch.nn.Identity())
        else:
            model = _up_to(model, config.layer)
        self._model = model.to(self._device).to(memory_format=torch.channels_last)
        height, width = self.preprocessing.input_size
        with _mapped_errors(f"{name} cannot be run on {height} x {width} pixels"):
            self.dimension = int(self.features(np.zeros((1, 3, height, width), np.float32)).shape[1])

    def features(self, pixels: Floats) -> Floats:
        """See `Network`."""
        torch = self._torch
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self._device).contiguous(memory_format=torch.channels_last)
            values = self._model(batch)
            if isinstance(values, Mapping):
                [values] = values.values()
            return pooled(values.float().cpu().numpy())


# --- torchvision --------------------------------------------------------------------------------


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EmbedderUnavailableError(
            f"torch cannot be imported ({error}): pip install torch torchvision, or give an ONNX file as model",
            missing=["torch", "torchvision"],
        ) from error
    try:
        from torchvision import models
    except ImportError as error:
        raise EmbedderUnavailableError(
            f"torchvision cannot be imported ({error}): pip install torchvision, or give an ONNX file as model",
            missing=["torchvision"],
        ) from error
    except Exception as error:  # its operators are missing where it was built for another torch
        raise EmbedderUnavailableError(
            f"torchvision does not fit the installed torch {torch.__version__} ({error}); install both anew from one "
            "package index, or give an ONNX file as model",
            missing=["torchvision"],
        ) from error
    return torch, models


def _weights(models: Any, name: str, weights: str) -> Any:
    """Torchvision's description of pretrained weights: where they are, and the preprocessing they need."""
    if name not in models.list_models(module=models):
        import difflib

        near = difflib.get_close_matches(name, models.list_models(module=models), _FEW)
        advice = f"did you mean {', '.join(near)}?" if near else "see torchvision.models.list_models()"
        raise EmbedderUnavailableError(f"{name!r} is neither a file nor an image model of torchvision; {advice}")
    known = models.get_model_weights(name)
    if weights not in known.__members__:
        raise EmbedderUnavailableError(
            f"torchvision has no weights {weights!r} for {name}; weights is one of {', '.join(known.__members__)}"
        )
    return known[weights]


def _fetched(name: str, weights: str) -> Path:
    torch, models = _libraries()
    url = _weights(models, name, weights).url
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(url).path).name)
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            start_of_hash = file.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(file), start_of_hash, progress=False)
        except (OSError, RuntimeError) as error:  # RuntimeError: the content is not what its name says
            raise EmbedderUnavailableError(
                f"the weights {weights} of {name} are not at {file} and cannot be downloaded ({error}); put the file "
                f"{file.name} there, or give the option checkpoint",
                missing=[str(file)],
            ) from error
    return file


def _preprocessing(weights: Any) -> Preprocessing:
    said = weights.transforms()
    mean, std = (tuple(float(number) * 255 for number in numbers) for numbers in (said.mean, said.std))
    [side] = said.crop_size
    [shorter_side] = said.resize_size
    return Preprocessing(
        size=(side, side),
        resize=shorter_side,
        interpolation=said.interpolation.value,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
    )


def _empty(torch: Any, models: Any, name: str) -> Any:
    """The network before it has its weights; the random ones that it begins with leave torch's random state alone."""
    options = {"init_weights": False, "transform_input": True} if name in _SCALES_ITS_INPUT else {}
    with torch.random.fork_rng(devices=[]), _mapped_errors(f"torchvision cannot make {name}"):
        return models.get_model(name, weights=None, **options)


def _classifier(torch: Any, model: Any) -> str:
    """The name of the last layer with weights."""
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    names = [name for name, module in model.named_modules() if isinstance(module, layers)]
    return str([name for name in names if not name.startswith(_AUXILIARY)][-1])


def _up_to(model: Any, layer: str) -> Any:
    """The network up to a node or module."""
    from torchvision.models import feature_extraction

    try:
        return feature_extraction.create_feature_extractor(model, {layer: "features"}, suppress_diff_warning=True)
    except ValueError as error:
        modules = [name for name, _ in model.named_modules() if name and name.count(".") < 2]
        raise InvalidInputError(
            f"the model has no layer {layer!r}; name one of {', '.join(modules)}, or a node of "
            "torchvision.models.feature_extraction.get_graph_node_names(MODEL)"
        ) from error


# --- weights ------------------------------------------------------------------------------------


def _state(torch: Any, path: Path) -> dict[str, Any]:
    """The tensors of a state dict by name.

    Raises:
        EmbedderUnavailableError: no such file, damaged, or a pickle of anything but tensors.
    """
    if not path.is_file():
        raise EmbedderUnavailableError(f"there is no file {path}; put the checkpoint there", missing=[str(path)])
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            stored: Any = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip files, pickles and tensors are damaged in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EmbedderUnavailableError(
            f"{path} is not a state dict of tensors, or is damaged ({reason}); nothing in it was run; save it anew "
            "with torch.save(model.state_dict(), FILE)"
        ) from error
    for key in _WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]  # what a training script kept beside it does not matter
    if not isinstance(stored, Mapping) or not stored or not all(torch.is_tensor(value) for value in stored.values()):
        raise EmbedderUnavailableError(
            f"{path} holds other things than tensors by name; save it anew with torch.save(model.state_dict(), FILE)"
        )
    state = {str(name): value.float() if value.is_floating_point() else value for name, value in stored.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _fill(model: Any, state: dict[str, Any], head: str, problem: str) -> None:
    """Give the network its weights. The classifier's own may have any shape, or be absent.

    Raises:
        EmbedderUnavailableError: anything else is missing, unknown or of another shape.
    """
    optional = (f"{head}.", *_AUXILIARY)
    expected = model.state_dict()
    fitting = {name: state[name] for name in expected if name in state and state[name].shape == expected[name].shape}
    faults = [
        f"{name} of {list(state[name].shape)}, not {list(expected[name].shape)}" if name in state else f"no {name}"
        for name in expected
        if name not in fitting and not name.startswith(optional) and not name.endswith("num_batches_tracked")
    ]
    faults += [f"unknown {name}" for name in state if name not in expected and not name.startswith(optional)]
    if faults:
        more = f" and {len(faults) - _FEW} more" if len(faults) > _FEW else ""
        raise EmbedderUnavailableError(
            f"{problem} ({'; '.join(faults[:_FEW])}{more}); give the model that it was trained as"
        )
    model.load_state_dict(fitting, strict=False)


@contextlib.contextmanager
def _mapped_errors(problem: str) -> Iterator[None]:
    try:
        yield
    except (VecdbError, MemoryError):
        raise
    except Exception as error:  # torch and torchvision raise what they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EmbedderUnavailableError(f"{problem} ({reason}); check the options model, layer and size") from error
