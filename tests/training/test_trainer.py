import io

import pytest
from conftest import train_settings
from lightning import Trainer
from rich.console import Console

from gender_recognizer.training.callbacks import ProgressBar
from gender_recognizer.training.trainer import build_trainer, trainer_arguments


def test_precision_is_what_the_user_says_or_what_the_processor_computes_in():
    assert trainer_arguments({"precision": "16-mixed"}) == {"precision": "16-mixed"}
    for options in ({"precision": "auto"}, {}):
        assert trainer_arguments(options)["precision"] in ("bf16-mixed", "32-true")


@pytest.mark.parametrize("option", ["+trainer.speed=2", "trainer.precision=17", "trainer.accelerator=abacus"])
def test_options_that_lightning_refuses_are_named(tmp_path, option):
    with pytest.raises(ValueError, match=r"^(trainer: )?.*(speed|17|abacus)"):
        build_trainer(train_settings(option), tmp_path)


def test_the_progress_bar_can_be_switched_off(tmp_path):
    assert build_trainer(train_settings(), tmp_path).progress_bar_callback is not None
    assert build_trainer(train_settings("+trainer.enable_progress_bar=false"), tmp_path).progress_bar_callback is None


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "cp437", "latin-1", "utf-8"])
def test_the_progress_bar_is_written_in_any_encoding(encoding):
    from rich.progress import Progress

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    with Progress(*ProgressBar().configure_columns(trainer), console=Console(file=output, width=100)) as progress:
        progress.update(progress.add_task("Epoch 1/3", total=8), completed=3)
    output.flush()
    assert "3/8" in output.buffer.getvalue().decode(encoding)
