"""The classifiers of torchvision, by their names there."""

from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from gender_recognizer.models.base import FaceNetwork, Normalize, Seen
from gender_recognizer.pictures.loading import IMAGE_SIZE


class TorchvisionNetwork(FaceNetwork):
    """A classifier of torchvision behind this package's normalisation, with its last linear layer as the head.

    Without a linear layer (SqueezeNet) its logits are the features, and the head passes them on.
    """

    def __init__(self, name: str, num_classes: int, pretrained: bool = False, **arguments: Any) -> None:
        """Build the network.

        Args:
            name: one of `known_names()`.
            num_classes: number of logits.
            pretrained: fetch torchvision's weights.
            **arguments: the network's own arguments.

        Raises:
            ValueError: the weights cannot be fetched, or the network cannot take pictures of 100x80 pixels.
        """
        super().__init__()
        self.normalize = Normalize()
        self.body = _build(name, num_classes, pretrained, **arguments)
        _check_size(self, name)
        self._last = _last_linear(self.body)
        self.num_features = num_classes
        self.head = nn.Identity()
        if self._last is not None:
            linear = self.body.get_submodule(self._last)
            assert isinstance(linear, nn.Linear)
            self.num_features, self.head = linear.in_features, linear
            _replace(self.body, self._last, nn.Identity())

    def forward_features(self, images: Tensor) -> Seen:
        """Return features `(N, num_features)` of images `(N, 3, 100, 80)` in 0..255."""
        return Seen(self.body(self.normalize(images)))

    def exact_parts(self) -> list[str]:
        """Return the convolutions behind a mean over positions, which 8 bits compute wrongly at the edges."""
        inception = isinstance(self.body, torchvision.models.Inception3)
        names = (name for name, _ in self.named_modules() if name.endswith(".branch_pool"))
        return list(names) if inception else []

    def rename_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights that an earlier version saved, when this was `Sequential(Normalize(), body)`."""
        if not any(name.startswith("1.") for name in weights):
            return weights
        starts = {"0.": "normalize.", f"1.{self._last}.": "head.", "1.": "body."}
        return {_renamed(name, starts): value for name, value in weights.items()}


def known_names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    return torchvision.models.list_models(module=torchvision.models)


def _check_size(network: TorchvisionNetwork, name: str) -> None:
    """Refuse a network that cannot take pictures of 100x80 pixels, and leave it in training mode."""
    try:
        with torch.no_grad():
            network.eval()
            network.body(network.normalize(torch.zeros(1, 3, *IMAGE_SIZE)))
    except (AssertionError, RuntimeError) as error:
        height, width = IMAGE_SIZE
        raise ValueError(f"'{name}' cannot take pictures of {height}x{width} pixels: {error}") from None
    network.train()


def _build(name: str, num_classes: int, pretrained: bool, **arguments: Any) -> nn.Module:
    """Return torchvision's network, with a new last layer if its weights are fetched."""
    if name in ("googlenet", "inception_v3"):
        arguments = {"aux_logits": pretrained, "init_weights": not pretrained} | arguments
    if not pretrained:
        return torchvision.models.get_model(name, num_classes=num_classes, **arguments)
    try:
        network = torchvision.models.get_model(name, weights="DEFAULT", **arguments)
    except URLError as error:
        raise ValueError(
            f"the weights of '{name}' cannot be fetched ({error.reason}); set model.pretrained=false"
        ) from None
    last = _last_linear(network)
    linear = network.get_submodule(last) if last else None
    if last is None or not isinstance(linear, nn.Linear):
        raise ValueError(f"'{name}' has no last linear layer to replace; set model.pretrained=false")
    _replace(network, last, nn.Linear(linear.in_features, num_classes))
    network.aux_logits = False
    return network


def _last_linear(network: nn.Module) -> str | None:
    """Return the name of the last linear layer; None without one."""
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def _renamed(name: str, starts: dict[str, str]) -> str:
    """Return a name with the first of these beginnings replaced that it has."""
    for old, new in starts.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
