import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from gender_recognizer.evaluation.intervals import resample
from gender_recognizer.evaluation.metrics import compute_metrics, evaluate
from gender_recognizer.models.comparing import mcnemar
from gender_recognizer.models.curves import count_labels, risk_coverage

BINARY, THREE = ["female", "male"], ["a", "b", "c"]


def predictions(count, classes=2, seed=0, digits=2):
    """Return noisy predictions, rounded so that many are equal, and their targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, count)
    scores = rng.normal(0, 1, (count, classes)) + 1.2 * np.eye(classes)[targets]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    if classes == 2:
        probabilities = probabilities.round(digits)
        probabilities[:, 0] = 1 - probabilities[:, 1]
    return probabilities, targets


def by_scikit_learn(probabilities, targets, classes, weights):
    labels, one_hot = probabilities.argmax(axis=1), np.eye(len(classes))[targets]
    weighted = {"sample_weight": weights}
    shared = weighted | {"labels": range(len(classes)), "average": None}
    recall, precision, f1 = (
        score(targets, labels, **shared) for score in (sk.recall_score, sk.precision_score, sk.f1_score)
    )
    scores = probabilities[:, 1] if len(classes) == 2 else probabilities
    expected = {
        "accuracy": sk.accuracy_score(targets, labels, **weighted),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, labels, **weighted),
        "auroc": sk.roc_auc_score(targets, scores, multi_class="ovr", **weighted),
        "average_precision": sk.average_precision_score(one_hot, probabilities, **weighted),
        "f1": sk.f1_score(targets, labels, average="macro", **weighted),
        "mcc": sk.matthews_corrcoef(targets, labels, **weighted),
        "brier": sk.brier_score_loss(one_hot, probabilities, scale_by_half=True, **weighted),
        "log_loss": sk.log_loss(targets, probabilities, **weighted),
    }
    for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
        expected |= {f"{name}_{label}": value for label, value in zip(classes, values, strict=True)}
    return expected


@pytest.mark.parametrize("classes", [BINARY, THREE])
def test_every_metric_is_that_of_scikit_learn(classes):
    probabilities, targets = predictions(400, len(classes))
    weights = np.vstack([np.ones(400, int), resample(400, 3)])
    ours = compute_metrics(probabilities, targets, classes, weights)
    for row, weight in enumerate(weights):
        expected = by_scikit_learn(probabilities, targets, classes, weight)
        assert set(ours) - set(expected) == {"calibration_error"}
        for name, value in expected.items():
            assert ours[name][row] == pytest.approx(value, abs=1e-9), name


def test_calibration_error_is_the_mean_distance_in_15_bins():
    probabilities, targets = predictions(500)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    expected = 0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    error = compute_metrics(probabilities, targets, BINARY)["calibration_error"][0]
    assert error == pytest.approx(expected, abs=1e-9)
    assert expected > 0.01


def test_confusion_counts_are_those_of_scikit_learn():
    probabilities, targets = predictions(300, 3)
    assert (count_labels(probabilities, targets) == sk.confusion_matrix(targets, probabilities.argmax(axis=1))).all()


def test_intervals_hold_the_true_value_as_often_as_they_say():
    def draw(count, rng):
        logits = rng.normal(0.2, 1.8, count)
        targets = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(int)
        male = 1 / (1 + np.exp(-1.5 * logits - 0.1))  # too sure
        return np.stack([1 - male, male], axis=1), targets

    rng = np.random.default_rng(1)
    truth = {name: value[0] for name, value in compute_metrics(*draw(500_000, rng), BINARY).items()}
    held = dict.fromkeys(truth, 0)
    for number in range(400):
        for name, (_, low, high) in evaluate(*draw(400, rng), BINARY, num_draws=200, seed=number).metrics.items():
            held[name] += low <= truth[name] <= high
    shares = {name: count / 400 for name, count in held.items()}
    assert 0.93 <= np.mean(list(shares.values())) <= 0.97
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares  # 3 standard errors of 400 sets


def test_that_no_picture_is_wrong_does_not_make_it_sure():
    targets = np.arange(40) % 2
    male = np.where(targets, 0.99, 0.01)
    metrics = evaluate(np.stack([1 - male, male], axis=1), targets, BINARY, num_draws=100).metrics
    for name, lowest in (("accuracy", 0.912), ("recall_male", 0.839), ("precision_female", 0.839)):
        assert metrics[name] == pytest.approx((1, lowest, 1), abs=1e-3), name  # Wilson's
    assert 0.839 < metrics["balanced_accuracy"].low < metrics["accuracy"].low
    assert metrics["calibration_error"].high > 0.03
    for name in ("auroc", "average_precision", "f1", "mcc"):
        assert metrics[name].value == 1
        assert np.isnan(metrics[name].low), name


def test_what_is_not_defined_is_nan_and_breaks_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]), np.zeros(3, int), BINARY, num_draws=100)
    assert result.metrics["accuracy"].value == pytest.approx(2 / 3)
    assert result.metrics["recall_female"].value == pytest.approx(2 / 3)
    for name in ("auroc", "average_precision", "mcc", "recall_male", "precision_male", "f1_male"):
        assert np.isnan(result.metrics[name]).all(), name
    assert result.metrics["balanced_accuracy"].value == result.metrics["recall_female"].value
    assert result.metrics["f1"].value == result.metrics["f1_female"].value


def test_a_class_that_is_absent_is_in_no_mean():
    probabilities, targets = predictions(300, 3)
    present = targets != 2
    result = compute_metrics(probabilities[present], targets[present], THREE)
    assert result["balanced_accuracy"] == pytest.approx((result["recall_a"] + result["recall_b"]) / 2)
    assert result["f1"] == pytest.approx((result["f1_a"] + result["f1_b"]) / 2)
    for name in ("auroc", "average_precision", "mcc"):
        assert not np.isnan(result[name]).any()
    assert np.isnan(result["recall_c"]).all()


def test_risk_coverage_falls_where_the_sure_are_right():
    probabilities, targets = predictions(500)
    share, accuracy = risk_coverage(probabilities, targets)
    assert (np.diff(share) > 0).all()
    assert share[-1] == 1
    assert accuracy[-1] == pytest.approx((probabilities.argmax(axis=1) == targets).mean())
    right = probabilities.argmax(axis=1) == targets
    male = np.where(right, np.linspace(0.8, 0.99, 500), np.linspace(0.51, 0.79, 500))
    ordered = np.stack([1 - male, male], axis=1)
    assert (np.diff(risk_coverage(ordered, right.astype(int))[1]) <= 1e-12).all()


def test_mcnemar_is_the_exact_test():
    targets = np.zeros(30, int)
    first, second = targets.copy(), targets.copy()
    first[:2], second[2:12] = 1, 1
    only_first, only_second, p_value = mcnemar(first, second, targets)
    assert (only_first, only_second) == (10, 2)
    assert p_value == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(first, first, targets) == (0, 0, 1.0)
