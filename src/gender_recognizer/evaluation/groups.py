"""Measure a model for groups of people, which the columns of metadata.csv define, and the gaps between them."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from gender_recognizer.evaluation.intervals import DEVIATIONS, Estimate, spread_interval
from gender_recognizer.evaluation.metrics import Evaluation, evaluate
from gender_recognizer.evaluation.settings import EvaluateSettings

MAX_GROUPS = 30
"""Most different values of a column of metadata.csv that names groups."""

MIN_GROUP = 30
"""Fewest pictures of a group that gets a row: with fewer, the interval is meaningless."""

UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))

Metadata = Mapping[str, Mapping[str, str]]
"""Rows of metadata.csv by the name of the picture, as `samples.read_metadata` returns them."""


def group_columns(names: Sequence[str], metadata: Metadata) -> dict[str, list[str]]:
    """Return the group of each picture by each column that names groups: those of 2 to 30 values; "" is no group.

    Args:
        names: of the pictures, as in the metadata.
        metadata: of the pictures.
    """
    columns = {}
    for column in next(iter(metadata.values()), {}):
        values = [metadata.get(name, {}).get(column) or "" for name in names]
        if column not in ("file_name", "label") and 1 < len({*values} - {""}) <= MAX_GROUPS:
            columns[column] = values
    return columns


def paired_columns(columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the group of each picture by each pair of columns, `one and other`: `a, b`, or "" where one is missing."""
    names = list(columns)
    return {
        f"{first} and {second}": [
            f"{one}, {other}" if one and other else ""
            for one, other in zip(columns[first], columns[second], strict=True)
        ]
        for number, first in enumerate(names)
        for second in names[number + 1 :]
    }


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 3-9 before 10-19."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def by_group(
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str],
    num_draws: int = EvaluateSettings.num_draws,
    seed: int = EvaluateSettings.seed,
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
    rows = {name: np.flatnonzero(members == name) for name in sorted({*groups} - {""}, key=natural_order)}
    return {
        name: evaluate(probabilities[row], targets[row], classes, num_draws, seed + number)
        for number, (name, row) in enumerate(rows.items())
        if len(row) >= MIN_GROUP
    }


def group_gaps(groups: Mapping[str, Evaluation], classes: Sequence[str]) -> dict[str, Estimate]:
    """Return the gaps between groups: `accuracy` of the best minus that of the worst, and `equalised_odds`.

    The latter is the largest difference between groups in the recall of a class (Hardt et al. 2016; for two classes
    the larger of the differences in true and false positive rates). It is NaN if no class is in two groups.
    """
    if len(groups) < 2:
        return {}
    return {
        "accuracy": _gap(groups, ["accuracy"]),
        "equalised_odds": _gap(groups, [f"recall_{name}" for name in classes]),
    }


def _gap(groups: Mapping[str, Evaluation], names: Sequence[str]) -> Estimate:
    """Return the largest difference between groups in one of some metrics, among the groups for which it is defined."""
    values, noise = [], []
    for name in names:
        known = [group.metrics[name] for group in groups.values() if not np.isnan(group.metrics[name].value)]
        if len(known) > 1:
            values.append(np.array([estimate.value for estimate in known]))
            noise.append(np.array([estimate.high - estimate.low for estimate in known]) / DEVIATIONS)
    if not values:
        return UNDEFINED
    return spread_interval(lambda measured: np.ptp(measured, axis=1), values, noise)
