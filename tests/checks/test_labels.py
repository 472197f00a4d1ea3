import numpy as np
import pytest
import torch
from torch import nn

from gender_recognizer.checks.labels import extract_features, find_suspicious_labels, out_of_fold_probabilities
from gender_recognizer.models.networks import build_network


def clusters(count, num_classes, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % num_classes
    return (rng.normal(0, 1, (count, 6)) + 2.5 * np.eye(6)[targets]).astype(np.float32), targets


@pytest.mark.parametrize("num_classes", [2, 3])
def test_wrong_labels_are_found_for_any_classes(num_classes):
    features, targets = clusters(600, num_classes)
    wrong = np.arange(0, 600, 20)
    given = targets.copy()
    given[wrong] = (given[wrong] + 1) % num_classes
    found = find_suspicious_labels(features, given, np.arange(600), [*"abc"[:num_classes]])
    assert np.isin(wrong, found.rows[:60]).mean() > 0.85
    assert np.isin(found.rows[:15], wrong).all()
    assert found.probabilities.shape == (600, num_classes)


def test_copies_do_not_vouch_for_each_other():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 200)).astype(np.float32).repeat(2, axis=0)
    targets = rng.integers(0, 2, 100).repeat(2)  # nothing to learn but by heart
    right = {}
    for name, groups in (("apart", np.arange(200)), ("together", np.arange(200) // 2)):
        right[name] = (out_of_fold_probabilities(features, targets, groups).argmax(axis=1) == targets).mean()
    assert right["apart"] > 0.8
    assert right["together"] < 0.65


@pytest.mark.parametrize(
    ("classes", "counts", "message"),
    [
        (["a"], [30], "only one class, 'a'"),
        (["a", "b"], [30, 9], "class 'b' has 9 different pictures and needs 10"),
        (["a", "b"], [30, 0], "class 'b' has 0 different pictures"),
    ],
)
def test_too_little_to_learn_from_is_refused(classes, counts, message):
    targets = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(ValueError, match=message):
        find_suspicious_labels(np.zeros((len(targets), 2), np.float32), targets, np.arange(len(targets)), classes)


def test_copies_of_one_picture_are_not_different_pictures():
    targets = np.repeat([0, 1], 20)
    groups = np.where(targets == 1, 20, np.arange(40))
    with pytest.raises(ValueError, match="class 'b' has 1 different"):
        find_suspicious_labels(np.zeros((40, 2), np.float32), targets, groups, ["a", "b"])


@pytest.mark.parametrize(
    ("name", "options", "num_features"),
    [("smallcnn", {"widths": (8, 12)}, 12), ("mobilenet_v3_small", {}, 1024), ("squeezenet1_1", {}, 3)],
)
def test_features_are_what_the_last_linear_layer_gets_or_the_logits(name, options, num_features):
    network = build_network(name, 3, **options).eval()
    images = np.random.default_rng(0).integers(0, 255, (5, 100, 80, 3), dtype=np.uint8)
    features = extract_features(network, images)
    assert features.shape == (5, num_features)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    again = layers[-1](torch.from_numpy(features)) if layers else torch.from_numpy(features)
    assert torch.allclose(again, logits, atol=1e-4)
