"""Check a `.ckpt` before anything is built from it: it may come from anyone, and refusing it must cost nothing.

This module imports torch only inside the functions that need it.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from gender_recognizer.models.model_info import METADATA_KEY

OTHER_VERSION = "'{}' holds a {} of another version of gender_recognizer; train it again, or label with its .onnx file"
_LARGEST = 1024
"""Largest number accepted in the arguments of a network that cannot be built without memory."""

NO_CODE = "'{}' is refused: it is not a plain checkpoint, and loading it could run code it contains"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint: plain values and tensors, with `hyper_parameters` and `state_dict`.

    Raises:
        ValueError: the file is not a checkpoint of this package, would run code, or unpacks to more than its size.
    """
    import torch

    _check_container(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(NO_CODE.format(path)) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may raise any exception
        raise ValueError(f"'{path}' is not a checkpoint: reading it failed with {type(error).__name__}") from None
    if not isinstance(checkpoint, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise ValueError(f"'{path}' is not a checkpoint of gender_recognizer: no hyper_parameters and state_dict")
    for part in ("hyper_parameters", "state_dict", METADATA_KEY):
        content = checkpoint.get(part, {})
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise ValueError(f"'{path}' is not a checkpoint of gender_recognizer: its {part} are not named values")
    _check_weights(checkpoint["state_dict"], path)
    return checkpoint


def _check_container(path: Path) -> None:
    """Refuse a file that is not an archive, or unpacks to more than its size: torch stores, it never compresses."""
    with path.open("rb") as file:
        head = file.read(1)
    if head == pickle.PROTO:
        raise ValueError(NO_CODE.format(path))
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        raise ValueError(f"'{path}' is not a checkpoint, or is only part of one") from None
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError(f"'{path}' is refused: it unpacks to more than its size, which no checkpoint does")


def _check_weights(weights: dict[str, Any], path: Path) -> None:
    """Refuse weights that are not tensors of numbers, take more memory than was stored, or are not finite."""
    import torch

    for name, value in weights.items():
        shown = ascii(name)[:100]
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_complex():
            raise ValueError(f"'{path}' is not a checkpoint of gender_recognizer: {shown} is not an array of numbers")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"'{path}' is refused: {shown} is larger than what the file stores for it")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"'{path}' holds numbers that are not finite in {shown}: it cannot label; train it again")


def check_network(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return name and arguments of a checkpoint's network, changed so that building it downloads no weights.

    It is built without memory first, and must have the weights in the file: arguments alone could ask for any size.

    Raises:
        ValueError: there is no such network, or the weights belong to another one.
    """
    import torch

    from gender_recognizer.models.networks import build_network

    settings = checkpoint["hyper_parameters"]
    network, classes = settings.get("network"), settings["classes"]
    if not isinstance(network, dict) or not isinstance(network.get("name"), str):
        raise ValueError(f"'{path}' is not a checkpoint of gender_recognizer: it does not name its network")
    network = network | ({"pretrained": False} if "pretrained" in network else {})  # its weights are here
    try:
        with torch.device("meta"):
            built = build_network(num_classes=len(classes), **network)
    except NotImplementedError:  # RegNets compute their widths while they are built: only loading can try them
        _check_arguments(network, path)
        return network
    except Exception as error:  # wrong arguments may raise any exception
        reason = ascii(str(error)[:200])[1:-1]
        raise ValueError(f"'{path}' holds a network that cannot be built: {reason}") from None
    weights = {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
    try:
        shapes = {name: value.shape for name, value in built.rename_weights(weights).items()}
    except (KeyError, RuntimeError):  # parts that were joined since do not fit together
        shapes = {}
    if any(shapes.get(name) != value.shape for name, value in built.state_dict().items()):
        raise ValueError(OTHER_VERSION.format(path, network["name"]))
    return network


def _check_arguments(network: dict[str, Any], path: Path) -> None:
    """Refuse arguments that could ask for any size; a network without arguments has a known size."""
    for name, value in network.items():
        small = isinstance(value, bool | None) or (isinstance(value, int | float) and abs(value) <= _LARGEST)
        if name != "name" and not small:
            raise ValueError(f"'{path}' is refused: its network has {ascii(name)[:50]}={ascii(value)[:50]}")


def teacher_features(checkpoint: dict[str, Any]) -> int:
    """Return how many features of teachers a checkpoint's weights predict; 0 where none taught it."""
    weights = checkpoint["state_dict"]
    layers = [weights[name] for name in ("teacher_layer.weight", "telling.weight") if name in weights]
    return layers[0].shape[0] if layers and layers[0].ndim == 2 else 0
