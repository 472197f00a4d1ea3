import numpy as np
import pytest

from gender_recognizer.evaluation.metrics import compute_metrics
from gender_recognizer.models.calibration import (
    MIN_PICTURES,
    OperatingPoint,
    confidence_for,
    fit_scaling,
    operating_points,
)


def draw(count, sharpness, seed=0):
    """Return logits that are `sharpness` times too large, and targets."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, count)
    targets = (rng.random(count) < 1 / (1 + np.exp(-true))).astype(int)
    return np.stack([np.zeros(count), true * sharpness], axis=1), targets


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_temperature_undoes_what_makes_a_model_too_sure_or_too_shy(sharpness):
    scaling = fit_scaling(*draw(20_000, sharpness))
    assert scaling.temperature == pytest.approx(sharpness, rel=0.1)
    logits, targets = draw(20_000, sharpness, seed=1)
    assert compute_metrics(softmax(scaling(logits)), targets, ["a", "b"])["calibration_error"][0] < 0.015


def test_curvature_undoes_what_label_smoothing_does():
    logits, targets = draw(20_000, 1.0)
    smoothed = np.log(0.9 * softmax(logits) + 0.05)  # what a network learns with label smoothing of 0.1
    assert compute_metrics(softmax(smoothed), targets, ["a", "b"])["calibration_error"][0] > 0.02
    scaling = fit_scaling(smoothed, targets)
    assert scaling.curvature > 0.02
    probabilities = softmax(scaling(smoothed))
    assert compute_metrics(probabilities, targets, ["a", "b"])["calibration_error"][0] < 0.015
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_few_pictures_that_are_all_right_do_not_make_a_model_certain():
    logits, targets = np.array([[3.0, 0.0]] * 8), np.zeros(8, int)
    assert softmax(fit_scaling(logits, targets)(logits))[0, 0] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("margin", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("right", [15, 19])
def test_few_pictures_do_not_make_a_network_that_has_learnt_nothing_look_sure(margin, right):
    """Without a limit, the first got a temperature of 0.05."""
    targets = np.array([0] * right + [1] * (19 - right))
    logits = np.array([[margin, 0.0]] * 19)
    before, after = softmax(logits)[0, 0], softmax(fit_scaling(logits, targets)(logits))[0, 0]
    assert after < before + 0.1


def test_many_pictures_outweigh_that_limit():
    logits, targets = draw(2000, 0.4)
    assert fit_scaling(logits, targets).temperature == pytest.approx(0.4, rel=0.1)


def test_a_model_that_is_too_sure_becomes_shy_with_few_pictures_too():
    logits, targets = np.array([[5.0, 0.0]] * 19), np.array([0] * 10 + [1] * 9)
    assert softmax(fit_scaling(logits, targets)(logits))[0, 0] == pytest.approx(0.5, abs=0.07)


def test_operating_points_say_what_each_confidence_gave():
    logits, targets = draw(5000, 1.0)
    probabilities = softmax(logits).round(2)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    points = operating_points(probabilities, targets)
    assert points[0] == (confidence.min(), right.mean(), 1.0)
    assert points[-1].share == pytest.approx(MIN_PICTURES / 5000, abs=0.05)
    for point in points:
        kept = confidence >= point.confidence
        assert point.share == pytest.approx(kept.mean())
        assert point.accuracy == pytest.approx(right[kept].mean())
    assert operating_points(probabilities[: MIN_PICTURES - 1], targets[: MIN_PICTURES - 1]) == []


def test_smallest_confidence_that_reached_an_accuracy_is_taken():
    points = [(0.5, 0.90, 1.0), (0.7, 0.95, 0.8), (0.8, 0.94, 0.7), (0.9, 0.99, 0.4)]
    assert confidence_for(points, 0.9) == OperatingPoint(0.5, 0.90, 1.0)
    assert confidence_for(points, 0.95) == (0.7, 0.95, 0.8)
    assert confidence_for(points, 0.96).confidence == 0.9


@pytest.mark.parametrize(
    ("points", "target", "message"),
    [
        ([(0.5, 0.9, 1.0)], 0.95, "reached 0.9000"),
        ([], 0.95, "was not calibrated on 100"),
        ([(0.5, 0.9, 1.0)], 97, "from 0 to 1"),
    ],
)
def test_an_accuracy_that_cannot_be_promised_is_refused(points, target, message):
    with pytest.raises(ValueError, match=message):
        confidence_for(points, target)
