"""Training that starts from the weights of a trained model instead of from random ones."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import find_start, load_classifier
from gender_recognizer.training.settings import TrainSettings

logger = logging.getLogger(__name__)

DEFAULT_NETWORK = {
    "name": "smallcnn",
    "find_face": True,
    "detector": True,
    "gates": True,
    "last_width": 384,
    "halved_finder": True,
}
"""The network that is trained if none is chosen; its other options have their defaults."""


def resolve_start(settings: TrainSettings) -> TrainSettings:
    """Return settings with the values that depend on where training starts, unless the user has set them.

    These are the network and the learning rate; `duration` resolves the number of epochs.

    Raises:
        ValueError: `init_from` names no weights.
    """
    if settings.init_from is None:
        network, lr = DEFAULT_NETWORK, 2e-3
    else:
        start = find_start(settings.init_from, settings.outputs)
        network, lr = start_network(start), 1e-3
    classifier = settings.classifier
    if classifier.lr is None:
        classifier = replace(classifier, lr=lr)
    return replace(settings, model=settings.model or network, classifier=classifier)


def start_network(path: Path) -> dict[str, Any]:
    """Return the name and the arguments of the network in a checkpoint, without downloading any weights."""
    return dict(load_classifier(path)[0].hparams["network"])


def start_from(classifier: GenderClassifier, path: Path) -> bool:
    """Copy the weights of a checkpoint into a classifier, log which were copied, and return whether all were.

    The last layer is copied only if the classes have the same names; in another order, its rows follow the names.
    A network that finds the face, or has gates, may start from one without: its new parts then start untrained.

    Raises:
        ValueError: the checkpoint holds a network whose weights do not fit.
    """
    source = load_classifier(path)[0]
    weights, own = source.network.state_dict(), classifier.network.state_dict()
    weights |= {name: own[name] for name in own.keys() - weights.keys() if _is_optional(name)}
    head = source.network.last_layer()
    theirs, ours = source.hparams["network"], classifier.hparams["network"]
    if theirs["name"] != ours["name"] or _shapes(weights, head) != _shapes(own, head):
        raise ValueError(f"init_from '{path}' holds the network {theirs}, not {ours}; leave out the options of model")
    had, have = source.hparams["classes"], classifier.hparams["classes"]
    names = [name for name in weights if name.rpartition(".")[0] == head]
    same = sorted(had) == sorted(have)
    if same:
        weights |= {name: _reordered(weights[name], had, have) for name in names}
        logger.info("starting from %s: all weights", path)
    else:
        weights |= {name: own[name] for name in names}
        logger.info("starting from %s: all weights but the last layer's, trained on classes %s", path, ", ".join(had))
    classifier.network.load_state_dict(weights)
    return same


def _is_optional(name: str) -> bool:
    """Return whether weights of this name belong to a part that does nothing before it is trained, or is pretrained."""
    return name.startswith(("look.", "finders.", "pool.")) or ".gate." in name


def _shapes(weights: dict[str, Tensor], head: str) -> dict[str, torch.Size]:
    """Return the shape of each of the weights but those of the layer `head`."""
    return {name: value.shape for name, value in weights.items() if name.rpartition(".")[0] != head}


def _reordered(rows: Tensor, had: Sequence[str], have: Sequence[str]) -> Tensor:
    """Return rows `(num_classes, ...)`, which are in the order of the classes `had`, in the order of `have`."""
    return rows[torch.tensor([list(had).index(name) for name in have])]
