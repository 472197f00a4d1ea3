"""What version 0.1.0 (commit 13491dd) saved still loads and gives the probabilities that it gave there."""

from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from test_networks import convolutions
from torch.utils.data import DataLoader

from gender_recognizer.models.classifier import GenderClassifier, TrainingBatch
from gender_recognizer.models.model_file import BUNDLED_MODEL, checkpoint_beside, load_classifier, save_checkpoint
from gender_recognizer.models.onnx_export import export_onnx, quantise_onnx
from gender_recognizer.models.predictor import load_predictor

OLD = Path(__file__).with_name("checkpoint_13491dd.ckpt")
"""A training run's, taught by random features, with the optimizer's state, calibrated, with `learning_part`."""

RAMPS = np.arange(2 * 100 * 80 * 3).reshape(2, 100, 80, 3) * np.array([7, 1]).reshape(2, 1, 1, 1) // 97 % 256
PROBABILITIES = [[0.28149518370628357, 0.718504786491394], [0.1871321052312851, 0.8128678798675537]]


def test_it_gives_the_probabilities_it_gave(tmp_path):
    assert "learning_part" in torch.load(OLD, weights_only=True)["hyper_parameters"]
    given = load_predictor(OLD).predict(RAMPS.astype(np.uint8)).probabilities
    np.testing.assert_allclose(given, PROBABILITIES, atol=1e-5)
    classifier, info = load_classifier(OLD)
    assert info.temperature == pytest.approx(0.315132, abs=1e-6)
    save_checkpoint(classifier, info, tmp_path / "new.ckpt")
    again = load_predictor(tmp_path / "new.ckpt").predict(RAMPS.astype(np.uint8)).probabilities
    np.testing.assert_allclose(again, PROBABILITIES, atol=1e-5)


def test_its_training_goes_on():
    classifier = load_classifier(OLD)[0]
    module = GenderClassifier(["female", "male"], classifier.hparams["network"], lr=0.01, teacher_features=5)
    images = torch.randint(0, 256, (10, 3, 100, 80), dtype=torch.uint8)
    batches = [TrainingBatch(images, torch.arange(10) % 2, None, torch.randn(10, 2 + 5)) for _ in range(4)]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=12, num_sanity_val_steps=0, **quiet)
    trainer.fit(module, DataLoader(batches, batch_size=None), ckpt_path=OLD, weights_only=True)
    assert trainer.global_step == 48  # it was trained to its end: nothing is left but taking over what it has
    learned, kept = module.state_dict(), classifier.state_dict()
    assert all(torch.equal(learned[name], kept[name]) for name in kept)
    assert module.scaling == (1.0, 0.0)  # training is on logits as they are


@pytest.fixture
def apart(tmp_path):
    """Save the bundled checkpoint as until commit 0dd805a, when each output of the detector had its own weights."""
    checkpoint = torch.load(checkpoint_beside(BUNDLED_MODEL), weights_only=True)
    weights = checkpoint["state_dict"]
    for name in [name for name in weights if name.startswith("network.look.outputs.")]:
        for kind, part in enumerate(weights.pop(name).split((1, 4, 1, 10))):
            weights[name.replace("outputs.", f"outputs.{kind}.")] = part
    torch.save(checkpoint, tmp_path / "old.ckpt")
    return tmp_path / "old.ckpt"


def test_outputs_of_the_detector_are_joined(apart):
    assert "network.look.outputs.3.1.bias" in torch.load(apart, weights_only=True)["state_dict"]
    old, new = load_classifier(apart)[0].state_dict(), load_classifier(checkpoint_beside(BUNDLED_MODEL))[0].state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in new)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.popitem(),
        lambda weights: weights.update(dict.fromkeys(weights, torch.zeros(3, 3))),
        lambda weights: weights.update({"network.look.outputs.3.1.bias": torch.zeros(3, 3)}),
    ],
    ids=["one is missing", "other shapes", "shapes that cannot be joined"],
)
def test_outputs_that_cannot_be_joined_are_refused(apart, change):
    checkpoint = torch.load(apart, weights_only=True)
    outputs = {name: value for name, value in checkpoint["state_dict"].items() if ".look.outputs." in name}
    others = {name: value for name, value in checkpoint["state_dict"].items() if name not in outputs}
    change(outputs)
    torch.save(checkpoint | {"state_dict": others | outputs}, apart)
    with pytest.raises(ValueError, match="holds a smallcnn of another version of gender_recognizer"):
        load_classifier(apart)


def test_the_bundled_8_bit_file_comes_from_the_bundled_checkpoint(tmp_path):
    classifier, info = load_classifier(checkpoint_beside(BUNDLED_MODEL))
    export_onnx(classifier, info, tmp_path / "whole.onnx")
    images = np.random.default_rng(0).integers(0, 256, (4, 100, 80, 3), np.uint8)
    quantise_onnx(tmp_path / "whole.onnx", images, tmp_path / "small.onnx", classifier.network.exact_parts())
    made, bundled = convolutions(tmp_path / "small.onnx"), convolutions(BUNDLED_MODEL)
    assert made == bundled
    finders = {name for name in bundled if name.startswith(("look.", "finders.", "flip"))}
    assert {name.partition(".")[0] for name in finders} == {"look", "finders", "flip"}  # the detector's first weights
    assert not any(bundled[name] for name in finders)
    assert [name for name, integers in bundled.items() if not integers and name not in finders] == [
        "stem.0.0",
        "stem.1.0",
        "blocks.1.shortcut.1.0",
        "blocks.2.shortcut.1.0",
        "blocks.3.shortcut.1.0",
    ]
    assert sum(bundled.values()) == 9  # two in each block, and the last
