import inspect

import lightning
import pytest
from conftest import train_settings

from gender_recognizer.training.trainer import build_trainer, trainer_arguments
from gender_recognizer.training.trainer_settings import TrainerSettings


def test_precision_is_what_the_user_says_or_what_the_processor_computes_in():
    assert trainer_arguments(TrainerSettings(precision="16-mixed"))["precision"] == "16-mixed"
    assert trainer_arguments(TrainerSettings())["precision"] in ("bf16-mixed", "32-true")


def test_every_argument_of_lightnings_trainer_that_is_not_an_object_is_an_option():
    arguments = inspect.signature(lightning.Trainer).parameters.keys()
    assert arguments - {"callbacks", "default_root_dir", "plugins"} == vars(TrainerSettings()).keys()


OURS = {"devices", "precision", "logger", "num_sanity_val_steps", "log_every_n_steps", "enable_model_summary"}


def test_their_defaults_are_lightnings_but_for_six():
    parameters = inspect.signature(lightning.Trainer).parameters
    for name, value in vars(TrainerSettings()).items():
        assert (value == parameters[name].default) == (name not in OURS), name


def test_they_can_be_set_without_a_plus_and_with_one():
    for prefix in ("", "+", "++"):
        settings = train_settings(f"{prefix}trainer.gradient_clip_val=0.5", f"{prefix}trainer.limit_train_batches=0.1")
        assert (settings.trainer.gradient_clip_val, settings.trainer.limit_train_batches) == (0.5, 0.1)


@pytest.mark.parametrize("prefix", ["", "+"])
def test_typos_in_them_are_answered_with_what_is_there(prefix):
    with pytest.raises(ValueError, match=r"unknown option 'trainer.max_epoch'; did you mean trainer.max_epochs\?"):
        train_settings(f"{prefix}trainer.max_epoch=3")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("max_epochs=0", "trainer.max_epochs is 0; expected a whole number, 1 or more"),
        ("max_epochs=-1", "trainer.max_epochs is -1; expected"),
        ("max_epochs=many", "trainer.max_epochs is many; expected a whole number"),
        ("max_steps=0", "trainer.max_steps is 0; expected 1 or more, or -1"),
        ("enable_checkpointing=false", "the result of training is its best checkpoint"),
        ("barebones=true", "trainer.barebones is True: the result"),
        ("limit_val_batches=0", "trainer.limit_val_batches is 0; the best epoch is chosen by validation"),
    ],
)
def test_what_leaves_no_result_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        train_settings(f"trainer.{option}")


@pytest.mark.parametrize("option", ["trainer.precision=17", "trainer.accelerator=abacus"])
def test_options_that_lightning_refuses_are_named(tmp_path, option):
    with pytest.raises(ValueError, match=r"^(trainer: )?.*(17|abacus)"):
        build_trainer(train_settings(option), tmp_path)


def test_the_progress_bar_can_be_switched_off(tmp_path):
    assert build_trainer(train_settings(), tmp_path).progress_bar_callback is not None
    assert build_trainer(train_settings("trainer.enable_progress_bar=false"), tmp_path).progress_bar_callback is None
