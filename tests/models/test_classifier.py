from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gender_recognizer.models.class_metrics import training_metrics
from gender_recognizer.models.classifier import GenderClassifier, frame_loss
from gender_recognizer.models.framing import frames_within
from gender_recognizer.models.model_file import calibrate_checkpoint
from gender_recognizer.models.settings import ClassifierSettings

NETWORK = {"name": "smallcnn", "widths": [4], "stem_width": 4}


def classifier(**options):
    return GenderClassifier(["female", "male"], NETWORK, **options)


def loader(count=40, share=0.75):
    images = torch.randint(0, 256, (count, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, (torch.arange(count) < share * count).long()), batch_size=7)


def trainer(**options):
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, **options
    )


def test_metrics_equal_those_of_all_predictions_at_once():
    torch.manual_seed(0)
    module, data = classifier().eval(), loader()
    module.network.head[1].weight.data *= 100  # spread the scores, so that none are equal in float32
    metrics = trainer().test(module, data, verbose=False)[0]
    with torch.no_grad():
        logits = torch.cat([module(images) for images, _ in data])
    targets = torch.cat([targets for _, targets in data]).numpy()
    right = (logits.argmax(1).numpy() == targets).astype(float)
    recalls = [right[targets == target].mean() for target in (0, 1)]
    scores = logits.softmax(1)[:, 1].numpy()
    pairs = scores[targets == 1][:, None] - scores[targets == 0][None]
    assert metrics["test/acc"] == pytest.approx(right.mean())
    assert metrics["test/acc_female"] == pytest.approx(recalls[0])
    assert metrics["test/acc_male"] == pytest.approx(recalls[1])
    assert metrics["test/balanced_acc"] == pytest.approx(np.mean(recalls))
    assert metrics["test/auroc"] == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean(), abs=1e-6)
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets))
    assert metrics["test/loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("share", "present", "absent"), [(0.0, "female", "male"), (1.0, "male", "female")])
def test_a_class_that_a_part_lacks_has_no_accuracy(share, present, absent, caplog):
    torch.manual_seed(0)
    module = classifier().eval()
    metrics = trainer().test(module, loader(share=share), verbose=False)[0]
    trainer().test(module, loader(share=share), verbose=False)
    assert f"test/acc_{absent}" not in metrics
    assert metrics["test/balanced_acc"] == metrics[f"test/acc_{present}"] == metrics["test/acc"]
    assert "test/auroc" not in metrics  # nothing to tell apart
    assert all(np.isfinite(value) for value in metrics.values())
    said = [record.message for record in caplog.records if "has no pictures of" in record.message]
    assert said == [f"the test part has no pictures of {absent}: no accuracy is given for it"]


def test_averages_are_over_the_classes_that_are_present():
    metrics = training_metrics(["a", "b", "c"])
    logits = torch.tensor([[3.0, 1, 0], [0, 2, 1], [2, 1, 0], [0, 1, 5]])
    metrics.update(logits, torch.tensor([0, 1, 1, 0]))
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert "acc_c" not in values
    assert (values["acc_a"], values["acc_b"], values["balanced_acc"]) == (0.5, 0.5, 0.5)
    probabilities = logits.softmax(dim=1)
    areas = []
    for target, others in ((0, [1, 2]), (1, [0, 3])):
        own = [row for row in range(4) if row not in others]
        pairs = probabilities[own, target][:, None] - probabilities[others, target][None]
        areas.append(((pairs > 0).float() + (pairs == 0).float() / 2).mean().item())
    assert values["auroc"] == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("classes", [["female"], ["a", "a"], "female", None, ["a", ""]])
def test_wrong_classes_are_refused_before_anything_is_built(classes):
    with pytest.raises(ValueError, match=r"^classes (is|has)"):
        GenderClassifier(classes, NETWORK)


def test_evaluation_of_a_calibrated_checkpoint_is_scaled_and_training_is_not(tmp_path):
    torch.manual_seed(0)
    module, data = classifier(), loader()
    fit = trainer(max_epochs=1, limit_val_batches=0)
    fit.fit(module, data)
    fit.save_checkpoint(tmp_path / "a.ckpt")
    plain = trainer().validate(module, data, ckpt_path=tmp_path / "a.ckpt", weights_only=True, verbose=False)[0]
    images, targets = (torch.cat(parts) for parts in zip(*data, strict=True))
    info = calibrate_checkpoint(tmp_path / "a.ckpt", images.permute(0, 2, 3, 1).numpy(), 1 - targets.numpy())
    scaled = trainer().validate(module, data, ckpt_path=tmp_path / "a.ckpt", weights_only=True, verbose=False)[0]
    with torch.no_grad():
        logits = info.scaling(module.eval()(images))
    assert scaled["val/loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item(), rel=1e-4)
    assert scaled["val/loss"] != plain["val/loss"]
    trainer(max_epochs=1, limit_val_batches=0).fit(module, data)
    assert module.scaling == (1.0, 0.0)


def test_scores_are_those_of_full_precision_whatever_the_trainers():
    module, data = classifier(), loader()
    full = trainer().test(module, data, verbose=False)[0]
    assert trainer(precision="bf16-mixed").test(module, data, verbose=False)[0] == full


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_gradients_can_be_clipped(precision):
    norms = []
    for clip in (1e-9, None):
        torch.manual_seed(0)
        module = classifier(weight_decay=0.0)
        start = [parameter.detach().clone() for parameter in module.parameters()]
        trainer(max_steps=1, precision=precision, gradient_clip_val=clip, limit_val_batches=0).fit(module, loader())
        norms.append(max((now - was).abs().max() for now, was in zip(module.parameters(), start, strict=True)))
    assert norms[0] < 0.9 * norms[1]  # AdamW divides by the gradients' size, but adds 1e-8


def test_learning_rate_rises_then_falls_to_about_zero_step_by_step():
    module, rates = classifier(lr=0.01, warmup_fraction=0.25), []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer(max_epochs=4, callbacks=[Watch()]).fit(module, loader())
    assert len(rates) == 24
    assert np.argmax(rates) in (5, 6)
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert rates[-1] < 0.01 * max(rates)


def test_weight_decay_spares_biases_and_norms():
    module = classifier(weight_decay=0.5)
    module.trainer = trainer(max_epochs=1)
    module.trainer.fit(module, loader())
    groups = module.trainer.optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert all(parameter.ndim > 1 for parameter in groups[0]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


def test_the_head_may_learn_at_a_rate_of_its_own():
    module = classifier(lr=1e-3, head_lr=0.01, weight_decay=0.5)
    module.trainer = trainer(max_epochs=1)
    module.trainer.fit(module, loader())
    groups = module.trainer.optimizers[0].param_groups
    assert [group["max_lr"] for group in groups] == [1e-3, 1e-3, 0.01, 0.01]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0, 0.5, 0.0]
    head = set(module.network.head.parameters())
    assert {one for group in groups[2:] for one in group["params"]} == head
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


@pytest.mark.parametrize("name", ["lr", "head_lr"])
def test_rates_that_cannot_be_meant_are_refused(name):
    with pytest.raises(ValueError, match=rf"classifier\.{name} is 0\.0; expected a number above 0"):
        ClassifierSettings(**{name: 0.0})


def test_a_warm_up_of_exactly_one_step_is_scheduled():
    model = classifier(lr=1.0)
    steps = 10  # of which warmup_fraction makes one
    model._trainer = SimpleNamespace(estimated_stepping_batches=steps, gradient_clip_val=None)
    made = model.configure_optimizers()
    rates = []
    for _ in range(9):
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
        rates.append(made["optimizer"].param_groups[0]["lr"])
    assert rates[0] > 0.9
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01


def test_each_look_is_held_against_what_it_could_see():
    frames, first = torch.tensor([[0.3, -0.2, -0.6, 0.1]]), torch.tensor([[0.2, -0.1, -0.5, 0.0]])
    second = frames_within(frames, first)
    assert frame_loss([frames, torch.zeros(1, 4)], frames) == 0
    assert frame_loss([first, second], frames) == frame_loss([first], frames) > 0
    worse = frame_loss([first, second + 0.2], frames) - frame_loss([first, second], frames)
    assert worse.item() == pytest.approx(4 * (0.2 - 0.05))
