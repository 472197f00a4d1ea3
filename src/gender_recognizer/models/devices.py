"""Where a model runs: on the processor, or on what torch or ONNX Runtime reach besides it."""

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from gender_recognizer.models.model_file import checkpoint_beside
from gender_recognizer.models.settings import check_device

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""What ONNX Runtime calls the devices that it may reach, if its package for them is installed."""

OF_TORCH = ("cuda", "mps")


class ChosenModel(NamedTuple):
    """The file and the device that a model runs with, and the reason."""

    path: Path
    device: str
    why: str


def choose_device(path: Path, device: str = "auto") -> ChosenModel:
    """Return where a model runs best, or the device that is asked for.

    `auto` takes an NVIDIA GPU where there is one, for an `.onnx` file only with onnxruntime-gpu. When a device of
    torch is asked for and ONNX Runtime does not reach it, the `.ckpt` of the same name beside an `.onnx` file runs.

    Args:
        path: an `.onnx` or `.ckpt` file.
        device: one of `settings.DEVICES`.

    Raises:
        ValueError: the device is unknown, or cannot be reached.
    """
    check_device(device)
    if device == "cpu":
        return ChosenModel(path, "cpu", "asked for")
    if path.suffix != ".onnx":
        return _choose_of_torch(path, device)
    if device == "auto":
        return _choose_for_onnx(path)
    if PROVIDERS.get(device) in installed_providers():
        return ChosenModel(path, device, "asked for, with ONNX Runtime")
    twin = checkpoint_beside(path)
    if device in OF_TORCH and twin.is_file():
        return _choose_of_torch(twin, device)
    remedy = "install its onnxruntime, or give a .ckpt" if device in OF_TORCH else "install its onnxruntime"
    raise ValueError(f"device is '{device}', which the installed onnxruntime does not reach for '{path}'; {remedy}")


def _choose_for_onnx(path: Path) -> ChosenModel:
    if not is_installed("onnxruntime-gpu"):
        return ChosenModel(path, "cpu", "onnxruntime-gpu is not installed")
    if not has_nvidia_driver():
        return ChosenModel(path, "cpu", "there is no driver of an NVIDIA GPU")
    return ChosenModel(path, "cuda", "onnxruntime-gpu is installed")


def _choose_of_torch(path: Path, device: str) -> ChosenModel:
    if device not in ("auto", *OF_TORCH):
        raise ValueError(f"device is '{device}', which runs .onnx files; '{path}' is for torch")
    import torch

    if device == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device is 'mps', but torch finds no usable Apple GPU; use device=cpu")
        return ChosenModel(path, "mps", "asked for")
    if torch.cuda.is_available():
        return ChosenModel(path, "cuda", torch.cuda.get_device_name())
    if device == "cuda":
        raise ValueError("device is 'cuda', but torch finds no usable GPU; use device=cpu")
    return ChosenModel(path, "cpu", "torch finds no usable GPU")


def installed_providers() -> list[str]:
    """Return the names of what the installed ONNX Runtime was built for."""
    import onnxruntime

    return onnxruntime.get_available_providers()


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without importing it."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def has_nvidia_driver() -> bool:
    """Return whether the driver of NVIDIA GPUs is installed, without starting it: that must not precede a fork."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
