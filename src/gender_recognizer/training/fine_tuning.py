"""Training that starts from the weights of a trained model instead of from random ones."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import load_classifier

logger = logging.getLogger(__name__)


def start_network(path: Path) -> dict[str, Any]:
    """Return the name and the arguments of the network in a checkpoint, without fetching any weights."""
    return dict(load_classifier(path)[0].hparams["network"])


def start_from(classifier: GenderClassifier, path: Path) -> None:
    """Give a classifier the weights of a checkpoint, and say what was taken.

    The last layer is taken only where the classes have the same names; in another order, its rows follow the names.
    A network that finds the face may start from one that does not: what is new in it then starts untrained.

    Raises:
        ValueError: the checkpoint holds a network whose weights do not fit.
    """
    source = load_classifier(path)[0]
    weights, own = source.network.state_dict(), classifier.network.state_dict()
    weights |= {name: own[name] for name in own.keys() - weights.keys() if name.startswith(("finders.", "pool."))}
    head = source.network.last_layer()
    theirs, ours = source.hparams["network"], classifier.hparams["network"]
    if theirs["name"] != ours["name"] or _shapes(weights, head) != _shapes(own, head):
        raise ValueError(f"init_from '{path}' is the network {theirs}, not {ours}; leave the options of model out")
    had, have = source.hparams["classes"], classifier.hparams["classes"]
    names = [name for name in weights if name.rpartition(".")[0] == head]
    if sorted(had) == sorted(have):
        weights |= {name: _reordered(weights[name], had, have) for name in names}
        logger.info("starting from %s: all weights", path)
    else:
        weights |= {name: own[name] for name in names}
        logger.info("starting from %s: all weights but the last layer's, which told %s apart", path, ", ".join(had))
    classifier.network.load_state_dict(weights)


def same_network(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two descriptions are of the same network, whether or not its weights are to be fetched."""
    first, second = (
        {key: value for key, value in network.items() if value is not None and key != "pretrained"}
        for network in (one, other)
    )
    return first == second


def _shapes(weights: dict[str, Tensor], head: str) -> dict[str, torch.Size]:
    """Return the shape of each of the weights but those of the layer `head`."""
    return {name: value.shape for name, value in weights.items() if name.rpartition(".")[0] != head}


def _reordered(rows: Tensor, had: Sequence[str], have: Sequence[str]) -> Tensor:
    """Return the rows `(num_classes, ...)` of classes `had` in the order `have`."""
    return rows[torch.tensor([list(had).index(name) for name in have])]
