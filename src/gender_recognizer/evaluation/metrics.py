"""How good a model's probabilities are: metrics with bootstrap intervals, by group, and models against each other.

All metrics are computed for many weightings of the pictures at once: all ones give the value itself, the counts of a
resample with replacement give one draw of the bootstrap (Efron and Tibshirani 1993).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gender_recognizer.evaluation.intervals import Estimate, percentile_interval, resample, spread_interval

NUM_BINS = 15
"""Bins of equal width of the confidence for the expected calibration error, as in Guo et al. 2017."""

MIN_GROUP = 30
"""Pictures below which a group gets no row: intervals of fewer say nothing."""

_BLOCK = 4_000_000
"""Weights that are looked at together; bounds the memory."""

Draws = dict[str, np.ndarray]
"""Metric by name, each float64 `(num_weightings,)`; NaN where a metric is not defined."""


class Evaluation(NamedTuple):
    """The metrics of some pictures, and the bootstrap draws that their intervals come from."""

    count: int
    metrics: dict[str, Estimate]
    draws: Draws


def evaluate(
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str], num_draws: int = 1000, seed: int = 0
) -> Evaluation:
    """Return the metrics of predictions with 95 % bootstrap intervals.

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
    metrics = {name: percentile_interval(float(value[0]), draws[name]) for name, value in values.items()}
    metrics["calibration_error"] = _calibration_interval(probabilities, targets, weights)
    return Evaluation(len(targets), metrics, draws)


def _calibration_interval(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Estimate:
    shares = np.bincount(confidence_bins(probabilities.max(axis=1)), minlength=NUM_BINS) / len(targets)
    used = shares > 0
    gaps = _bin_gaps(probabilities, targets, np.ones((1, len(targets))))[0, used] / shares[used]
    draws = _bin_gaps(probabilities, targets, weights)[:, used] / shares[used]
    return spread_interval(lambda gaps: np.abs(gaps) @ shares[used], [gaps], [draws], about_zero=True)


def compute_metrics(
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray | None = None
) -> Draws:
    """Return each metric for each weighting of the pictures.

    `accuracy`, `balanced_accuracy` (mean recall of the classes there are), `auroc` and `average_precision` (mean of
    one class against the others), `f1` (mean of the classes), `mcc` (Matthews 1975; Gorodkin 2004), `brier` (half the
    squared distance, which for two classes is that of one probability), `log_loss`, `calibration_error` (of the
    confidence, expected, 15 bins), and for each class `recall_NAME`, `precision_NAME`, `f1_NAME`.

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
        recall, precision, f1 = hits / of_class, hits / of_label, 2 * hits / (of_class + of_label)
        result = {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": _mean(recall),
            "auroc": _mean(_per_class(_auroc, probabilities, targets, weights)),
            "average_precision": _mean(_per_class(_average_precision, probabilities, targets, weights)),
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
    """Return Matthews' correlation coefficient; 0 where all pictures have one class or get one label."""
    shared = right * total - (of_class * of_label).sum(axis=1)
    spread = (total**2 - (of_class**2).sum(axis=1)) * (total**2 - (of_label**2).sum(axis=1))
    return np.where(spread > 0, shared / np.sqrt(spread), 0.0)


def _per_class(
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray],
    probabilities: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return a metric of what `rank` returns for each class against the others, `(num_weightings, num_classes)`."""
    results = [
        metric(*rank(probabilities[:, index], targets == index, weights)) for index in range(probabilities.shape[1])
    ]
    return np.stack(results, axis=1)


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
    return np.add.reduceat(ranked * own, starts, axis=1), np.add.reduceat(ranked * ~own, starts, axis=1)


def _auroc(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the chance that a picture of the class scores higher than another; equal scores count half."""
    higher = own.cumsum(axis=1) - own / 2
    return (higher * others).sum(axis=1) / (own.sum(axis=1) * others.sum(axis=1))


def _average_precision(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean of the precision at each picture of the class, without interpolation."""
    found = own.cumsum(axis=1)
    precision = np.nan_to_num(found / (found + others.cumsum(axis=1)))
    return (precision * own).sum(axis=1) / own.sum(axis=1)


def _bin_gaps(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of right pictures less the mean confidence, times the share of pictures, of each bin.

    The result is `(num_weightings, 15)`.
    """
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == targets) - confidence
    gaps = weights @ (np.eye(NUM_BINS)[confidence_bins(confidence)] * gap[:, None])
    return gaps / weights.sum(axis=1, keepdims=True)


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to 14, of each confidence; a bin includes its upper edge."""
    return (np.ceil(confidence * NUM_BINS).astype(int) - 1).clip(0, NUM_BINS - 1)


def by_group(
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str],
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, Evaluation]:
    """Return the metrics of each group of at least 30 pictures, by its name, sorted; "" is no group.

    Args:
        probabilities: `(N, num_classes)`.
        targets: int `(N,)`.
        classes: names of the classes.
        groups: group of each picture.
        num_draws: resamples, drawn within each group.
        seed: of the resamples.
    """
    members = np.array(groups, dtype=object)
    rows = {name: np.flatnonzero(members == name) for name in sorted(set(groups) - {""}, key=natural_order)}
    return {
        name: evaluate(probabilities[row], targets[row], classes, num_draws, seed + number)
        for number, (name, row) in enumerate(rows.items())
        if len(row) >= MIN_GROUP
    }


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 3-9 before 10-19."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def group_gaps(groups: Mapping[str, Evaluation], classes: Sequence[str]) -> dict[str, Estimate]:
    """Return how far groups are apart: `accuracy` of the best less the worst, and `equalised_odds`.

    The latter is the largest difference between groups in the recall of a class (Hardt et al. 2016; for two classes
    the larger of the differences in true and false positive rates).
    """
    if len(groups) < 2:
        return {}

    def gap(names: Sequence[str]) -> Estimate:
        values = [np.array([group.metrics[name].value for group in groups.values()]) for name in names]
        draws = [np.stack([group.draws[name] for group in groups.values()], axis=1) for name in names]
        known = [~np.isnan(value) for value in values]  # a group may lack a class
        values, draws = ([of[..., k] for of, k in zip(list_, known, strict=True)] for list_ in (values, draws))
        return spread_interval(lambda values: np.ptp(values, axis=1), values, draws)

    return {"accuracy": gap(["accuracy"]), "equalised_odds": gap([f"recall_{name}" for name in classes])}


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


def mcnemar(first: np.ndarray, second: np.ndarray, targets: np.ndarray) -> tuple[int, int, float]:
    """Return how many pictures only the first and only the second model labels right, and the exact p-value.

    Args:
        first: labels of one model as class indices, int `(N,)`.
        second: labels of another for the same pictures.
        targets: int `(N,)`.
    """
    from scipy.stats import binomtest

    only_first = int(((first == targets) & (second != targets)).sum())
    only_second = int(((first != targets) & (second == targets)).sum())
    differing = only_first + only_second
    return only_first, only_second, float(binomtest(only_first, differing).pvalue) if differing else 1.0
