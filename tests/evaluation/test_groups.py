import numpy as np
import pytest

from gender_recognizer.evaluation.groups import (
    MAX_GROUPS,
    MIN_GROUP,
    by_group,
    group_columns,
    group_gaps,
    paired_columns,
)
from gender_recognizer.evaluation.metrics import evaluate
from gender_recognizer.evaluation.report import group_figure

BINARY = ["female", "male"]


def predictions(count, seed=0):
    """Return noisy predictions of two classes and their targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    male = (0.25 + 0.5 * targets + rng.normal(0, 0.25, count)).clip(0.01, 0.99).round(2)
    return np.stack([1 - male, male], axis=1), targets


def test_groups_are_those_with_enough_pictures_in_their_natural_order():
    probabilities, targets = predictions(400)
    groups = ["10-19"] * 200 + ["3-9"] * 100 + ["60-69"] * (MIN_GROUP - 1) + [""] * (101 - MIN_GROUP)
    result = by_group(probabilities, targets, BINARY, groups, num_draws=100)
    assert [(name, group.count) for name, group in result.items()] == [("3-9", 100), ("10-19", 200)]
    expected = (probabilities[:200].argmax(axis=1) == targets[:200]).mean()
    assert result["10-19"].metrics["accuracy"].value == pytest.approx(expected)


def test_gaps_allow_for_chance():
    probabilities, targets = predictions(4000)
    names = np.array(["a", "b", "c", "d"])
    equal = names[np.arange(4000) % 4]
    gaps = group_gaps(by_group(probabilities, targets, BINARY, equal.tolist(), num_draws=200), BINARY)
    assert gaps["accuracy"].value > 0
    assert gaps["accuracy"].low == 0
    worse = probabilities.copy()
    worse[equal == "d"] = 1 - worse[equal == "d"]  # wrong where it was right
    groups = by_group(worse, targets, BINARY, equal.tolist(), num_draws=200)
    gap = group_gaps(groups, BINARY)
    accuracy = [group.metrics["accuracy"].value for group in groups.values()]
    recalls = [[group.metrics[f"recall_{name}"].value for group in groups.values()] for name in BINARY]
    assert gap["accuracy"].value == pytest.approx(max(accuracy) - min(accuracy))
    assert gap["equalised_odds"].value == pytest.approx(max(max(row) - min(row) for row in recalls))
    assert 0.4 < gap["accuracy"].low < gap["accuracy"].value < gap["accuracy"].high + 0.05
    assert group_gaps({"a": groups["a"]}, BINARY) == {}


def test_small_groups_without_an_error_may_differ():
    probabilities, _ = predictions(80)
    targets = probabilities.argmax(axis=1)
    groups = by_group(probabilities, targets, BINARY, ["a"] * 40 + ["b"] * 40, num_draws=100)
    gap = group_gaps(groups, BINARY)["accuracy"]
    assert (gap.value, gap.low) == (0, 0)
    assert gap.high > 0.02


def test_groups_have_their_interval():
    group = evaluate(*predictions(300), BINARY, num_draws=100)
    figure = group_figure("age", {"3-9": group, "10-19": group}, 0.9)
    value, low, high = group.metrics["accuracy"]
    _, interval, point, *_ = figure.axes[0].lines
    assert list(interval.get_xdata()) == [low, high]
    assert list(point.get_xdata()) == [value]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["3-9 (300)", "10-19 (300)"]


def test_columns_that_name_groups_are_those_of_2_to_30_values():
    names = [str(number) for number in range(MAX_GROUPS + 1)]
    metadata = {
        name: {"file_name": name, "label": str(int(name) % 2), "id": name, "half": str(int(name) // 2), "same": "1"}
        | ({"age": str(int(name) % 3)} if int(name) else {})
        for name in names
    }
    metadata["0"]["age"] = ""
    columns = group_columns(names, metadata)
    assert columns.keys() == {"half", "age"}
    assert columns["age"][:4] == ["", "1", "2", "0"]
    assert group_columns(names, {}) == {}
    (pair,) = paired_columns(columns).items()
    assert pair[0] == "half and age"
    assert pair[1][:3] == ["", "0, 1", "1, 2"]


def test_groups_of_one_class_each_have_no_difference_in_recall():
    probabilities, targets = predictions(200)
    groups = by_group(probabilities, targets, BINARY, [BINARY[target] for target in targets], num_draws=100)
    assert np.isnan(groups["female"].metrics["recall_male"].value)
    gaps = group_gaps(groups, BINARY)
    assert gaps["accuracy"].value >= 0
    assert np.isnan(gaps["equalised_odds"]).all()


def test_groups_without_any_picture_of_a_class_are_compared_in_the_other():
    probabilities, _ = predictions(200)
    groups = by_group(probabilities, np.zeros(200, int), BINARY, ["a", "b"] * 100, num_draws=100)
    gaps = group_gaps(groups, BINARY)
    assert gaps["equalised_odds"].value == pytest.approx(gaps["accuracy"].value)
