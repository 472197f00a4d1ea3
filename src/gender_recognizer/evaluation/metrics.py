"""Metrics of a model's probabilities, with intervals.

All metrics are computed for many weightings of the pictures at once: all ones give the value itself, the counts of a
resample with replacement give one draw of the bootstrap (Efron and Tibshirani 1993). Shares of pictures have Wilson's
interval instead, which says something where no picture is wrong, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gender_recognizer.evaluation.intervals import (
    Estimate,
    mean_estimate,
    percentile_interval,
    resample,
    share_estimate,
    spread_interval,
)
from gender_recognizer.evaluation.settings import EvaluateSettings
from gender_recognizer.models.curves import NUM_BINS, confidence_bins, rank

_BLOCK = 4_000_000
"""Weights that are processed together; bounds the memory."""

Draws = dict[str, np.ndarray]
"""Metric by name, each float64 `(num_weightings,)`; NaN where a metric is not defined."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of some pictures."""

    count: int
    metrics: dict[str, Estimate]


def evaluate(
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    num_draws: int = EvaluateSettings.num_draws,
    seed: int = EvaluateSettings.seed,
) -> Evaluation:
    """Return the metrics of predictions with 95 % intervals.

    A metric that is no share of pictures has none if all resamples give the same, as where no picture is wrong.

    Args:
        probabilities: `(N, num_classes)`, rows add up to 1.
        targets: int `(N,)`.
        classes: names of the classes.
        num_draws: resamples.
        seed: of the resamples.
    """
    weights = resample(len(targets), num_draws, seed)
    values = compute_metrics(probabilities, targets, classes)
    draws = compute_metrics(probabilities, targets, classes, weights)
    shares = _share_intervals(probabilities.argmax(axis=1), targets, classes)
    metrics = {
        name: shares[name] if name in shares else percentile_interval(float(value[0]), draws[name])
        for name, value in values.items()
    }
    metrics["calibration_error"] = _calibration_interval(probabilities, targets, weights)
    return Evaluation(len(targets), metrics)


def _share_intervals(labels: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Estimate]:
    """Return the metrics that are shares of pictures, and the mean of those of the classes that have pictures."""
    right, count = labels == targets, len(classes)
    hits, of_class, of_label = (np.bincount(found, minlength=count) for found in (targets[right], targets, labels))
    recalls = {name: share_estimate(hits[index], of_class[index]) for index, name in enumerate(classes)}
    known = [index for index in range(count) if of_class[index]]
    return {
        "accuracy": share_estimate(right.sum(), len(targets)),
        "balanced_accuracy": mean_estimate([recalls[classes[index]] for index in known]),
        **{f"recall_{name}": recall for name, recall in recalls.items()},
        **{f"precision_{classes[index]}": share_estimate(hits[index], of_label[index]) for index in known},
    }


def _calibration_interval(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Estimate:
    confidence = probabilities.max(axis=1)
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=NUM_BINS)
    used = counts > 0
    shares = counts[used] / len(targets)
    gaps = _bin_gaps(probabilities, targets, np.ones((1, len(targets))))[0, used] / shares
    resampled = np.nanstd(_bin_gaps(probabilities, targets, weights)[:, used] / shares, axis=0)
    # where all are right, resamples differ less than other pictures would
    binomial = np.sqrt(np.bincount(bins, confidence * (1 - confidence), NUM_BINS)[used]) / counts[used]
    noise = np.maximum(resampled, binomial)
    return spread_interval(lambda gaps: np.abs(gaps) @ shares, [gaps], [noise], about_zero=True)


def compute_metrics(
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray | None = None
) -> Draws:
    """Return each metric for each weighting of the pictures.

    `accuracy`, `balanced_accuracy` (mean recall of the classes that have pictures), `auroc` and `average_precision`
    (mean of one class against the others), `f1` (mean of the classes), `mcc` (Matthews 1975; Gorodkin 2004), `brier`
    (half the squared distance, which for two classes is that of one probability), `log_loss`, `calibration_error` (of
    the confidence, expected, 15 bins), and for each class `recall_NAME`, `precision_NAME`, `f1_NAME`. A class without
    pictures has none of these three and is in no mean; metrics that compare classes are NaN if there is only one.

    Args:
        probabilities: `(N, num_classes)`, rows add up to 1.
        targets: int `(N,)`.
        classes: names of the classes.
        weights: `(num_weightings, N)`, 0 or more; None for one weighting, all ones.
    """
    if weights is None:
        weights = np.ones((1, len(targets)))
    rows = max(1, _BLOCK // max(1, len(targets)))
    blocks = [
        _metrics(probabilities.astype(np.float64), targets, classes, weights[start : start + rows].astype(np.float64))
        for start in range(0, len(weights), rows)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _metrics(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> Draws:
    count = len(classes)
    cells = np.eye(count * count)[targets * count + probabilities.argmax(axis=1)]
    confusion = (weights @ cells).reshape(-1, count, count)  # true class, predicted class
    total = weights.sum(axis=1)
    hits, of_class, of_label = np.einsum("bkk->bk", confusion), confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.where(of_class > 0, hits, np.nan)  # otherwise a class without pictures would count as 0 % right
        recall, precision, f1 = known / of_class, known / of_label, 2 * known / (of_class + of_label)
        auroc, average_precision = _ranking_metrics(probabilities, targets, weights)
        result = {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": _mean(recall),
            "auroc": _mean(auroc),
            "average_precision": _mean(average_precision),
            "f1": _mean(f1),
            "mcc": _mcc(hits.sum(axis=1), of_class, of_label, total),
            "brier": weights @ (0.5 * (probabilities - np.eye(count)[targets]) ** 2).sum(axis=1) / total,
            "log_loss": weights @ -np.log(_of_target(probabilities, targets).clip(1e-15)) / total,
            "calibration_error": np.abs(_bin_gaps(probabilities, targets, weights)).sum(axis=1),
        }
    for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
        result |= {f"{name}_{label}": values[:, index] for index, label in enumerate(classes)}
    return result


def _of_target(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return probabilities[np.arange(len(targets)), targets]


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the classes for which there is a value, `(num_weightings,)`."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)


def _mcc(right: np.ndarray, of_class: np.ndarray, of_label: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation coefficient; 0 where all pictures get one label, NaN where all have one class."""
    shared = right * total - (of_class * of_label).sum(axis=1)
    differ = total**2 - (of_class**2).sum(axis=1)
    spread = differ * (total**2 - (of_label**2).sum(axis=1))
    return np.where(differ > 0, np.where(spread > 0, shared / np.sqrt(spread), 0.0), np.nan)


def _ranking_metrics(
    probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return area under the ROC curve and average precision of each class, two `(num_weightings, num_classes)`."""
    ranked = (rank(probabilities[:, index], targets == index, weights) for index in range(probabilities.shape[1]))
    auroc, average_precision = zip(*((_auroc(*pair), _average_precision(*pair)) for pair in ranked), strict=True)
    return np.stack(auroc, axis=1), np.stack(average_precision, axis=1)


def _auroc(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the chance that a picture of the class scores higher than another; equal scores count half."""
    higher = own.cumsum(axis=1) - own / 2
    return (higher * others).sum(axis=1) / (own.sum(axis=1) * others.sum(axis=1))


def _average_precision(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean of the precision at each picture of the class, without interpolation; NaN without others."""
    found = own.cumsum(axis=1)
    precision = np.nan_to_num(found / (found + others.cumsum(axis=1)))
    mean = (precision * own).sum(axis=1) / own.sum(axis=1)
    return np.where(others.sum(axis=1) > 0, mean, np.nan)


def _bin_gaps(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of right pictures less the mean confidence, times the share of pictures, of each bin.

    The result is `(num_weightings, 15)`.
    """
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == targets) - confidence
    gaps = weights @ (np.eye(NUM_BINS)[confidence_bins(confidence)] * gap[:, None])
    return gaps / weights.sum(axis=1, keepdims=True)
