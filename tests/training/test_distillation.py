from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BLUE, RED, save_picture, train_settings

from gender_recognizer.data.cache import open_pictures
from gender_recognizer.data.dataset import NO_LABEL
from gender_recognizer.models.classifier import GenderClassifier, TrainingBatch
from gender_recognizer.models.model_file import (
    BUNDLED_MODEL,
    ModelInfo,
    checkpoint_beside,
    load_classifier,
    save_checkpoint,
)
from gender_recognizer.training.distillation import load_teacher, teach, teach_mixtures
from gender_recognizer.training.run import train

CLASSES = ["female", "male"]
NETWORK = {"name": "smallcnn", "widths": [8, 12], "stem_width": 8, "find_face": True}


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "teacher.ckpt"
    save_checkpoint(GenderClassifier(CLASSES, NETWORK), ModelInfo(tuple(CLASSES)), path)
    return path


@pytest.fixture
def cache(colour_data, tmp_path):
    return open_pictures(colour_data, CLASSES, tmp_path / "cache")[0]


def test_guidance_is_the_mean_over_a_picture_and_its_mirror_image(cache, teacher):
    guidance = teach(cache, [teacher], CLASSES).astype(np.float32)
    assert guidance.shape == (len(cache.images), 2 + 12)
    classifier = load_classifier(teacher)[0]
    images = torch.from_numpy(cache.images[:4].copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = (classifier(images) + classifier(images.flip(3))) / 2
    np.testing.assert_allclose(guidance[:4, :2], logits.numpy(), atol=0.02)  # it is asked in bf16
    np.testing.assert_allclose(guidance[:, 2:].mean(axis=0), 0, atol=0.01)
    spread = guidance[:, 2:].std(axis=0)
    assert ((abs(spread - 1) < 0.02) | (spread == 0)).all()


def test_guidance_is_computed_once_for_a_teacher(cache, teacher, monkeypatch):
    first = teach(cache, [teacher], CLASSES)
    monkeypatch.setattr("gender_recognizer.training.distillation._outputs", lambda *_: pytest.fail("asked again"))
    np.testing.assert_array_equal(teach(cache, [teacher], CLASSES), first)


def test_guidance_is_computed_anew_when_a_picture_changes(tmp_path, teacher):
    for colour in (RED, BLUE):
        pictures = [
            save_picture(tmp_path / f"data/{name}/{index}.png", RED, index) for index in (0, 1) for name in CLASSES
        ]
        save_picture(pictures[0], colour, 7)
        cache = open_pictures(tmp_path / "data", CLASSES, tmp_path / "changing")[0]
        guidance = teach(cache, [teacher], CLASSES)
        fresh = open_pictures(tmp_path / "data", CLASSES, tmp_path / f"fresh_{colour}")[0]
        np.testing.assert_array_equal(guidance, teach(fresh, [teacher], CLASSES))


def test_mixtures_are_judged_as_what_they_show(cache, teacher, monkeypatch):
    rows = np.arange(1, len(cache.images))
    mixtures, guidance = teach_mixtures(cache, rows, [teacher], CLASSES, 2)
    assert guidance.shape == (2, len(rows), 2 + 12)
    which, places = np.array([0, 1]), np.array([3, 0])
    images = torch.from_numpy(mixtures.mix(cache.images, rows, which, places)).permute(0, 3, 1, 2)
    classifier = load_classifier(teacher)[0]
    with torch.no_grad():
        logits = (classifier(images) + classifier(images.flip(3))) / 2
    np.testing.assert_allclose(guidance[which, places, :2], logits, atol=0.02)
    assert abs(guidance[..., 2:]).max() <= 8
    monkeypatch.setattr("gender_recognizer.training.distillation._outputs", lambda *_: pytest.fail("asked again"))
    np.testing.assert_array_equal(teach_mixtures(cache, rows, [teacher], CLASSES, 2)[1], guidance)


def test_of_a_mixture_only_the_teachers_say_something():
    torch.manual_seed(0)
    student = GenderClassifier(CLASSES, NETWORK, teacher_share=0.5, teacher_features=12)
    images = torch.randint(0, 256, (4, 3, 100, 80), dtype=torch.uint8)
    theirs = torch.cat([torch.zeros(4, 2), torch.randn(4, 12)], dim=1)
    student.eval()

    def loss(targets):
        return student.training_step(TrainingBatch(images, torch.tensor(targets), None, theirs), 0).item()

    mixed, labelled = loss([0, NO_LABEL, 1, NO_LABEL]), loss([0, 1, 1, 0])
    assert mixed != labelled
    assert [len(targets) for _, targets in student.outputs["train"]] == [2, 4]
    assert np.isfinite(loss([NO_LABEL] * 4))


def test_several_teachers_agree_on_their_mean_and_show_all_their_features(cache, teacher, tmp_path):
    other = tmp_path / "other.ckpt"
    save_checkpoint(GenderClassifier(CLASSES, NETWORK | {"widths": [8, 20]}), ModelInfo(tuple(CLASSES)), other)
    one, two, both = (teach(cache, paths, CLASSES) for paths in ([teacher], [other], [teacher, other]))
    assert both.shape == (len(cache.images), 2 + 12 + 20)
    np.testing.assert_allclose(both[:, :2], (one[:, :2] + two[:, :2]) / 2, atol=1e-3)
    np.testing.assert_array_equal(both[:, 2:], np.hstack([one[:, 2:], two[:, 2:]]))


def test_a_teacher_sees_the_pictures_at_its_own_size(cache, tmp_path):
    wide, square = tmp_path / "wide.ckpt", tmp_path / "square.ckpt"
    for path, size in ((wide, [32, 64]), (square, [64, 64])):
        torch.manual_seed(0)
        network = {"name": "faceres", "pretrained": False, "image_size": size, "find_face": False}
        save_checkpoint(GenderClassifier(CLASSES, network), ModelInfo(tuple(CLASSES), image_size=tuple(size)), path)
    first, second = teach(cache, [wide], CLASSES), teach(cache, [square], CLASSES)
    assert first.shape == second.shape == (len(cache.images), 2 + 1024)
    assert not np.array_equal(first, second)
    images = torch.from_numpy(cache.images_of((64, 64))[:3].copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        network = load_classifier(square)[0].network
        logits = (network(images) + network(images.flip(3))) / 2
    np.testing.assert_allclose(second[:3, :2], logits, atol=0.1 * float(logits.abs().max()))


def test_a_student_comes_to_say_what_its_teacher_says():
    torch.manual_seed(0)
    student = GenderClassifier(CLASSES, NETWORK, teacher_share=1.0, teacher_features=12)
    images = torch.randint(0, 256, (16, 3, 100, 80), dtype=torch.uint8)
    targets = torch.zeros(16, dtype=torch.int64)
    theirs = torch.where(torch.arange(16)[:, None] % 2 == torch.arange(2), 3.0, -3.0)  # contradicts half the labels
    batch = TrainingBatch(images, targets, None, torch.cat([theirs, torch.randn(16, 12)], dim=1))
    optimizer = torch.optim.AdamW(student.parameters(), 1e-2)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        losses.append(student.training_step(batch, step))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    # The labels alone would lead to an agreement of a half.
    assert (student(images).argmax(dim=1) == theirs.argmax(dim=1)).float().mean() > 0.6


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize("mixtures", [0, 2])
def test_a_run_with_a_teacher_and_no_test_part_leaves_a_model_without_a_teacher(
    tmp_path, colour_data, teacher, mixtures
):
    settings = train_settings(
        f"data.root={colour_data}",
        f"data.cache_dir={tmp_path}/cache",
        f"outputs={tmp_path}",
        f"teachers=[{teacher}]",
        f"teacher_mixtures={mixtures}",
        f"+run_dir={tmp_path}/run",
        "data.split_fractions=[0.8,0.2,0.0]",
        "trainer.max_epochs=1",
    )
    classifier, info = load_classifier(train(settings).checkpoint)
    assert classifier.hparams["teacher_features"] == 12
    save_checkpoint(classifier, info, tmp_path / "small.ckpt")
    small = load_classifier(tmp_path / "small.ckpt")[0]
    assert not any(name.startswith("teacher_layer") for name in small.state_dict())
    images = torch.randint(0, 256, (2, 3, 100, 80), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(small(images), classifier(images))


def test_mixtures_need_a_teacher():
    with pytest.raises(ValueError, match="teacher_mixtures is 2, but there are no teachers; name one"):
        train_settings("teacher_mixtures=2")


def test_the_bundled_model_teaches_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = train_settings("teachers=[bundled,T.ckpt]")
    assert settings.teachers == [checkpoint_beside(BUNDLED_MODEL), Path("T.ckpt")]
    assert load_teacher(settings.teachers[0], CLASSES).hparams["classes"] == CLASSES


def test_teachers_that_cannot_teach_are_refused(tmp_path, teacher):
    with pytest.raises(ValueError, match=r"teacher is '.*nobody.ckpt'; expected bundled or the .ckpt file"):
        load_teacher(tmp_path / "nobody.ckpt", CLASSES)
    with pytest.raises(ValueError, match=r"was trained on the classes \['female', 'male'\], not \['cat', 'dog'\]"):
        load_teacher(teacher, ["cat", "dog"])


@pytest.mark.parametrize(("name", "num_features"), [("shufflenet_v2_x0_5", 1024), ("squeezenet1_1", 2)])
def test_torchvision_networks_teach_and_learn_as_well(cache, tmp_path, name, num_features):
    path = tmp_path / "other.ckpt"
    save_checkpoint(GenderClassifier(CLASSES, {"name": name}), ModelInfo(tuple(CLASSES)), path)
    guidance = teach(cache, [path], CLASSES)
    assert guidance.shape == (len(cache.images), 2 + num_features)
    student = GenderClassifier(CLASSES, {"name": name}, teacher_features=num_features)
    images = torch.from_numpy(cache.images[:4].copy()).permute(0, 3, 1, 2)
    loss = student.training_step(TrainingBatch(images, torch.zeros(4).long(), None, torch.from_numpy(guidance[:4])), 0)
    loss.backward()
    assert student.teacher_layer.weight.grad.abs().sum() > 0


def test_what_a_teacher_teaches_does_not_depend_on_its_calibration(cache, teacher, tmp_path):
    calibrated = tmp_path / "calibrated.ckpt"
    info = ModelInfo(tuple(CLASSES), temperature=3.0, curvature=0.5)
    save_checkpoint(load_classifier(teacher)[0], info, calibrated)
    np.testing.assert_array_equal(teach(cache, [calibrated], CLASSES), teach(cache, [teacher], CLASSES))
