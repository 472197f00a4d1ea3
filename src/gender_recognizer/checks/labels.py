"""Find labels that are probably wrong by confident learning on a trained network's features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from gender_recognizer.data.cache import read_blocks
from gender_recognizer.models.base import FaceNetwork

NUM_FOLDS = 5

MIN_PICTURES = 10
"""Different pictures that a class needs: each fold then leaves at least eight to learn from."""


class SuspiciousLabels(NamedTuple):
    """Pictures whose label is probably wrong, the most suspicious first.

    Attributes:
        rows: int64 `(num_suspicious,)`.
        probabilities: float `(N, num_classes)` of all pictures, each from a model that did not see its label.
    """

    rows: np.ndarray
    probabilities: np.ndarray


def extract_features(network: FaceNetwork, images: np.ndarray) -> np.ndarray:
    """Return a network's features, float32 `(N, num_features)`.

    Args:
        network: in evaluation mode, takes `(N, 3, H, W)` in 0..255.
        images: uint8 `(N, H, W, 3)`.
    """
    with torch.inference_mode():
        blocks = (torch.from_numpy(block.copy()).permute(0, 3, 1, 2) for block in read_blocks(images, size=256))
        return torch.cat([network.forward_features(block).features for block in blocks]).numpy()


def find_suspicious_labels(
    features: np.ndarray, targets: np.ndarray, groups: np.ndarray, classes: Sequence[str]
) -> SuspiciousLabels:
    """Return the labels that contradict what the other pictures teach.

    A logistic regression on the features gives each picture the probabilities of its classes without having seen it or
    a copy of it; confident learning (Northcutt et al. 2021, `cleanlab`) estimates from them how many labels of each
    class are wrong, and which.

    Args:
        features: float32 `(N, num_features)`.
        targets: int64 `(N,)`.
        groups: int64 `(N,)`; copies share one.
        classes: names of the classes.

    Raises:
        ValueError: there is only one class, or a class has fewer than 10 different pictures.
    """
    from cleanlab.filter import find_label_issues

    _require_enough(targets, groups, classes)
    probabilities = out_of_fold_probabilities(features, targets, groups)
    rows = find_label_issues(targets, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return SuspiciousLabels(rows, probabilities)


def _require_enough(targets: np.ndarray, groups: np.ndarray, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        raise ValueError(f"there is only one class, '{classes[0]}'")
    for target, name in enumerate(classes):
        different = len(np.unique(groups[targets == target]))
        if different < MIN_PICTURES:
            raise ValueError(f"class '{name}' has {different} different pictures and needs {MIN_PICTURES}")


def out_of_fold_probabilities(features: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes, `(N, num_classes)`, each from the folds without the picture's group."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(model, features, targets, groups=groups, cv=folds, method="predict_proba")
