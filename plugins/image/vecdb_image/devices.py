"""Which device a network runs on, for onnxruntime and for torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vecdb import EmbedderUnavailableError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}


def onnx_providers(device: str, available: Sequence[str]) -> list[Any]:
    """The providers of onnxruntime for a device: "auto", "cpu", "cuda", "cuda:N" or "mps" (CoreML).

    "auto" is CUDA where there is one, else the processor: CoreML runs only a part of many networks.

    Raises:
        EmbedderUnavailableError: this onnxruntime has no such provider.
    """
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    provider = _PROVIDERS[kind]
    if provider not in available:
        there = ", ".join(name for name, other in _PROVIDERS.items() if other in available)
        advice = "pip install onnxruntime-gpu, or " if kind == "cuda" else ""
        raise EmbedderUnavailableError(
            f"device={device!r}: this onnxruntime has no {provider}, only {there}; {advice}take another device"
        )
    return [(provider, {"device_id": int(number)}) if number else provider, *([_PROVIDERS["cpu"]] * (kind != "cpu"))]


def torch_device(device: str, torch: Any) -> str:
    """The name of torch's device.

    Raises:
        EmbedderUnavailableError: there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(f"cuda:{number}" for number in range(count)), *(["mps"] * torch.backends.mps.is_available())]
    if device == "auto":
        return "cuda" if count else there[-1]
    if (f"{device}:0" if device == "cuda" else device) not in there:
        raise EmbedderUnavailableError(
            f"device={device!r}: torch finds only {', '.join(there)}; take one of these, or install another torch"
        )
    return device
