import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BLUE, PROJECT, RED, save_picture, train_settings
from lightning.pytorch.callbacks import Callback

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import BUNDLED_MODEL, ModelInfo, find_start, load_classifier, save_checkpoint
from gender_recognizer.models.networks import build_network
from gender_recognizer.models.settings import ClassifierSettings
from gender_recognizer.models.smallcnn import SmallCNN
from gender_recognizer.pictures.loading import load_image
from gender_recognizer.training.fine_tuning import resolve_start, start_from, start_network
from gender_recognizer.training.run import train
from gender_recognizer.training.settings import TrainSettings
from gender_recognizer.training.trainer_settings import TrainerSettings

NETWORK = {"name": "smallcnn", "widths": [8, 8], "stem_width": 8}
IMAGES = torch.randint(0, 256, (4, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    classes = ["female", "male", "other"]
    classifier = GenderClassifier(classes, NETWORK)
    save_checkpoint(classifier, ModelInfo(tuple(classes)), tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def logits(classifier):
    with torch.no_grad():
        return classifier.eval()(IMAGES)


def test_same_names_in_another_order_keep_their_meaning(checkpoint):
    classifier = GenderClassifier(["other", "female", "male"], NETWORK)
    start_from(classifier, checkpoint)
    source = load_classifier(checkpoint)[0]
    assert torch.equal(logits(classifier), logits(source)[:, [2, 0, 1]])


@pytest.mark.parametrize("classes", [["cat", "dog", "cow"], ["female", "male"]])
def test_other_classes_take_all_but_the_last_layer(checkpoint, classes, caplog):
    classifier = GenderClassifier(classes, NETWORK)
    own = {name: value.clone() for name, value in classifier.network.head.state_dict().items()}
    with caplog.at_level(logging.INFO):
        start_from(classifier, checkpoint)
    assert "all weights but the last layer's, trained on classes female, male, other" in caplog.text
    theirs = load_classifier(checkpoint)[0].network.state_dict()
    for name, value in classifier.network.state_dict().items():
        expected = own[name.removeprefix("head.")] if name.startswith("head.") else theirs[name]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_last_layer_of_torchvision_networks_is_found(tmp_path, name):
    network = {"name": name, "pretrained": False}
    save_checkpoint(GenderClassifier(["a", "b"], network), ModelInfo(("a", "b")), tmp_path / "model.ckpt")
    start_from(GenderClassifier(["x", "y", "z"], network), tmp_path / "model.ckpt")
    classifier = GenderClassifier(["b", "a"], network)
    start_from(classifier, tmp_path / "model.ckpt")
    assert torch.equal(logits(classifier), logits(load_classifier(tmp_path / "model.ckpt")[0]).flip(1))


def test_options_that_change_no_weight_may_differ(checkpoint):
    classifier = GenderClassifier(["female", "male", "other"], NETWORK | {"dropout": 0.5, "width": None})
    start_from(classifier, checkpoint)
    assert torch.equal(logits(classifier), logits(load_classifier(checkpoint)[0]))


def test_bundled_weights_start_a_network_that_labels_as_the_bundled_model():
    path = find_start("bundled", Path())
    classifier = GenderClassifier(["female", "male"], start_network(path))
    start_from(classifier, path)
    assert torch.equal(logits(classifier), logits(load_classifier(BUNDLED_MODEL.with_name("smallcnn.ckpt"))[0]))


def test_mistakes_are_named(tmp_path, checkpoint):
    (tmp_path / "model.onnx").touch()
    for init_from, message in (
        (str(tmp_path / "model.onnx"), "expected bundled, latest or a .ckpt file"),
        ("bundeld", "init_from is 'bundeld'; expected bundled"),
        (str(tmp_path / "missing.ckpt"), "does not exist"),
        ("latest", "no training run with a checkpoint"),
    ):
        with pytest.raises(ValueError, match=message):
            find_start(init_from, tmp_path / "outputs")
    with pytest.raises(ValueError, match=r"holds the network .*, not .*; leave out the options of model"):
        start_from(GenderClassifier(["female", "male"], NETWORK | {"widths": [8, 16]}), checkpoint)


def test_what_depends_on_the_start_is_decided_unless_the_user_has(checkpoint):
    new = resolve_start(TrainSettings())
    assert (new.classifier.lr, new.model["name"]) == (2e-3, "smallcnn")
    old = resolve_start(TrainSettings(init_from=str(checkpoint)))
    assert (old.classifier.lr, old.model) == (1e-3, NETWORK)
    chosen = TrainSettings(
        init_from="bundled",
        model=NETWORK,
        classifier=ClassifierSettings(lr=0.5),
        trainer=TrainerSettings(max_epochs=2, precision="32-true"),
    )
    assert resolve_start(chosen) == chosen


@pytest.mark.usefixtures("light_training")
def test_three_colours_are_learned_from_weights_of_other_classes(tmp_path, checkpoint):
    colours = {"red": RED, "blue": BLUE, "green": (40, 200, 40)}
    for name, colour in colours.items():
        for index in range(24):
            save_picture(tmp_path / "data" / name / f"{index}.png", colour, index)
    settings = train_settings(
        f"data.root={tmp_path}/data", "data.classes=[red,blue,green]", f"data.cache_dir={tmp_path}/cache",
        f"init_from={checkpoint}", f"outputs={tmp_path}", "trainer.max_epochs=8", "classifier.lr=0.02",
        "data.split_fractions=[0.6,0.2,0.2]", "data.augmentation=null", f"+run_dir={tmp_path}/run",
    )  # fmt: skip
    settings.model = {}
    classifier, info = load_classifier(train(settings).checkpoint)
    assert info.classes == ("red", "blue", "green")
    images = np.stack([load_image(path) for name in colours for path in (tmp_path / "data" / name).iterdir()])
    with torch.no_grad():
        predicted = classifier(torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(dim=1)
    assert (predicted == torch.arange(3).repeat_interleave(24)).float().mean() > 0.6  # guessing: a third


def tune_red_and_blue(tmp_path, name, female, male, *overrides, callbacks=()):
    """Train for red and blue on pictures of two colours and return the result."""
    for label, colour in {"female": female, "male": male}.items():
        for index in range(24):
            save_picture(tmp_path / name / label / f"{index}.png", colour, index)
    settings = train_settings(
        f"data.root={tmp_path}/{name}", f"data.cache_dir={tmp_path}/cache", f"outputs={tmp_path}/outputs",
        "data.split_fractions=[0.6,0.4,0]", "data.split=random", "data.augmentation=null",
        "trainer.max_epochs=8", "classifier.lr=0.02", f"+run_dir={tmp_path}/outputs/{name}-run", *overrides,
    )  # fmt: skip
    return train(settings, callbacks)


class Spoil(Callback):
    """Turns every answer into its opposite, at the first step."""

    @torch.no_grad()
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 0:
            for parameter in pl_module.network.head.parameters():
                parameter.neg_()


@pytest.mark.usefixtures("light_training")
def test_weights_that_training_made_worse_are_kept(tmp_path, caplog):
    first = tune_red_and_blue(tmp_path, "data", RED, BLUE)
    start = load_classifier(first.checkpoint)[0]
    assert first.metrics["val/acc"] > 0.9
    with caplog.at_level(logging.INFO):
        options = [f"init_from={first.checkpoint}", "classifier.lr=1e-6"]
        worse = tune_red_and_blue(tmp_path, "again", RED, BLUE, *options, callbacks=[Spoil()])
    assert "training made the model worse: of " in caplog.text
    assert torch.equal(logits(load_classifier(worse.checkpoint)[0]), logits(start))
    assert worse.metrics["val/acc"] == pytest.approx(first.metrics["val/acc"])
    assert find_start("latest", tmp_path / "outputs") == worse.checkpoint


@pytest.mark.usefixtures("light_training")
def test_an_epoch_that_is_better_than_its_start_is_kept(tmp_path, caplog):
    first = tune_red_and_blue(tmp_path, "data", RED, BLUE)
    with caplog.at_level(logging.INFO):
        start = f"init_from={first.checkpoint}"
        options = ["classifier.lr=0.003", "trainer.max_epochs=24"]
        other = tune_red_and_blue(tmp_path, "exchanged", BLUE, RED, start, *options)
    assert "training made the model worse" not in caplog.text
    assert other.metrics["val/acc"] > 0.9
    assert not list(other.checkpoint.parent.glob("model_state-start*"))
    assert find_start("latest", tmp_path / "outputs") == other.checkpoint


@pytest.mark.usefixtures("light_training")
def test_bundled_weights_reach_the_training(tmp_path, cache_dir):
    options = ["init_from=bundled", f"data.root={PROJECT}/data/sample", f"data.cache_dir={cache_dir}"]
    options += [f"outputs={tmp_path}", "trainer.max_epochs=1", "+trainer.limit_train_batches=1"]
    settings = train_settings(*options, "trainer.accelerator=cpu", f"+run_dir={tmp_path}/run", shrink=False)
    settings.model = {}
    start = load_classifier(find_start("bundled", tmp_path))[0].network.state_dict()
    trained = load_classifier(train(settings).checkpoint)[0].network.state_dict()
    weights = [name for name in start if name.endswith("weight") and start[name].ndim > 1]
    assert all(torch.allclose(start[name], trained[name], atol=2e-3) for name in weights)  # one step is at most lr


def test_width_scales_the_whole_network_and_its_default_is_the_bundled_one():
    shapes = {name: value.shape for name, value in SmallCNN().state_dict().items()}
    assert {name: value.shape for name, value in SmallCNN(width=24).state_dict().items()} == shapes
    half = build_network("smallcnn", 2, width=12, widths=[1], stem_width=1)
    assert half.head[1].in_features == 80
    assert half(IMAGES).shape == (4, 2)
    with pytest.raises(ValueError, match=r"model.width is 1; expected a whole number, 2 or more"):
        build_network("smallcnn", 2, width=1)


def test_a_network_that_finds_the_face_starts_from_one_that_does_not(checkpoint):
    classifier = GenderClassifier(["female", "male", "other"], NETWORK | {"find_face": True})
    start_from(classifier, checkpoint)
    source = load_classifier(checkpoint)[0]
    assert torch.allclose(
        logits(classifier), logits(source), atol=1e-3
    )  # untrained, its finder takes the whole picture
