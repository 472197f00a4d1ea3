"""The terminal during training: lines, and the bar below them."""

import io
import logging
import types

import pytest
import torch
from conftest import train_settings
from lightning import Callback
from rich.console import Console

from gender_recognizer.training.callbacks import Speed
from gender_recognizer.training.epoch_results import HEADING, epoch_line
from gender_recognizer.training.run import train
from gender_recognizer.training.screen import EpochBar, clock, lines_above


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-1, "00:00"), (7.4, "00:07"), (754, "12:34"), (3599.7, "1:00:00"), (7325, "2:02:05")],
)
def test_durations_are_minutes_and_seconds(seconds, text):
    assert clock(seconds) == text


ROW = {"kept": True, "train/loss": 0.6931, "val/loss": 0.7, "val/acc": 0.5, "val/balanced_acc": 0.5}


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize(
    "extra", [{"images/s": 12345.6, "seconds left": 36_000.0}, {"images/s": None, "seconds left": None}]
)
def test_a_line_fits_80_columns_below_its_heading(best, extra):
    line = epoch_line({"epoch": 100, "best": best} | ROW | extra, 100)
    assert len(line) < 80
    assert line.endswith(" best" if best else " kept")
    for name, text in (("train loss", "0.6931"), ("val loss", "0.7000"), ("balanced acc", "0.5000")):
        end = HEADING.index(name) + len(name)
        assert line[end - len(text) : end] == text


def test_what_an_epoch_lacks_is_a_dash():
    line = epoch_line(
        {"epoch": 1, "best": False, "kept": False, "train/loss": 0.5, "images/s": None, "seconds left": None}, 3
    )
    assert line.split() == ["1", "of", "3", "0.5000", "-", "-", "-", "-", "-"]


@pytest.fixture
def root_log():
    handlers, level = logging.root.handlers[:], logging.root.level
    yield logging.root
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_log_lines_go_through_the_console_once_and_files_keep_theirs(root_log, tmp_path, capsys):
    import sys

    root_log.handlers = [logging.StreamHandler(sys.stdout), logging.FileHandler(tmp_path / "log")]
    console = Console(file=io.StringIO(), width=40)
    logger = logging.getLogger("gender_recognizer.training.run")
    with lines_above(console), lines_above(console):
        logger.info("a [bold]path[/bold] %s", "/x" * 40)
        logger.warning("beware")
    assert console.file.getvalue() == f"a [bold]path[/bold] {'/x' * 40}\nwarning: beware\n"
    assert capsys.readouterr().out == ""
    assert (tmp_path / "log").read_text().splitlines()[-1] == "beware"
    logger.warning("later")
    assert capsys.readouterr().out == "later\n"


class Running:
    """Stands for a trainer in the middle of its second epoch."""

    current_epoch, max_epochs, global_step, world_size = 1, 3, 5, 1
    num_val_batches, estimated_stepping_batches, num_training_batches = [2], 12, 8
    is_global_zero = True
    sanity_checking = False


def show_bar(console):
    speed = Speed()
    bar = EpochBar(console, speed)
    trainer, batch = Running(), (None, torch.zeros(4))
    bar.setup(trainer, None, "fit")
    for callback in (speed, bar):
        callback.on_train_start(trainer, None)
    for index in range(3):
        for callback in (speed, bar):
            callback.on_train_batch_end(trainer, None, {"loss": torch.tensor(0.5)}, batch, index)
        console.print(f"line {index}")
    bar.on_validation_start(trainer, None)
    bar.on_validation_batch_end(trainer, None, None, batch, 0)
    bar.on_train_end(trainer, None)
    bar.on_train_end(trainer, None)


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "cp437", "latin-1", "utf-8"])
def test_the_bar_is_written_in_any_encoding(encoding):
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    show_bar(Console(file=output, width=80, force_terminal=True))
    output.flush()
    text = output.buffer.getvalue().decode(encoding)
    assert "epoch 2 of 3" in text
    assert "epoch 2 of 3, validation" in text
    assert "1/2" in text


def test_a_pipe_has_no_bar():
    console = Console(file=io.StringIO(), width=80)
    show_bar(console)
    assert console.file.getvalue() == "line 0\nline 1\nline 2\n"


def test_the_speed_leaves_out_start_up_and_validation(monkeypatch):
    times = iter([0, 0, 10, 20, 21, 22, 100, 101, 102])
    monkeypatch.setattr(
        "gender_recognizer.training.callbacks.time", types.SimpleNamespace(perf_counter=lambda: next(times))
    )
    speed, trainer = Speed(), Running()
    trainer.global_step = 0
    speed.on_train_start(trainer, None)
    assert speed.seconds_left(trainer) is None
    speed.on_train_epoch_start(trainer, None)
    for step in range(1, 5):
        trainer.global_step = step
        speed.on_train_batch_end(trainer, None, None, (None, torch.zeros(8)), step)
    assert speed.images_per_second == 8
    speed.on_train_epoch_start(trainer, None)
    trainer.global_step = 5
    speed.on_train_batch_end(trainer, None, None, (None, torch.zeros(16)), 0)
    assert speed.images_per_second_of_epoch == 16
    assert speed.seconds_left(trainer) == pytest.approx((12 - 5) * (102 - 20) / (5 - 2))


@pytest.mark.usefixtures("light_training")
def test_a_training_shows_a_line_for_each_epoch_and_says_before_what_it_does(tmp_path, colour_data, cache_dir, capsys):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}"]
    train(train_settings(*options, f"+run_dir={tmp_path}/run", "trainer.max_epochs=2"))
    lines = capsys.readouterr().out.splitlines()
    wanted = ["reading ", "train: ", "run folder: ", "training smallcnn on cpu", HEADING, "    1 of 2", "    2 of 2"]
    places = [next(index for index, line in enumerate(lines) if line.startswith(start)) for start in wanted]
    assert places == sorted(places)
    assert lines[places[-2]].endswith("best")
    assert not [line for line in lines if "━" in line]


class Notes(Callback):
    def on_train_epoch_end(self, trainer, module):
        logging.getLogger("gender_recognizer.x").warning("something to note in epoch %d", trainer.current_epoch + 1)


@pytest.mark.usefixtures("light_training")
def test_on_a_terminal_lines_stay_whole_above_the_bar(tmp_path, colour_data, cache_dir, monkeypatch):
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    for module in ("run", "trainer"):
        monkeypatch.setattr(f"gender_recognizer.training.{module}.get_console", lambda: console)
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}"]
    train(train_settings(*options, f"+run_dir={tmp_path}/run", "trainer.max_epochs=2"), [Notes()])
    lines = console.file.getvalue().replace("\r", "\n").replace("\x1b[2K", "").split("\n")
    for epoch in (1, 2):
        assert f"warning: something to note in epoch {epoch}" in lines
        assert [line for line in lines if line.startswith(f"    {epoch} of 2   ")]
    assert any(line.startswith("epoch 1 of 2 ") for line in lines)


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize("patience", [1, 15])
def test_an_early_end_is_said(tmp_path, colour_data, cache_dir, capsys, patience):
    options = [
        f"data.root={colour_data}",
        f"data.cache_dir={cache_dir}",
        f"outputs={tmp_path}",
        f"+run_dir={tmp_path}/run",
    ]
    options += ["trainer.max_epochs=3", f"early_stopping_patience={patience}", "classifier.lr=1e-9"]
    train(train_settings(*options))
    assert ("ended early: no better epoch in the last 1 " in capsys.readouterr().out) == (patience == 1)
