"""On which device onnxruntime runs a graph, for every embedder here that has one."""

from __future__ import annotations

from typing import Any

from vecdb import EmbedderUnavailableError

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider", "cpu": "CPUExecutionProvider"}


def choose_providers(onnxruntime: Any, device: str) -> list[Any]:
    """What onnxruntime calls a device: "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:N", "mps".

    Raises:
        EmbedderUnavailableError: this onnxruntime has no such device.
    """
    there = onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if _PROVIDERS["cuda"] in there else "cpu"
    if _PROVIDERS[kind] not in there:
        raise _no_device(onnxruntime, device, "this onnxruntime is built without it")
    if kind == "cpu":
        return [_PROVIDERS["cpu"]]
    return [(_PROVIDERS[kind], {"device_id": number} if number else {}), _PROVIDERS["cpu"]]


def on_cpu(providers: list[Any]) -> bool:
    """Whether these are the CPU's alone."""
    return providers == [_PROVIDERS["cpu"]]


def require_started(onnxruntime: Any, session: Any, providers: list[Any], device: str) -> None:
    """Refuse a session that runs elsewhere than it was asked to: onnxruntime falls back to the CPU by itself.

    With "auto" it may: a build for CUDA offers it on machines without a GPU, too.

    Raises:
        EmbedderUnavailableError: the device did not start.
    """
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if device != "auto" and wanted not in session.get_providers():
        raise _no_device(onnxruntime, device, "it is installed, but does not start (driver, CUDA or cuDNN missing)")


def _no_device(onnxruntime: Any, device: str, reason: str) -> EmbedderUnavailableError:
    there = ", ".join(onnxruntime.get_available_providers())
    return EmbedderUnavailableError(
        f"device={device!r} is not there for onnxruntime, so it cannot be used: {reason}. It has {there}; "
        "choose device=cpu, or install onnxruntime-gpu in place of onnxruntime"
    )
