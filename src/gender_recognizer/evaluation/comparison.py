"""Compare with another model on the same pictures, and test whether the difference can be chance."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gender_recognizer.evaluation.intervals import estimate_values
from gender_recognizer.evaluation.metrics import evaluate
from gender_recognizer.evaluation.settings import EvaluateSettings
from gender_recognizer.models.comparing import mcnemar


def compare(
    name: str,
    first: np.ndarray,
    other: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    num_draws: int = EvaluateSettings.num_draws,
    seed: int = EvaluateSettings.seed,
) -> dict[str, Any]:
    """Return another model's metrics on the same pictures, and a paired test of the difference, as plain values.

    Args:
        name: of the other model's file.
        first: probabilities of the first model, `(N, num_classes)`.
        other: probabilities of the other model, with the classes in the same order.
        targets: int `(N,)`.
        classes: names of the classes.
        num_draws: bootstrap resamples.
        seed: of the resamples.
    """
    labels, other_labels = first.argmax(axis=1), other.argmax(axis=1)
    only_first, only_other, p_value = mcnemar(labels, other_labels, targets)
    metrics = evaluate(other, targets, classes, num_draws, seed).metrics
    return {
        "file": name,
        "metrics": {name: estimate_values(estimate) for name, estimate in metrics.items()},
        "only_first": only_first,
        "only_this": only_other,
        "p_value": p_value,
        "same_label": float((labels == other_labels).mean()),
    }
