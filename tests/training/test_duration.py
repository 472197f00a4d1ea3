"""How long training is where the user does not say it, and which epoch of few validation pictures counts."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import train_settings

from gender_recognizer.training.duration import choose_duration
from gender_recognizer.training.trainer import BestCheckpoint, build_trainer


def pictures(train, validation, root):
    """Return a data module of that many pictures."""
    return SimpleNamespace(root=root, parts={"train": range(train), "validation": range(validation)})


def choose(tmp_path, *overrides, train=40_000, validation=5_000, own=True):
    """Return the epochs and the patience of a run on so many pictures, as its trainer has them."""
    settings = train_settings(*overrides)
    trainer = build_trainer(settings, tmp_path)
    data = pictures(train, validation, settings.data.root if own else Path("sample"))
    chosen = choose_duration(settings, trainer, data)
    assert chosen.trainer.max_epochs == trainer.max_epochs
    return trainer.max_epochs, trainer.early_stopping_callback.patience


@pytest.mark.parametrize(
    ("overrides", "count", "own", "epochs"),
    [
        ([], 40_000, True, 30),
        ([], 1_600, True, 30),
        ([], 1_599, True, 31),
        ([], 160, True, 300),
        ([], 160, False, 30),  # the sample
        (["init_from=bundled"], 40_000, True, 10),
        (["init_from=bundled"], 160, True, 10),
        (["trainer.max_epochs=7"], 160, True, 7),
        (["trainer.max_epochs=7", "init_from=bundled"], 160, True, 7),
    ],
)
def test_epochs_depend_on_the_start_and_on_the_pictures_unless_the_user_says_them(
    tmp_path, overrides, count, own, epochs
):
    assert choose(tmp_path, *overrides, train=count, own=own)[0] == epochs


@pytest.mark.parametrize(
    ("train", "validation", "own", "ends_early"),
    [
        (160, 20, True, False),
        (160, 99, True, False),
        (160, 100, True, True),
        (40_000, 99, True, True),
        (160, 20, False, True),
    ],
)
def test_training_on_few_pictures_does_not_end_early_where_few_judge_it(tmp_path, train, validation, own, ends_early):
    epochs, patience = choose(tmp_path, "early_stopping_patience=8", train=train, validation=validation, own=own)
    assert (patience < epochs) == ends_early
    assert patience == (8 if ends_early else epochs)


def test_more_epochs_than_usual_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    choose(tmp_path)
    assert "epochs, for" not in caplog.text
    choose(tmp_path, train=160)
    assert "300 epochs, for the pictures are few; trainer.max_epochs sets another number" in caplog.text


def kept(best, accuracies, validation, first_epoch=0):
    """Return the accuracies that replace the one kept before."""
    one_process, data = SimpleNamespace(reduce_boolean_decision=bool), pictures(0, validation, None)
    replacing = []
    for epoch, accuracy in enumerate(accuracies, first_epoch):
        trainer = SimpleNamespace(datamodule=data, strategy=one_process, current_epoch=epoch)
        if best.check_monitor_top_k(trainer, torch.tensor(accuracy)):
            best.best_k_models = {f"{accuracy}.ckpt": torch.tensor(accuracy)}
            best.kth_best_model_path = f"{accuracy}.ckpt"
            replacing.append(accuracy)
    return replacing


def test_of_few_validation_pictures_the_latest_epoch_counts_that_luck_explains(tmp_path):
    """Of 25 pictures at 0.8 one standard error is 0.08; 1.5 are granted in the third epoch, 1.9 in the sixth.

    They are taken from the best accuracy, not from the one kept.
    """
    best = BestCheckpoint(tmp_path)
    assert kept(best, [0.5, 0.8, 0.67, 0.69, 0.66, 0.64, 0.8], 25) == [0.5, 0.8, 0.69, 0.66, 0.8]


def test_of_many_validation_pictures_the_best_accuracy_counts(tmp_path):
    assert kept(BestCheckpoint(tmp_path), [0.5, 0.8, 0.799, 0.8, 0.81], 1000) == [0.5, 0.8, 0.81]


def test_all_right_is_replaced_by_all_right_only(tmp_path):
    assert kept(BestCheckpoint(tmp_path), [1.0, 0.96, 1.0], 25) == [1.0, 1.0]


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_a_resumed_run_knows_the_best_accuracy_of_the_epochs_before(tmp_path, version):
    """A checkpoint of an earlier version has no best accuracy: there the one kept is it."""
    first, again = BestCheckpoint(tmp_path / "before"), BestCheckpoint(tmp_path / "moved")
    kept(first, [0.8, 0.73], 25)
    state = first.state_dict()
    if version == "earlier":
        del state["top"]
    again.load_state_dict(state)
    assert list(again.best_k_models) == [str(tmp_path / "moved/0.73.ckpt")]
    assert kept(again, [0.67], 25, first_epoch=2) == ([] if version == "this" else [0.67])
