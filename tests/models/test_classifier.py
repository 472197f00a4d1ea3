from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gender_recognizer.models.classifier import GenderClassifier, frame_loss
from gender_recognizer.models.framing import frames_within

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


def test_scores_are_those_of_full_precision_whatever_the_trainers():
    module, data = classifier(), loader()
    full = trainer().test(module, data, verbose=False)[0]
    assert trainer(precision="bf16-mixed").test(module, data, verbose=False)[0] == full


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


def test_a_warm_up_of_exactly_one_step_is_scheduled():
    model = classifier(lr=1.0)
    model._trainer = SimpleNamespace(estimated_stepping_batches=10)  # of which warmup_fraction makes one
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


def test_only_the_part_that_should_learns():
    torch.manual_seed(0)
    network = NETWORK | {"find_face": True, "widths": [4, 4]}
    module = GenderClassifier(["female", "male"], network, learning_part="finders")
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    trainer(max_epochs=1, limit_val_batches=0).fit(module, loader())
    changed = {name for name, value in module.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("finders.") for name in changed)  # means and deviations of the norms included
    with pytest.raises(ValueError, match=r"learning_part is 'eyes'; the network's parts are finders, stem, blocks, "):
        GenderClassifier(["female", "male"], network, learning_part="eyes")
