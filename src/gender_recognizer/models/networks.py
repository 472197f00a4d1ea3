"""The registry of networks: a name and options from a configuration become a network."""

import inspect
from collections.abc import Callable
from typing import Any

from gender_recognizer.models.base import FaceNetwork
from gender_recognizer.models.face_resnet import FaceResNet
from gender_recognizer.models.faceres import FaceRes
from gender_recognizer.models.smallcnn import SmallCNN
from gender_recognizer.models.torchvision_network import TorchvisionNetwork, known_names

NETWORKS: dict[str, Callable[..., FaceNetwork]] = {
    "smallcnn": SmallCNN,
    "faceresnet": FaceResNet,
    "faceres": FaceRes,
}
"""The networks of this package by name. Any classifier of torchvision is known by its name as well."""


def build_network(name: str, num_classes: int, **arguments: Any) -> FaceNetwork:
    """Return the network of this name, from `NETWORKS` or torchvision's classifiers.

    Args:
        name: a key of `NETWORKS`, or a name such as `resnet18`.
        num_classes: number of logits.
        **arguments: the network's own arguments; for torchvision also `pretrained`.

    Raises:
        ValueError: the name is unknown, a switch is neither true nor false, or the network cannot take pictures of
            100x80 pixels.
    """
    _check_switches(NETWORKS.get(name, TorchvisionNetwork), arguments)
    if name in NETWORKS:
        return NETWORKS[name](num_classes=num_classes, **arguments)
    if name not in (known := known_names()):
        raise ValueError(f"there is no network '{name}'; known networks: {', '.join([*NETWORKS, *known])}")
    return TorchvisionNetwork(name, num_classes, **arguments)


def _check_switches(network: Callable[..., object], arguments: dict[str, Any]) -> None:
    """Refuse what is neither true nor false where a network takes one of both."""
    for name, parameter in inspect.signature(network).parameters.items():
        value = arguments.get(name, parameter.default)
        if parameter.annotation is bool and not isinstance(value, bool):
            raise ValueError(f"model.{name} is {value}; expected true or false")
