"""The numbers behind the curves and bars of some predictions: ranks, counts of labels, bins of confidence."""

import numpy as np

NUM_BINS = 15
"""Bins of equal width of the confidence for the expected calibration error, as in Guo et al. 2017."""


def rank(scores: np.ndarray, own: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of a class's own and of the other pictures at each different score, the largest first.

    Args:
        scores: `(N,)`.
        own: whether a picture is of the class, bool `(N,)`.
        weights: `(num_weightings, N)`.

    Returns:
        two arrays `(num_weightings, num_scores)`; their cumulative sums make ROC and precision-recall curves.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    ranked, own = weights[:, order], own[order]
    parts = ranked * own, ranked * ~own
    if len(starts) == len(order):  # no two scores are equal
        return parts
    return np.add.reduceat(parts[0], starts, axis=1), np.add.reduceat(parts[1], starts, axis=1)


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to 14, of each confidence; a bin includes its upper edge."""
    return (np.ceil(confidence * NUM_BINS).astype(int) - 1).clip(0, NUM_BINS - 1)


def count_labels(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the confusion matrix, int64 `(num_classes, num_classes)`: true class, then label given."""
    count = probabilities.shape[1]
    cells = np.bincount(targets * count + probabilities.argmax(axis=1), minlength=count * count)
    return cells.reshape(count, count)


def risk_coverage(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what share is labelled when the least sure are left out, and the accuracy of the labelled.

    Args:
        probabilities: `(N, num_classes)`.
        targets: int `(N,)`.

    Returns:
        share `(M,)` rising to 1, and accuracy `(M,)`; pictures of the same confidence go together.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(confidence[order]) != 0, True]) + 1
    right = np.cumsum(probabilities.argmax(axis=1)[order] == targets[order])
    return ends / len(targets), right[ends - 1] / ends
